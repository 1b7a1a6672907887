"""The fields by which lists of emails and events are narrowed and ordered, and times as answers show them."""

import datetime as dt

from mails.queues import QueueName
from mails.states import DeliveryGuarantee, Status
from mercury.lib.rest import filters
from mercury.lib.rest.filters import FilterField, ValueType
from providers.outcomes import FailureClass

MAIL_FIELDS: filters.FilterFields = {
    "id": FilterField("id", ValueType.UUID),
    "sender": FilterField("sender"),
    "recipient": FilterField("recipient"),
    "recipients": FilterField("recipient"),
    "subject": FilterField("subject"),
    "status": FilterField("status", values=Status.values),
    "queue": FilterField("queue", values=QueueName.values),
    "delivery_guarantee": FilterField("delivery_guarantee", values=DeliveryGuarantee.values),
    "provider": FilterField("provider"),
    "failure_class": FilterField("failure_class", values=("", *FailureClass)),
    "reason_code": FilterField("reason_code"),
    "attempts": FilterField("attempt_count", ValueType.INTEGER),
    "created": FilterField("created_at", ValueType.MOMENT),
}
EVENT_FIELDS: filters.FilterFields = {
    "id": FilterField("id", ValueType.INTEGER),
    "event": FilterField("event"),
    "created_at": FilterField("created_at", ValueType.INTEGER),
    "created_by": FilterField("created_by"),
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
