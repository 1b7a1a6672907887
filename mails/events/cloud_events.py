"""Events as CloudEvents 1.0, for streams and client webhooks. No bodies, no secrets; addresses only where a setting allows.

docs/events.schema.json describes them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from mails.events.outbox import OutboxEvent
from mails.states import EventName
from mercury.lib.database import database_clock

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"
CLIENT_TYPE = "mercury.mail.client_event"  # of an event that a client has appended; its name is in the data
MOST_BLOB = 48 * 1024  # characters: CloudEvents asks for events of 64 kB at most, and brokers refuse those of megabytes
_TYPES = {name.value: f"mercury.mail.{name.value.lower().replace(' ', '_')}" for name in EventName}
TYPES = (*_TYPES.values(), CLIENT_TYPE)
# A local part, quoted or not, and its domain. In JSON a quotation mark is escaped.
_ADDRESS = re.compile(r"""(?:\\"[^"\\]*\\"|[^\s"'<>,;:()\[\]{}\\]+)(@|%40)([^\s"'<>,;:()\[\]{}\\/]+)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A CloudEvent about to be published: its context attributes, and its data as JSON."""

    event_id: int
    key: str  # the email's id: events with the same key stay in order
    attributes: Mapping[str, str]
    data: bytes

    def encode(self) -> bytes:
        """Return it in structured mode: one JSON object with attributes and data."""
        return orjson.dumps({**self.attributes, "data": orjson.Fragment(self.data)})


def build(event: OutboxEvent, *, source: str, addresses: bool) -> Record:
    """Return the event as a CloudEvent. `source`: the instance. Without `addresses`, only their domains remain."""
    return Record(
        event_id=event.id,
        key=str(event.mail_id),
        attributes=_build_attributes(event, source),
        data=orjson.dumps(_build_data(event, addresses=addresses)),
    )


def _build_attributes(event: OutboxEvent, source: str) -> dict[str, str]:
    """Return the context attributes; `source` and `id` together are unique, so that a repeated event is recognized."""
    return {
        "specversion": SPEC_VERSION,
        "id": str(event.id),
        "source": source,
        "type": _TYPES.get(event.event, CLIENT_TYPE),
        "subject": str(event.mail_id),
        "time": database_clock.from_ns(event.created_at).isoformat().replace("+00:00", "Z"),
        "datacontenttype": CONTENT_TYPE,
    }


def _build_data(event: OutboxEvent, *, addresses: bool) -> dict[str, Any]:
    """Return what happened. `details`: the event's blob as JSON, or as text where it is none; null if it is too long."""
    blob, by = event.blob, event.created_by
    if not addresses:
        blob, by = mask_addresses(blob), mask_addresses(by)
    data: dict[str, Any] = {
        "event": event.event,
        "event_id": event.id,
        "mail_id": str(event.mail_id),
        "created_at": event.created_at,
        "created_by": by,
        "queue": event.queue,
        "application": event.application,
        "details": _parse(blob),
    }
    if addresses:
        data["sender"], data["recipients"] = event.sender, _split(event.recipient)
    return data


def mask_addresses(text: str) -> str:
    """Return the text with the local part of each address replaced: `***@olimpus.com`."""
    if "@" not in text and "%40" not in text:
        return text
    return _ADDRESS.sub(r"***\1\2", text)


def _split(recipients: str) -> list[str]:
    return [part.strip() for part in recipients.split(",") if part.strip()]


def _parse(blob: str) -> Any:
    if len(blob) > MOST_BLOB:
        return None
    try:
        return orjson.loads(blob) if blob else {}
    except orjson.JSONDecodeError:
        return blob
