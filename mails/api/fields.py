"""The fields that lists of emails and events filter and sort by, and the format of times in answers."""

import datetime as dt

from mails.models import DeliveryStatus, MailLabel
from mails.queues import QueueName
from mails.states import DeliveryGuarantee, Status, SuppressionReason
from mercury.lib import durations
from mercury.lib.rest import filters
from mercury.lib.rest.filters import FilterField, ValueType
from providers.outcomes import FailureClass

_LABELS = filters.Labels(
    select=lambda key: MailLabel.objects.filter(name=key).order_by(), link="mail"
)  # tags have no key
MAIL_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.UUID),
    "sender": FilterField(column="sender"),
    "recipient": FilterField(column="recipient"),
    "recipients": FilterField(column="recipient"),
    "subject": FilterField(column="subject"),
    "status": FilterField(column="status", values=Status.values),
    "queue": FilterField(column="queue", values=QueueName.values),
    "delivery_guarantee": FilterField(column="delivery_guarantee", values=DeliveryGuarantee.values),
    "provider": FilterField(column="provider"),
    "failure_class": FilterField(column="failure_class", values=("", *FailureClass)),
    "reason_code": FilterField(column="reason_code"),
    "attempts": FilterField(column="attempt_count", kind=ValueType.INTEGER),
    "created": FilterField(column="created_at", kind=ValueType.MOMENT),
    "send_at": FilterField(column="send_at", kind=ValueType.MOMENT),
    "tags": FilterField(column="value", labels=_LABELS),
    "metadata.*": FilterField(column="value", labels=_LABELS),
}
FILE_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.UUID),
    "filename": FilterField(column="filename"),
    "content_type": FilterField(column="content_type"),
    "size": FilterField(column="size", kind=ValueType.INTEGER),
    "sha256": FilterField(column="content_id"),
    "created": FilterField(column="created_at", kind=ValueType.MOMENT),
    "expires": FilterField(column="expires_at", kind=ValueType.MOMENT),
}
LINK_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.UUID),
    "mail": FilterField(column="mail_id", kind=ValueType.UUID),
    "filename": FilterField(column="filename"),
    "size": FilterField(column="size", kind=ValueType.INTEGER),
    "sha256": FilterField(column="sha256"),
    "downloads": FilterField(column="downloads", kind=ValueType.INTEGER),
    "expires": FilterField(column="expires_at", kind=ValueType.MOMENT),
}
SUPPRESSION_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.INTEGER),
    "address": FilterField(column="address"),
    "scope": FilterField(column="scope"),
    "reason": FilterField(column="reason", values=SuppressionReason.values),
    "source": FilterField(column="source"),
    "since": FilterField(column="created_at", kind=ValueType.MOMENT),
    "expires": FilterField(column="expires_at", kind=ValueType.MOMENT),
    "mail": FilterField(column="mail_id", kind=ValueType.UUID),
}
RULE_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.INTEGER),
    "name": FilterField(column="name"),
    "position": FilterField(column="position", kind=ValueType.INTEGER),
}
WEBHOOK_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.UUID),
    "url": FilterField(column="url"),
    "description": FilterField(column="description"),
    "created": FilterField(column="created_at", kind=ValueType.MOMENT),
}
DELIVERY_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.INTEGER),
    "status": FilterField(column="status", values=DeliveryStatus.values),
    "event": FilterField(column="event"),
    "event_id": FilterField(column="event_id", kind=ValueType.INTEGER),
    "mail": FilterField(column="mail_id", kind=ValueType.UUID),
    "status_code": FilterField(column="status_code", kind=ValueType.INTEGER),
    "created": FilterField(column="created_at", kind=ValueType.MOMENT),
}
EVENT_FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.INTEGER),
    "event": FilterField(column="event"),
    "created_at": FilterField(column="created_at", kind=ValueType.INTEGER),
    "created_by": FilterField(column="created_by"),
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def format_time(moment: dt.datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, microseconds always written: `2026-11-24T13:00:00.000000Z`."""
    if moment is None:
        return None
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # `strftime` is slower


def parse_time_or_age(text: str, now: dt.datetime) -> dt.datetime:
    """Return the time that a text names: in ISO 8601, in UTC without a zone, or as an age such as `1h`. Raises ValueError."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - durations.parse_duration(text)
        except (ValueError, OverflowError):
            fault = f"'{text[:40]}' is neither an age (15m, 1h, 7d) nor a time in ISO 8601."
            raise ValueError(fault) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def to_nanoseconds(moment: dt.datetime) -> int:
    """Return nanoseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // _MICROSECOND * 1000
