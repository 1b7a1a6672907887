"""The times of emails that are rescheduled or reprocessed, as a page asks for them: local times, and the zone that they are in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.http import HttpRequest

from mails.actions import rules
from mails.actions.errors import TimesNotAllowed
from mails.schedule import Schedule
from mails.states import Action
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
    is_optional: bool = False  # without times the action sets its own
    times: Schedule | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def typed(self) -> dict[str, str]:
        """Return what was typed, for the URL of a page that shows it again; empty if nothing was."""
        if not (self.send_at or self.expires_at):
            return {}
        return {"send_at": self.send_at, "expires_at": self.expires_at, "time_zone": self.zone}

    @property
    def zones(self) -> tuple[str, ...]:
        """Return the zones to choose from."""
        return list_zones()


def read_for_action(request: HttpRequest, action: Action) -> TimesForm | None:
    """Return the times that the page of this action asks for; None if it asks for none.

    A reschedule needs a time: empty is now. A reprocess without times has a fresh expiry, as without the form.
    """
    if action == Action.RESCHEDULE:
        return _read_times(request.POST if request.method == "POST" else None)
    if action != Action.REPROCESS:
        return None
    typed = request.POST if request.method == "POST" else request.GET  # there: typed before the accounts were changed
    is_empty = not (typed.get("send_at") or typed.get("expires_at"))
    form = _read_times(None if is_empty else typed)
    form.is_optional = True
    return form


def _read_times(given: Mapping[str, str] | None) -> TimesForm:
    if given is None:
        return TimesForm(is_new=True)
    typed = {name: replace_unprintable(given.get(name, ""))[:40] for name in ("send_at", "expires_at", "time_zone")}
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
