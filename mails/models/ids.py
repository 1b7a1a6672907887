"""Ids of emails: UUIDs of version 7, ordered by the millisecond of their creation."""

import datetime as dt
import uuid

import uuid_utils


def uuid7() -> uuid.UUID:
    """Create a UUID version 7 (RFC 9562): unique, and ordered by the millisecond of its creation."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def first_id(moment: dt.datetime) -> uuid.UUID:
    """Return the smallest id that an email of `moment` or later can have: ids begin with their millisecond."""
    milliseconds = min(max(int(moment.timestamp() * 1000), 0), 2**48 - 1)
    return uuid.UUID(int=milliseconds << 80)


def moment_of(mail_id: uuid.UUID) -> dt.datetime:
    """Return when the id was created, to the millisecond, by the clock of the machine that created it."""
    return dt.datetime.fromtimestamp((mail_id.int >> 80) / 1000, dt.UTC)
