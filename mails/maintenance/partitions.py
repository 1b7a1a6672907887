"""The months of the event table on PostgreSQL: made ahead, and dropped when all their mails are gone.

SQLite has one table, and nothing here does anything there. An event that no month is there for goes into the rest, so
that none is ever refused; the rest is emptied into months of their own.
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import connection, transaction

from mails.models import first_id

log = structlog.get_logger(__name__)

TASK = "event-months"
EVERY = dt.timedelta(hours=1)
AHEAD = 3  # months that are ready beyond the present one
LOCK_WAIT = "2s"  # a longer one would queue the dispatchers' inserts behind it
_NAME = re.compile(r"mails_event_(\d{4})_(\d{2})")
_COLUMNS = "id, mail_id, created_at, created_by, event, blob"


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month, in UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, moment: dt.datetime) -> "Month":
        """The month of this moment."""
        utc = moment.astimezone(dt.UTC)
        return cls(utc.year, utc.month)

    @property
    def begin(self) -> dt.datetime:
        """Its first moment."""
        return dt.datetime(self.year, self.month, 1, tzinfo=dt.UTC)

    @property
    def next(self) -> "Month":
        """The month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def table(self) -> str:
        """Its partition."""
        return f"mails_event_{self.year:04}_{self.month:02}"

    @property
    def bounds(self) -> tuple[int, int]:
        """Its first nanosecond since the Unix epoch, and the next month's."""
        return int(self.begin.timestamp()) * 10**9, int(self.next.begin.timestamp()) * 10**9


def wanted(now: dt.datetime) -> list[Month]:
    """The months that have to be there. Pure."""
    months = [Month.of(now)]
    for _ in range(AHEAD):
        months.append(months[-1].next)
    return months


def existing() -> list[Month]:
    """The months that are there, oldest first; none on SQLite."""
    if connection.vendor != "postgresql":
        return []
    names = _column(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = 'mails_event'::regclass"
    )
    return sorted(Month(int(found[1]), int(found[2])) for name in names if (found := _NAME.fullmatch(str(name))))


def prepare(now: dt.datetime) -> list[Month]:
    """Make the months that are missing, and return them. Waits 2 s at most for a lock, then raises OperationalError."""
    if connection.vendor != "postgresql":
        return []
    made = []
    with transaction.atomic():
        _wait_briefly()
        if _column("SELECT 1 FROM mails_event_rest LIMIT 1"):
            made += _empty_the_rest()
        there = {*existing()}
        missing = [month for month in wanted(now) if month not in there]
        for month in missing:
            _make(month)
    if made or missing:
        log.info("event_months_made", months=[month.table for month in [*made, *missing]], out_of_the_rest=len(made))
    return [*made, *missing]


def droppable(before: dt.datetime) -> list[Month]:
    """The months that ended before, and in which a mail's events are left though the mail is gone."""
    return [month for month in existing() if month.next.begin <= before and _has_orphans(month)]


def size(months: Sequence[Month]) -> int:
    """Bytes on disk of these months, with their indexes."""
    if not months:
        return 0
    (found,) = _column(
        "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s) AS name", [[m.table for m in months]]
    )
    return int(str(found))


def drop(month: Month) -> None:
    """Drop the month; events of mails that are still there are kept, in a new table of the same month.

    One short transaction but for the copy, which holds no lock that an insert waits for.
    """
    begin, end = month.bounds
    # A mail is older than its events; the day allows for a machine whose clock was ahead.
    last = first_id(month.next.begin + dt.timedelta(days=1))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE mails_event_kept AS SELECT {_COLUMNS} FROM {month.table} AS event"  # noqa: S608
            " WHERE mail_id IN (SELECT id FROM mails_mail WHERE id < %s)",
            [last],
        )
        _wait_briefly()
        cursor.execute(f"DROP TABLE {month.table}")
        cursor.execute("SELECT 1 FROM mails_event_kept LIMIT 1")
        if cursor.fetchone():
            _make(month)
            cursor.execute(
                f"INSERT INTO {month.table} ({_COLUMNS}) SELECT {_COLUMNS} FROM mails_event_kept ORDER BY id"  # noqa: S608
            )
        cursor.execute("DROP TABLE mails_event_kept")
    log.info("event_month_dropped", month=month.table, begin=begin, end=end)


def _has_orphans(month: Month) -> bool:
    return bool(
        _column(
            f"SELECT 1 FROM {month.table} AS event"  # noqa: S608 (a name of our own)
            " WHERE NOT EXISTS (SELECT FROM mails_mail WHERE mails_mail.id = event.mail_id) LIMIT 1"
        )
    )


def _make(month: Month) -> None:
    """To attach a finished table takes a lock that lets inserts go on; to create it as a partition does not."""
    begin, end = month.bounds
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {month.table} (LIKE mails_event INCLUDING DEFAULTS)")
        cursor.execute(f"ALTER TABLE mails_event ATTACH PARTITION {month.table} FOR VALUES FROM ({begin}) TO ({end})")


def _empty_the_rest() -> list[Month]:
    """Give the rows of the rest months of their own. Inserts wait meanwhile: it holds what came while no duty was done."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mails_event DETACH PARTITION mails_event_rest")
        cursor.execute("ALTER TABLE mails_event_rest RENAME TO mails_event_out_of_rest")
        cursor.execute(
            "SELECT DISTINCT date_trunc('month', to_timestamp(created_at / 1e9) AT TIME ZONE 'UTC')"
            " FROM mails_event_out_of_rest"
        )
        months = sorted(Month(found.year, found.month) for (found,) in cursor.fetchall())
        for month in months:
            _make(month)
        cursor.execute(
            f"INSERT INTO mails_event ({_COLUMNS})"  # noqa: S608
            f" SELECT {_COLUMNS} FROM mails_event_out_of_rest ORDER BY id"
        )
        cursor.execute("DROP TABLE mails_event_out_of_rest")
        cursor.execute("CREATE TABLE mails_event_rest PARTITION OF mails_event DEFAULT")
    return months


def _wait_briefly() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")


def _column(sql: str, parameters: Sequence[Any] = ()) -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [row[0] for row in cursor.fetchall()]
