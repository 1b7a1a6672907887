"""Options that say when emails are sent, the same for every command."""

import datetime as dt

from django.core.management.base import CommandError

from mails.actions import rules
from mails.actions.errors import TimesNotAllowed
from mails.schedule import Schedule
from mercury.lib.commands import ExitCode
from mercury.lib.moments import MomentError, parse_moment

MOMENT_FORMS = "2026-12-24T18:00:00Z, 2026-12-24T19:00[Europe/Berlin]"
_OPTIONS = {"send_at": "--at", "expires_at": "--expires"}


def parse_time(option: str, text: str) -> dt.datetime | None:
    """Return the moment that the value of an option names; None for `now`. Raises CommandError."""
    try:
        return None if text == "now" else parse_moment(text)
    except MomentError as error:
        raise CommandError(f"{option}: '{text}' {error.fault}", returncode=ExitCode.USAGE_ERROR) from None


def plan_times(send_at: dt.datetime | None, expires_at: dt.datetime | None) -> Schedule:
    """Return when emails are sent and expire. Raises CommandError, which names the options, if these times are not allowed."""
    try:
        return rules.plan_times(send_at, expires_at)
    except TimesNotAllowed as refused:
        listed = " ".join(f"{_OPTIONS[error.field]}: {error.detail}" for error in refused.errors)
        raise CommandError(listed, returncode=ExitCode.USAGE_ERROR) from None
