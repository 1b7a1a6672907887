"""Exact limits of API keys: emails a minute and recipients a day.

The database counts, in the transaction that stores the emails: so a limit holds over all processes and machines, what is
not stored uses nothing up, and no answer depends on Redis. Windows are minutes of the clock and days in UTC, both by the
database's clock: over two neighbouring windows a key may use up both. A key without limits costs no query.
"""

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum

from django.db import connection

from mails.models import ApiKey, KeyUsage
from mercury.lib.database import database_clock
from mercury.lib.value import value


class LimitName(StrEnum):
    """Name of a limit, as headers have it."""

    EMAILS = "emails-per-minute"
    RECIPIENTS = "recipients-per-day"

    @property
    def label(self) -> str:
        """Return what the window is, for people."""
        return _LABELS[self]

    @property
    def seconds(self) -> int:
        """Return the length of its window."""
        return _SECONDS[self]


_LABELS = {LimitName.EMAILS: "Emails this minute", LimitName.RECIPIENTS: "Recipients today (UTC)"}
_SECONDS = {LimitName.EMAILS: 60, LimitName.RECIPIENTS: 86_400}


@value
class Limits:
    """The limits of a key; None: no limit."""

    emails: int | None
    recipients: int | None


@value
class Usage:
    """What a key has used: emails of this minute, recipients of this day."""

    emails: int = 0
    recipients: int = 0


@value
class LimitStatus:
    """One limit of a key after a submission."""

    name: LimitName
    quota: int
    remaining: int
    reset_after: int  # whole seconds until the window ends

    @property
    def used(self) -> int:
        """Return how much of it is used."""
        return self.quota - self.remaining


@value
class Taken:
    """What a submission took from the limits of a key. `exceeded`: the limit in the way of each email, None for those that fit."""

    exceeded: tuple[LimitName | None, ...]
    statuses: tuple[LimitStatus, ...]

    @property
    def are_all_taken(self) -> bool:
        """Return True if no limit is in the way of any email."""
        return not any(self.exceeded)


# Counts a number of emails if all of them fit: the condition is part of the UPDATE, so that nobody needs a lock first.
# A window that has ended counts from zero; one that lies ahead by more than two processes' clocks differ was counted
# before the clock was set back.
_TAKE = """
    UPDATE mails_keyusage
    SET minute = {minute}, emails = {emails}, day = {day}, recipients = {recipients}
    WHERE api_key_id = %(key)s AND {emails} <= %(most_emails)s AND {recipients} <= %(most_recipients)s
    RETURNING emails, recipients
"""


def _has_ended(window: str) -> str:
    return f"(%({window})s > {window} OR {window} > %({window})s + 1)"


_STATEMENT = _TAKE.format(
    minute=f"CASE WHEN {_has_ended('minute')} THEN %(minute)s ELSE minute END",
    day=f"CASE WHEN {_has_ended('day')} THEN %(day)s ELSE day END",
    emails=f"CASE WHEN {_has_ended('minute')} THEN 0 ELSE emails END + %(emails)s",
    recipients=f"CASE WHEN {_has_ended('day')} THEN 0 ELSE recipients END + %(recipients)s",
)


def read_limits(key: ApiKey) -> Limits:
    """Return the limits of a key."""
    return Limits(emails=key.emails_per_minute, recipients=key.recipients_per_day)


def take(key: ApiKey, recipients: Sequence[int], *, emails: int | None = None) -> Taken:
    """Count emails with these numbers of recipients, each if it fits, in order; call it in the transaction that stores them.

    `emails`: how many they count for; None: each for one. One statement where all fit; the key's row is locked until the
    transaction ends. Where not all fit, three more.
    """
    limits, now = read_limits(key), database_clock.now()
    count = len(recipients) if emails is None else emails
    usage = _take_all(key, limits, count, sum(recipients), now)
    exceeded: tuple[LimitName | None, ...] = (None,) * len(recipients)
    if usage is None:
        exceeded, usage = _take_fitting(key, limits, recipients, now, weight=0 if emails == 0 else 1)
    return Taken(exceeded=exceeded, statuses=build_statuses(limits, usage, now))


