"""The fields by which lists of emails and events are narrowed and ordered, and times as answers show them."""

import datetime as dt

from mails.queues import QueueName
from mails.states import DeliveryGuarantee, Status
from mercury.lib.rest import filters
from mercury.lib.rest.filters import Kind, Sieve
from providers.outcomes import FailureClass

MAIL_FIELDS: filters.Fields = {
    "id": Sieve("id", Kind.UUID),
    "sender": Sieve("sender"),
    "recipient": Sieve("recipient"),
    "recipients": Sieve("recipient"),
    "subject": Sieve("subject"),
    "status": Sieve("status", values=Status.values),
    "queue": Sieve("queue", values=QueueName.values),
    "delivery_guarantee": Sieve("delivery_guarantee", values=DeliveryGuarantee.values),
    "provider": Sieve("provider"),
    "failure_class": Sieve("failure_class", values=("", *FailureClass)),
    "reason_code": Sieve("reason_code"),
    "attempts": Sieve("attempt_count", Kind.INTEGER),
    "created": Sieve("created_at", Kind.MOMENT),
}
EVENT_FIELDS: filters.Fields = {
    "id": Sieve("id", Kind.INTEGER),
    "event": Sieve("event"),
    "created_at": Sieve("created_at", Kind.INTEGER),
    "created_by": Sieve("created_by"),
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def format_time(moment: dt.datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, microseconds always written: `2026-11-24T13:00:00.000000Z`."""
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z" if moment else None


def to_nanoseconds(moment: dt.datetime) -> int:
    """Return nanoseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000


def from_nanoseconds(nanoseconds: int) -> dt.datetime:
    """Return the moment, to the microsecond."""
    return _EPOCH + dt.timedelta(microseconds=nanoseconds // 1000)
