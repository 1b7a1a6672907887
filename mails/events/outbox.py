"""The outbox: the table of events itself, read in order. Nothing is written for its readers, so that nobody pays for them.

Each reader keeps the id of the last event that it has, and reads on up to the commit horizon.
"""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from mercury.lib.database.recordset import as_uuid

# An event without its email is one whose email retention has deleted. All partitions are asked: an old one answers from
# the end of its index, and no event is missed whose time is older than its id.
_SELECT = """
    SELECT e.id, e.mail_id, e.created_at, e.created_by, e.event, e.blob, m.sender, m.recipient, m.queue, k.name, k.prefix
    FROM mails_event AS e
    LEFT JOIN mails_mail AS m ON m.id = e.mail_id
    LEFT JOIN mails_apikey AS k ON k.id = m.api_key_id
    WHERE e.id > %s AND e.id <= %s
    ORDER BY e.id LIMIT %s
"""
_SELECT_SOME = _SELECT.partition("WHERE")[0] + "WHERE e.id IN ({ids})"
_NTH = "SELECT id FROM mails_event WHERE id > %s AND id <= %s ORDER BY id LIMIT 1 OFFSET %s"
# One by one, each by the index: for both at once SQLite reads the whole table.
_BOUNDS = "SELECT (SELECT min(id) FROM mails_event), (SELECT max(id) FROM mails_event)"
_NEXT = "SELECT id, created_at FROM mails_event WHERE id > %s AND id <= %s ORDER BY id LIMIT 1"
_FIRST = "SELECT id FROM mails_event WHERE id > %s AND created_at >= %s ORDER BY id LIMIT 1"
_COUNT = "SELECT count(*) FROM mails_event WHERE id > %s AND id <= %s"
COUNTED_AT_MOST = 100_000
JITTER = dt.timedelta(minutes=1)  # events may have their ids in another order than their times, by less than this
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_MOST_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event with what a reader needs of its email; empty where retention has deleted that."""

    id: int
    mail_id: uuid.UUID
    created_at: int  # nanoseconds since the Unix epoch
    created_by: str
    event: str
    blob: str
    sender: str
    recipient: str  # the addresses, separated by commas
    queue: str
    application: str  # the name of the API key
    key: str  # its prefix


def read(after: int, until: int, *, limit: int) -> list[OutboxEvent]:
    """Return up to `limit` events with ids above `after` and up to `until`, in order."""
    if after >= until:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_SELECT, [after, until, limit])
        return [_load(*row) for row in cursor.fetchall()]


def read_some(ids: Sequence[int]) -> dict[int, OutboxEvent]:
    """Return the events with these ids, by id; retention may have deleted some."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_SELECT_SOME.format(ids=", ".join(["%s"] * len(ids))), list(ids))
        return {row[0]: _load(*row) for row in cursor.fetchall()}


def find_last_of_group(after: int, until: int, *, size: int) -> int:
    """Return the id up to which there are at most `size` events after `after`, and `until` at most."""
    with connection.cursor() as cursor:
        cursor.execute(_NTH, [after, until, size - 1])
        row = cursor.fetchone()
    return until if row is None else int(row[0])


def read_all(after: int, until: int, *, limit: int) -> Iterator[list[OutboxEvent]]:
    """Yield these events in groups of up to `limit`."""
    while events := read(after, until, limit=limit):
        yield events
        after = events[-1].id


def find_position(moment: dt.datetime) -> int:
    """Return the id to read after, to get all events recorded at or after this moment; the last one if there are none yet.

    Some thirty short queries: ids grow with time, so that the place is found by halves, and the events of JITTER are read.
    """
    wanted = _to_ns(moment)
    earlier = wanted - JITTER // _MICROSECOND * 1000
    with connection.cursor() as cursor:
        cursor.execute(_BOUNDS)
        first, last = cursor.fetchone()
        if first is None:
            return 0
        low, high = first - 1, last
        while low < high:
            middle = (low + high) // 2
            cursor.execute(_NEXT, [middle, high])
            found = cursor.fetchone()
            if found is None or found[1] >= earlier:
                high = middle
            else:
                low = found[0]
        cursor.execute(_FIRST, [low, wanted])
        found = cursor.fetchone()
    return int(last if found is None else found[0] - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCount:
    """A number of events. Above 100,000 it is estimated from the ids, of which some were never used."""

    events: int
    is_exact: bool

    def __str__(self) -> str:
        number = "1 event" if self.events == 1 else f"{self.events:,} events"
        return number if self.is_exact else f"about {number}"


def count(after: int, until: int) -> EventCount:
    """Count the events with ids above `after` and up to `until`: their exact number up to 100,000."""
    if until - after > COUNTED_AT_MOST:
        return EventCount(events=until - after, is_exact=False)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [after, until])
        return EventCount(events=int(cursor.fetchone()[0]), is_exact=True)


def _to_ns(moment: dt.datetime) -> int:
    """Return the moment in nanoseconds since the Unix epoch, or the first or last that the databases can store."""
    return max(-_MOST_NS, min((moment - _EPOCH) // _MICROSECOND * 1000, _MOST_NS))


def _load(number: int, mail_id: Any, created_at: int, by: str, event: str, blob: str, *mail: str | None) -> OutboxEvent:
    return OutboxEvent(number, as_uuid(mail_id), created_at, by, event, blob, *[text or "" for text in mail])
