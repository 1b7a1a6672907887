"""The request of a delivery as people see it: as it is sent, its signatures hidden."""

from dataclasses import dataclass

from mails.events import outbox
from mails.events.webhooks import payload
from mails.events.webhooks.attempt import HEADERS
from mails.models import WebhookDelivery

HIDDEN = "v1,…"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    """The headers and the body of a request."""

    headers: dict[str, str]
    body: str


def describe_request(delivery: WebhookDelivery) -> ShownRequest | None:
    """Return the last request of the delivery, or the first to come; None if retention has deleted its event.

    It is built again, so it has the present choices of the webhook. Loads `delivery.webhook`.
    """
    if delivery.event_id is None:
        body = payload.build_test(delivery)
    else:
        event = outbox.read_some([delivery.event_id]).get(delivery.event_id)
        if event is None:
            return None
        body = payload.build(event, addresses=delivery.webhook.addresses)
    sent_at = delivery.attempted_at or delivery.created_at
    headers = {
        **HEADERS,
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": HIDDEN,
    }
    return ShownRequest(headers=headers, body=body.decode())
