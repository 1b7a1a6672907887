"""Webhooks and deliveries for tests, stored as they are: no DNS is asked."""

from typing import Any

from django.utils import timezone

from mails.events.webhooks import signing
from mails.models import ApiKey, DeliveryStatus, Event, Mail, Webhook, WebhookDelivery
from mercury.lib import encryption

URL = "https://8.8.8.8/hooks"  # public, and no name


def a_webhook(key: ApiKey, **changes: Any) -> Webhook:
    """Return a webhook of this key."""
    fields = {
        "url": URL,
        "secret": encryption.encrypt(signing.generate_secret()),
        "created_at": timezone.now(),
        "created_by": "test",
        "position": 0,
    }
    return Webhook.objects.create(api_key=key, **{**fields, **changes})


def a_delivery(webhook: Webhook, mail: Mail | None = None, **changes: Any) -> WebhookDelivery:
    """Return a waiting delivery of the last event of this email; of a test without one."""
    now = timezone.now()
    event = Event.objects.filter(mail=mail).order_by("-id").first() if mail else None
    fields: dict[str, Any] = {"created_at": now, "next_attempt_at": now}
    if event is not None:
        fields |= {"event_id": event.pk, "mail_id": event.mail_id, "event": event.event}
    if changes.get("status", DeliveryStatus.WAITING) != DeliveryStatus.WAITING:
        fields |= {"next_attempt_at": None, "finished_at": now, "attempted_at": now}
    return WebhookDelivery.objects.create(webhook=webhook, **{**fields, **changes})
