"""The body of a request to a webhook, as Standard Webhooks has it: type, timestamp, data.

    {"type": "mercury.mail.done", "timestamp": "2026-11-30T10:00:00.123456Z", "data": {…}}

`data` has the fields that events have in streams (docs/events.schema.json).
"""

import orjson

from mails.events import cloud_events
from mails.events.outbox import OutboxEvent
from mails.models import WebhookDelivery

TEST_TYPE = "mercury.test"


def build(event: OutboxEvent, *, addresses: bool) -> bytes:
    """Return the body for this event. Without `addresses`, only their domains remain."""
    record = cloud_events.build(event, source="", addresses=addresses)
    attributes = record.attributes
    return orjson.dumps(
        {"type": attributes["type"], "timestamp": attributes["time"], "data": orjson.Fragment(record.data)}
    )


def build_test(delivery: WebhookDelivery) -> bytes:
    """Return the body of a test."""
    timestamp = delivery.created_at.isoformat().replace("+00:00", "Z")
    return orjson.dumps({"type": TEST_TYPE, "timestamp": timestamp, "data": {"webhook_id": str(delivery.webhook_id)}})
