"""The times of rescheduled emails, as a page asks for them: local times, and the zone that they are in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mails.actions import rules
from mails.actions.errors import TimesNotAllowed
from mails.schedule import Schedule
from mercury.lib.mail.printable import replace_unprintable
from mercury.lib.moments import MomentError, join_zone, list_zones, parse_moment

_LABELS = {"send_at": "Send at", "expires_at": "Expires"}


@dataclass(kw_only=True)
class TimesForm:
    """What was typed, and what it means: `times`, unless there are errors."""

    send_at: str = ""
    expires_at: str = ""
    zone: str = "UTC"
    is_new: bool = False  # nobody has chosen a zone yet
    times: Schedule | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def zones(self) -> tuple[str, ...]:
        """Return the zones to choose from."""
        return list_zones()


def read_times(posted: Mapping[str, str] | None) -> TimesForm:
    """Return what was posted; nothing posted is an empty form, and an empty time is now."""
    if posted is None:
        return TimesForm(is_new=True)
    typed = {name: replace_unprintable(posted.get(name, ""))[:40] for name in ("send_at", "expires_at", "time_zone")}
    form = TimesForm(send_at=typed["send_at"], expires_at=typed["expires_at"], zone=typed["time_zone"] or "UTC")
    moments = {}
    for name, label in _LABELS.items():
        try:
            moments[name] = parse_moment(join_zone(typed[name], form.zone)) if typed[name] else None
        except MomentError as error:
            form.errors.append(f"{label}: '{typed[name]}' {error.fault}")
    if not form.errors:
        try:
            form.times = rules.plan_times(moments["send_at"], moments["expires_at"])
        except TimesNotAllowed as refused:
            form.errors += [f"{_LABELS[error.field]}: {error.detail}" for error in refused.errors]
    return form
