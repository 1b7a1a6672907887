"""Deliver events to a webhook again: one delivery, or all events of a range of time."""

import datetime as dt

from django.db import transaction

from mails.events.webhooks.operations import AUDIT_KIND
from mails.models import DeliveryStatus, Webhook, WebhookDelivery
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock

MOST_EVENTS = 1_000_000  # ids of events, of all clients, that one range may span


class RangeTooLong(ValueError):
    """The range spans more events than one call looks through; the text says how many."""


def redeliver(delivery: WebhookDelivery, *, by: str) -> WebhookDelivery:
    """Send a delivery again now, whatever became of it, with the same message id; return it as it is then.

    Also while its webhook rests. If the webhook is disabled, it waits until that is enabled.
    """
    now = database_clock.now()
    with transaction.atomic():
        WebhookDelivery.objects.filter(pk=delivery.pk).update(
            status=DeliveryStatus.WAITING, attempts=0, first_attempt_at=None, finished_at=None, next_attempt_at=now
        )
        Webhook.objects.filter(pk=delivery.webhook_id).update(rests_until=None)
        audit.record(
            Act.CHANGE,
            by=by,
            kind=AUDIT_KIND,
            name=delivery.webhook.url,
            object_id=delivery.webhook_id,
            detail=f"Delivered again: {delivery.message_id}",
        )
    delivery.refresh_from_db()
    return delivery


def redeliver_range(webhook: Webhook, *, since: dt.datetime, until: dt.datetime, only_failed: bool, by: str) -> int:
    """Send again the events recorded from `since` and before `until`; return how many deliveries that makes.

    `only_failed`: those whose delivery was given up. Else all that match the webhook's choice, also those recorded before
    it was created or that it had not chosen then. Raises RangeTooLong. Works in groups: if it breaks off, call it again.
    """
    raise NotImplementedError