def choose_fitting(
    limits: Limits, usage: Usage, recipients: Sequence[int], *, weight: int = 1
) -> tuple[tuple[LimitName | None, ...], Usage]:
    """Return the limit in the way of each email, None for those that fit, and what is used then. Pure.

    In order: an email that does not fit uses nothing up, so a smaller one after it may. `weight`: emails that each counts for.
    """
    exceeded: list[LimitName | None] = []
    emails, used = usage.emails, usage.recipients
    for count in recipients:
        if limits.recipients is not None and used + count > limits.recipients:
            exceeded.append(LimitName.RECIPIENTS)
        elif limits.emails is not None and emails + weight > limits.emails:
            exceeded.append(LimitName.EMAILS)
        else:
            exceeded.append(None)
            emails, used = emails + weight, used + count
    return tuple(exceeded), Usage(emails=emails, recipients=used)


def build_statuses(limits: Limits, usage: Usage, now: dt.datetime) -> tuple[LimitStatus, ...]:
    """Return the limits that there are, with what is left of each. Pure."""
    pairs = (
        (LimitName.EMAILS, limits.emails, usage.emails),
        (LimitName.RECIPIENTS, limits.recipients, usage.recipients),
    )
    return tuple(
        LimitStatus(
            name=name,
            quota=quota,
            remaining=max(quota - used, 0),
            reset_after=name.seconds - int(now.timestamp()) % name.seconds,
        )
        for name, quota, used in pairs
        if quota is not None
    )


def load_statuses(key: ApiKey) -> tuple[LimitStatus, ...]:
    """Return the limits of a key as they are now, for people. One query if it has any."""
    if not key.has_limits:
        return ()
    now = database_clock.now()
    row = KeyUsage.objects.filter(pk=key.pk).first() or KeyUsage(api_key=key)
    return build_statuses(read_limits(key), _read_usage(row, now), now)


def _take_all(key: ApiKey, limits: Limits, emails: int, recipients: int, now: dt.datetime) -> Usage | None:
    """Count all of them, and return what is used then; None if not all fit, or if the key has no row yet."""
    parameters = {
        "key": key.pk,
        "emails": emails,
        "recipients": recipients,
        "most_emails": _NO_LIMIT if limits.emails is None else limits.emails,
        "most_recipients": _NO_LIMIT if limits.recipients is None else limits.recipients,
        **_number_windows(now),
    }
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT, parameters)
        row = cursor.fetchone()
    return None if row is None else Usage(emails=row[0], recipients=row[1])


_NO_LIMIT = 2**62


def _take_fitting(
    key: ApiKey, limits: Limits, recipients: Sequence[int], now: dt.datetime, *, weight: int
) -> tuple[tuple[LimitName | None, ...], Usage]:
    """Lock the row of the key, which is made if there is none, and count the emails that fit."""
    KeyUsage.objects.bulk_create([KeyUsage(api_key=key)], ignore_conflicts=True)
    row = KeyUsage.objects.select_for_update().get(pk=key.pk)
    exceeded, usage = choose_fitting(limits, _read_usage(row, now), recipients, weight=weight)
    if not all(exceeded):
        windows = _number_windows(now)
        minute, day = _choose_window(row.minute, windows["minute"]), _choose_window(row.day, windows["day"])
        changes = {"minute": minute, "day": day, "emails": usage.emails, "recipients": usage.recipients}
        KeyUsage.objects.filter(pk=key.pk).update(**changes)
    return exceeded, usage


def _read_usage(row: KeyUsage, now: dt.datetime) -> Usage:
    """Return what the row says of the present windows."""
    windows = _number_windows(now)
    is_minute = _choose_window(row.minute, windows["minute"]) == row.minute
    is_day = _choose_window(row.day, windows["day"]) == row.day
    return Usage(emails=row.emails if is_minute else 0, recipients=row.recipients if is_day else 0)


def _choose_window(stored: int, present: int) -> int:
    """Return the window to count in: the stored one, also if it is just ahead; else the present one."""
    return stored if present <= stored <= present + 1 else present


def _number_windows(now: dt.datetime) -> dict[str, int]:
    seconds = int(now.timestamp())
    return {"minute": seconds // 60, "day": seconds // 86_400}
