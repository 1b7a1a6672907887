"""Deliver events to a webhook again: one delivery, or all events of a range of time."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet

from mails.events import outbox
from mails.events.webhooks import fan_out
from mails.events.webhooks.operations import AUDIT_KIND
from mails.models import DeliveryStatus, Webhook, WebhookDelivery
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock

MOST_EVENTS = 100_000  # of all clients, that one range may span: a request has a few seconds


class RangeTooLong(ValueError):
    """The range spans more events than one call looks through; the text says how many."""


def redeliver(delivery: WebhookDelivery, *, by: str) -> WebhookDelivery:
    """Send a delivery again now, whatever became of it, with the same message id; return it as it is then.

    Also while its webhook rests. If the webhook is disabled, it waits until that is enabled.
    """
    now = database_clock.now()
    with transaction.atomic():
        Webhook.objects.filter(pk=delivery.webhook_id).update(rests_until=None)
        WebhookDelivery.objects.filter(pk=delivery.pk).update(
            status=DeliveryStatus.WAITING, attempts=0, first_attempt_at=None, finished_at=None, next_attempt_at=now
        )
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The events of a webhook to deliver again: those recorded from `since` and before `until`.

    `only_failed`: those whose delivery was given up. Else all that match the webhook's choice, also those recorded before
    it was created or that it had not chosen then.
    """

    since: dt.datetime
    until: dt.datetime
    only_failed: bool


def count_period(webhook: Webhook, period: Period, *, most_events: int | None = MOST_EVENTS) -> int:
    """Return how many deliveries `redeliver_period` would make now. Raises RangeTooLong as that does."""
    first, last = _find_range(webhook, period, most_events)
    if period.only_failed:
        return _list_failed(webhook, first, last).count()
    return sum(fan_out.count([webhook.pk], after, until) for after, until in _split(first, last))


def redeliver_period(webhook: Webhook, period: Period, *, by: str, most_events: int | None = MOST_EVENTS) -> int:
    """Send the events of a period again; return how many deliveries that makes.

    They are sent in order, but later ones that were delivered before stay. Raises RangeTooLong if the period spans more
    than `most_events` events of all clients; None, for commands, is no limit. Works in groups: if it breaks off, call it
    again.
    """
    first, last = _find_range(webhook, period, most_events)
    if first >= last:
        return 0
    count = _repeat_failed(webhook, first, last) if period.only_failed else _repeat_all(webhook, first, last)
    detail = f"{count} deliveries again: {period.since:%Y-%m-%d %H:%M:%S} to {period.until:%Y-%m-%d %H:%M:%S} UTC"
    with transaction.atomic():
        Webhook.objects.filter(pk=webhook.pk).update(rests_until=None)
        audit.record(Act.CHANGE, by=by, kind=AUDIT_KIND, name=webhook.url, object_id=webhook.pk, detail=detail)
    return count


def _find_range(webhook: Webhook, period: Period, most_events: int | None) -> tuple[int, int]:
    """Return the id after which the events of the period begin, and that of the last one that was fanned out."""
    first, last = outbox.find_position(period.since), min(outbox.find_position(period.until), webhook.position)
    if most_events is not None and last - first > most_events:
        raise RangeTooLong(
            f"The range has {last - first:,} events of all clients; the maximum is {most_events:,}. "
            "Choose a shorter one, or use manage.py webhooks."
        )
    return first, last


def _split(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the groups of events between two ids."""
    while first < last:
        end = outbox.find_last_of_group(first, last, size=fan_out.GROUP)
        yield first, end
        first = end


def _list_failed(webhook: Webhook, first: int, last: int) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(
        webhook=webhook, status=DeliveryStatus.FAILED, event_id__gt=first, event_id__lte=last
    )


def _repeat_failed(webhook: Webhook, first: int, last: int) -> int:
    failed = _list_failed(webhook, first, last)
    count = 0
    while ids := list(failed.order_by("-pk").values_list("pk", flat=True)[: fan_out.GROUP]):
        count += WebhookDelivery.objects.filter(pk__in=ids, status=DeliveryStatus.FAILED).update(
            status=DeliveryStatus.WAITING,
            attempts=0,
            first_attempt_at=None,
            finished_at=None,
            next_attempt_at=database_clock.now(),
        )
    return count


def _repeat_all(webhook: Webhook, first: int, last: int) -> int:
    return sum(
        fan_out.insert([webhook.pk], after, until, now=database_clock.now(), conflict=fan_out.SEND_AGAIN)
        for after, until in _split(first, last)
    )
