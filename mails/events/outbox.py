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
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST = (
    "SELECT min(id + 0) FROM mails_event WHERE created_at >= %s"  # + 0: by the index of time, not from the first id
)


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


def find_position(moment: dt.datetime) -> int | None:
    """Return the id to read after, to get all events recorded at or after this moment; None if there are none yet."""
    with connection.cursor() as cursor:
        cursor.execute(_FIRST, [(moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000])
        first = cursor.fetchone()[0]
    return None if first is None else int(first) - 1


def _load(number: int, mail_id: Any, created_at: int, by: str, event: str, blob: str, *mail: str | None) -> OutboxEvent:
    return OutboxEvent(number, as_uuid(mail_id), created_at, by, event, blob, *[text or "" for text in mail])
