"""When an email is sent and when it expires: which times are allowed, and what follows from them. Pure.

The same rules for a submission and for an email that is rescheduled.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from mercury.lib.durations import format_duration
from mercury.lib.moments import format_minute

CLOCK_SKEW = dt.timedelta(minutes=5)  # a time that is past by no more than this means "now": clocks of clients differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an email is sent, and when it expires."""

    send_at: dt.datetime
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeError:
    """A time that is refused: the field, a stable code, and what is wrong and how to correct it."""

    field: str
    code: str
    detail: str


def plan(send_at: dt.datetime | None, expires_at: dt.datetime | None, now: dt.datetime) -> Schedule:
    """Return when an email with these times is sent: at once without `send_at`; it expires MERCURY_EXPIRY later by default."""
    at = send_at or now
    return Schedule(send_at=at, expires_at=expires_at or max(at, now) + settings.MERCURY_EXPIRY)


def find_errors(send_at: dt.datetime | None, expires_at: dt.datetime | None, now: dt.datetime) -> Iterator[TimeError]:
    """Yield what is wrong with these times."""
    most = settings.MERCURY_MAX_SCHEDULE
    ahead = f"{format_duration(most.total_seconds())} ahead (MERCURY_MAX_SCHEDULE)"
    if send_at is not None and send_at < now - CLOCK_SKEW:
        detail = f"{format_minute(send_at)} is past: it is {format_minute(now)} now. Write a later time, or omit the field to send now."
        yield TimeError(field="send_at", code="past", detail=detail)
        return
    if send_at is not None and send_at > now + most:
        detail = f"{format_minute(send_at)} is too far away: at most {ahead}, so until {format_minute(now + most)}."
        yield TimeError(field="send_at", code="too_late", detail=detail)
        return
    begin = max(send_at or now, now)
    if expires_at is None:
        return
    if expires_at <= begin:
        when = "before the email is sent, at" if begin > now else "past: it is"
        detail = f"{format_minute(expires_at)} is {when} {format_minute(begin)}. Write a later time, or omit the field."
        yield TimeError(field="expires_at", code="past", detail=detail)
    elif expires_at > begin + most:
        detail = f"{format_minute(expires_at)} is too far away: at most {format_duration(most.total_seconds())} after the email is sent (MERCURY_MAX_SCHEDULE)."
        yield TimeError(field="expires_at", code="too_late", detail=detail)


def is_soon(at: dt.datetime, now: dt.datetime) -> bool:
    """Return True if an email that is due then is worth a wake-up: no dispatcher would look in time by itself."""
    return at <= now + _SOON


_SOON = dt.timedelta(seconds=5)  # dispatchers look at least every 2 s, and know by then when the next one is due
