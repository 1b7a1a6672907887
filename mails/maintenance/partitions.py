"""Partitions of the event table on PostgreSQL, one a month: created ahead, and dropped when all their emails are deleted.

SQLite has one table, and nothing here does anything there. An event without a partition for its month goes into the
default one (`mails_event_rest`), so that none is ever refused; that is emptied into partitions of its months.
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
AHEAD = 3  # partitions that are ready beyond the present month
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
        """Return the month of this moment."""
        utc = moment.astimezone(dt.UTC)
        return cls(utc.year, utc.month)

    @property
    def begin(self) -> dt.datetime:
        """Return its first moment."""
        return dt.datetime(self.year, self.month, 1, tzinfo=dt.UTC)

    @property
    def next(self) -> "Month":
        """Return the month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def table(self) -> str:
        """Return the name of its partition."""
        return f"mails_event_{self.year:04}_{self.month:02}"

    @property
    def bounds(self) -> tuple[int, int]:
        """Return its first nanosecond since the Unix epoch, and the next month's."""
        return int(self.begin.timestamp()) * 10**9, int(self.next.begin.timestamp()) * 10**9


def list_wanted(now: dt.datetime) -> list[Month]:
    """Return the months that need a partition now."""
    months = [Month.of(now)]
    for _ in range(AHEAD):
        months.append(months[-1].next)
    return months


def list_existing() -> list[Month]:
    """Return the months that have a partition, oldest first; none on SQLite."""
    if connection.vendor != "postgresql":
        return []
    names = _select_column(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = 'mails_event'::regclass"
    )
    return sorted(Month(int(found[1]), int(found[2])) for name in names if (found := _NAME.fullmatch(str(name))))


def prepare(now: dt.datetime) -> list[Month]:
    """Create the partitions that are missing, and return their months. Waits 2 s at most for a lock, then raises OperationalError.

    Of two processes that run it at once, one fails at the name of a table that exists, and has changed nothing.
    """
    if connection.vendor != "postgresql":
        return []
    created = []
    with transaction.atomic():
        _wait_briefly()
        if _select_column("SELECT 1 FROM mails_event_rest LIMIT 1"):
            created += _empty_default()
        there = {*list_existing()}
        missing = [month for month in list_wanted(now) if month not in there]
        for month in missing:
            _create(month)
    if created or missing:
        log.info(
            "event_partitions_created",
            months=[month.table for month in [*created, *missing]],
            from_default=len(created),
        )
    return [*created, *missing]


def list_droppable(before: dt.datetime) -> list[Month]:
    """Return the months that ended before, and whose partitions have events of emails that are deleted."""
    return [month for month in list_existing() if month.next.begin <= before and _has_orphans(month)]


def measure_size(months: Sequence[Month]) -> int:
    """Return the bytes on disk of these partitions, with their indexes."""
    if not months:
        return 0
    (found,) = _select_column(
        "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s) AS name", [[m.table for m in months]]
    )
    return int(str(found))


def drop(month: Month) -> None:
    """Drop the partition of a month; events of emails that still exist are kept, in a new table of the same month.

    One short transaction but for the copy, which holds no lock that an insert waits for.
    """
    begin, end = month.bounds
    # An email is older than its events; the day allows for a machine whose clock was ahead.
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
            _create(month)
            cursor.execute(
                f"INSERT INTO {month.table} ({_COLUMNS}) SELECT {_COLUMNS} FROM mails_event_kept ORDER BY id"  # noqa: S608
            )
        cursor.execute("DROP TABLE mails_event_kept")
    log.info("event_partition_dropped", month=month.table, begin=begin, end=end)


def _has_orphans(month: Month) -> bool:
    return bool(
        _select_column(
            f"SELECT 1 FROM {month.table} AS event"  # noqa: S608 (a name of our own)
            " WHERE NOT EXISTS (SELECT FROM mails_mail WHERE mails_mail.id = event.mail_id) LIMIT 1"
        )
    )


def _create(month: Month) -> None:
    """Create a table and attach it: the lock of that lets inserts go on; that of creating it as a partition does not."""
    begin, end = month.bounds
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {month.table} (LIKE mails_event INCLUDING DEFAULTS)")
        cursor.execute(f"ALTER TABLE mails_event ATTACH PARTITION {month.table} FOR VALUES FROM ({begin}) TO ({end})")


def _empty_default() -> list[Month]:
    """Move the rows of the default partition into partitions of their months.

    Inserts wait for that: the rows are those of a time in which no leader ran this task.
    """
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mails_event DETACH PARTITION mails_event_rest")
        cursor.execute("ALTER TABLE mails_event_rest RENAME TO mails_event_out_of_rest")
        cursor.execute(
            "SELECT DISTINCT date_trunc('month', to_timestamp(created_at / 1e9) AT TIME ZONE 'UTC')"
            " FROM mails_event_out_of_rest"
        )
        months = sorted(Month(found.year, found.month) for (found,) in cursor.fetchall())
        for month in months:
            _create(month)
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


def _select_column(sql: str, parameters: Sequence[Any] = ()) -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [row[0] for row in cursor.fetchall()]
