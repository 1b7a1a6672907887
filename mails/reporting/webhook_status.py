"""How webhooks do: share of successful deliveries, how many wait, and those that need a person."""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, Min, Q

from mails.models import DeliveryStatus, Event, Webhook, WebhookDelivery
from mails.models.webhook import BY_MERCURY
from mercury.lib.database import database_clock, recordset
from mercury.lib.database.recordset import as_time, as_uuid

RECENT = 200  # last deliveries of which the shares are
COUNTED_AT_MOST = 10_000  # waiting deliveries
ALL_COUNTED_AT_MOST = 100_000  # waiting deliveries of all webhooks
LISTED_AT_MOST = 20  # webhooks that need a person
LONG_FAILING = dt.timedelta(hours=1)

_RECENT = """(SELECT count(*) FROM (
    SELECT d.status FROM mails_webhookdelivery AS d WHERE d.webhook_id = w.id ORDER BY d.id DESC LIMIT {recent}
) AS recent WHERE recent.status = '{status}')"""
_WAITING = """(SELECT {what} FROM (
    SELECT d.created_at FROM mails_webhookdelivery AS d WHERE d.webhook_id = w.id AND d.status = 'waiting'
    ORDER BY d.next_attempt_at LIMIT {most}
) AS waiting)"""
_STATUS = f"""
    SELECT w.id, {_RECENT.format(recent=RECENT, status="delivered")}, {_RECENT.format(recent=RECENT, status="failed")},
        {_WAITING.format(what="count(*)", most=COUNTED_AT_MOST + 1)},
        {_WAITING.format(what="min(waiting.created_at)", most=COUNTED_AT_MOST + 1)}
    FROM mails_webhook AS w JOIN {{rows}} ON r.id = w.id
"""  # noqa: S608 (numbers and names of ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookStatus:
    """Status of one webhook's deliveries."""

    delivered: int  # of the last 200
    failed: int  # of the last 200: given up
    waiting: int  # 10,001 if there are more than 10,000
    oldest: dt.datetime | None  # when the oldest of these was created

    @property
    def share(self) -> float | None:
        """The delivered part of the last 200, from 0 to 1; None without any."""
        ended = self.delivered + self.failed
        return self.delivered / ended if ended else None


def find_status(webhook_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, WebhookStatus]:
    """Return the status of each of these webhooks: one query, however many they are. Reads 10,400 rows of each, at most."""
    rows = [(webhook_id,) for webhook_id in webhook_ids]
    if not rows:
        return {}
    found = recordset.build("r", {"id": "uuid"}, rows)
    with connection.cursor() as cursor:
        cursor.execute(_STATUS.format(rows=found.source), found.parameters)
        return {
            as_uuid(webhook_id): WebhookStatus(
                delivered=delivered,
                failed=failed,
                waiting=waiting,
                oldest=None if oldest is None else as_time(oldest),
            )
            for webhook_id, delivered, failed, waiting, oldest in cursor.fetchall()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubledWebhook:
    """A webhook that needs a person: disabled by Mercury, or failing for an hour."""

    id: str
    url: str  # without its query, which may hold a secret
    application: str  # the name of its API key
    disabled_at: dt.datetime | None
    reason: str  # why it is disabled, or its last error
    failing_since: dt.datetime | None


def list_troubled(now: dt.datetime) -> list[TroubledWebhook]:
    """Return up to 20 webhooks that need a person, the longest first."""
    disabled = Q(disabled_at__isnull=False, disabled_by=BY_MERCURY)
    failing = Q(disabled_at=None, failing_since__lt=now - LONG_FAILING)
    rows = Webhook.objects.filter(disabled | failing, api_key__revoked_at=None).select_related("api_key")
    return [
        TroubledWebhook(
            id=str(row.pk),
            url=row.url.partition("?")[0],
            application=row.api_key.name,
            disabled_at=row.disabled_at,
            reason=row.disabled_reason if row.disabled_at else row.last_error,
            failing_since=row.failing_since,
        )
        for row in rows.order_by("failing_since", "pk")[:LISTED_AT_MOST]
    ]


def measure_lag(now: dt.datetime) -> float | None:
    """Return for how many seconds the first event has waited that a webhook could have had; None if there is no webhook.

    Webhooks that are disabled or failing do not count: that their events wait is as it should be. One query where there
    is no webhook, else three.
    """
    valid = Q(api_key__expires_at=None) | Q(api_key__expires_at__gt=now)
    active = Webhook.objects.filter(valid, disabled_at=None, api_key__revoked_at=None)
    position = active.aggregate(first=Min("position"))["first"]
    if position is None:
        return None
    event = Event.objects.filter(pk__gt=position).order_by("pk").values_list("created_at", flat=True).first()
    healthy = active.filter(failing_since=None)
    waiting = WebhookDelivery.objects.filter(status=DeliveryStatus.WAITING, attempts=0, webhook__in=healthy)
    due = waiting.aggregate(first=Min("next_attempt_at"))["first"]
    moments: list[dt.datetime] = [
        *([database_clock.from_ns(event)] if event is not None else []),
        *([due] if due is not None else []),
    ]
    return max([0.0, *((now - moment).total_seconds() for moment in moments)])


def count_by_state() -> dict[str, int]:
    """Return how many webhooks are in each state; those of revoked keys do not count. One query."""
    rows = Webhook.objects.filter(api_key__revoked_at=None)
    active = Q(disabled_at=None, failing_since=None)
    return rows.aggregate(
        active=Count("pk", filter=active),
        failing=Count("pk", filter=Q(disabled_at=None, failing_since__isnull=False)),
        disabled=Count("pk", filter=Q(disabled_at__isnull=False)),
    )


def count_waiting() -> int:
    """Return how many deliveries of all webhooks wait, ALL_COUNTED_AT_MOST at most."""
    return WebhookDelivery.objects.filter(status=DeliveryStatus.WAITING).order_by()[:ALL_COUNTED_AT_MOST].count()
