"""What a sender reads and writes: leases of webhooks, deliveries that are due, and results.

Only the process that has a webhook's lease sends to it. Statements lock the webhook before its deliveries, as everywhere.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from mails.events import outbox
from mails.events.outbox import OutboxEvent
from mails.events.webhooks import operations
from mails.events.webhooks.attempt import GONE, Attempt
from mails.events.webhooks.backoff import GIVE_UP_AFTER, REST_AFTER, compute_delay, compute_rest
from mails.models import DeliveryStatus, Webhook, WebhookDelivery
from mails.models.webhook import BY_MERCURY
from mercury.lib.database import database_clock, recordset

log = structlog.get_logger(__name__)

LEASE = dt.timedelta(seconds=15)  # renewed every few seconds: others go on so soon after a crash
DUE_AT_ONCE = 100  # deliveries that a claim looks at
CHAIN_AT_ONCE = 50  # deliveries of one email that a claim returns
FRESH = dt.timedelta(seconds=5)  # so often the last success of a webhook that works is written
LOCAL_PAUSE = dt.timedelta(seconds=5)  # before the next attempt after one that this machine could not make


WAITING, DELIVERED, FAILED = DeliveryStatus.WAITING, DeliveryStatus.DELIVERED, DeliveryStatus.FAILED

Key = uuid.UUID | int  # an email, or a test's own id: what is sent in order


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to be sent now, with its event: none if it is a test, or if retention has deleted it."""

    row: WebhookDelivery
    event: OutboxEvent | None

    @property
    def key(self) -> Key:
        """What it is in order with."""
        return get_key(self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a webhook has to send now: chains, each in order. `has_more`: another look may find more."""

    webhook: Webhook
    chains: list[list[Due]]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a delivery."""

    row: WebhookDelivery
    attempt: Attempt


def get_key(row: WebhookDelivery) -> Key:
    """Return what the delivery is in order with: its email, or nothing but itself."""
    return row.mail_id or row.pk


def build_active(now: dt.datetime) -> Q:
    """Return the condition of webhooks that get events: enabled, and their API key is valid."""
    return Q(disabled_at=None, api_key__revoked_at=None) & (
        Q(api_key__expires_at=None) | Q(api_key__expires_at__gt=now)
    )


def acquire(process: str, most: int) -> list[uuid.UUID]:
    """Lease up to `most` webhooks that have something to send and that no process serves, the longest unserved first."""
    now = database_clock.now()
    due = WebhookDelivery.objects.filter(webhook=OuterRef("pk"), status=WAITING, next_attempt_at__lte=now)
    # A lease that ends later than any may began before the clock went back.
    free = Q(leased_until=None) | Q(leased_until__lte=now) | Q(leased_until__gt=now + 2 * LEASE)
    rested = Q(rests_until=None) | Q(rests_until__lte=now)
    found = Webhook.objects.filter(build_active(now), free, rested, Exists(due))
    ids = list(found.order_by(F("leased_until").asc(nulls_first=True), "pk").values_list("pk", flat=True)[:most])
    return [pk for pk in ids if Webhook.objects.filter(free, pk=pk).update(leader=process, leased_until=now + LEASE)]


def renew(process: str) -> None:
    """Prolong all leases of this process."""
    Webhook.objects.filter(leader=process).update(leased_until=database_clock.now() + LEASE)


def release(webhook_id: uuid.UUID, process: str) -> None:
    """End the lease, if this process has it, so that another process may serve the webhook at once."""
    _lead(webhook_id, process).update(leader="", leased_until=database_clock.now())


def release_all(process: str) -> None:
    """End all leases of this process."""
    Webhook.objects.filter(leader=process).update(leader="", leased_until=database_clock.now())


def _lead(webhook_id: uuid.UUID, process: str) -> QuerySet[Webhook]:
    return Webhook.objects.filter(pk=webhook_id, leader=process)


def claim(webhook_id: uuid.UUID, process: str, busy: Collection[Key]) -> Claim | None:
    """Return what the webhook has to send, without the emails in `busy`; None if this process no longer serves it.

    A webhook that rests time after time gets one delivery, preferably one never tried: the others may be the problem.
    """
    now = database_clock.now()
    webhook = _lead(webhook_id, process).filter(build_active(now)).first()
    if webhook is None:
        return None
    is_probed = webhook.failures >= REST_AFTER
    due = WebhookDelivery.objects.filter(webhook=webhook, status=WAITING, next_attempt_at__lte=now)
    due = due.exclude(mail_id__in=[key for key in busy if isinstance(key, uuid.UUID)])
    due = due.exclude(pk__in=[key for key in busy if isinstance(key, int)])
    found = list(due.order_by(*(["attempts"] if is_probed else []), "next_attempt_at", "pk")[:DUE_AT_ONCE])
    chains = [*([row] for row in found if row.mail_id is None), *_read_chains(webhook, found)]
    ready = [chain for chain in (_cut(chain, now) for chain in chains) if chain]
    if is_probed:
        ready = sorted(ready, key=lambda chain: chain[0].attempts)[:1]
    events = outbox.read_some([row.event_id for chain in ready for row in chain if row.event_id is not None])
    return Claim(
        webhook=webhook,
        chains=[[Due(row, events.get(row.event_id or 0)) for row in chain] for chain in ready],
        has_more=len(found) == DUE_AT_ONCE,
    )


def _read_chains(webhook: Webhook, found: Iterable[WebhookDelivery]) -> list[list[WebhookDelivery]]:
    """Return all waiting deliveries of these deliveries' emails, by email, in order."""
    mails = {row.mail_id for row in found if row.mail_id is not None}
    rows = WebhookDelivery.objects.filter(webhook=webhook, status=WAITING, mail_id__in=mails).order_by("event_id")
    chains: defaultdict[uuid.UUID | None, list[WebhookDelivery]] = defaultdict(list)
    for row in rows[: 10 * DUE_AT_ONCE]:
        chains[row.mail_id].append(row)
    return list(chains.values())


def _cut(chain: list[WebhookDelivery], now: dt.datetime) -> list[WebhookDelivery]:
    """Return the deliveries at the beginning that are due. If the first is not, let the others wait for it."""
    ready: list[WebhookDelivery] = []
    for row in chain[:CHAIN_AT_ONCE]:
        if row.next_attempt_at is None or row.next_attempt_at > now:
            break
        ready.append(row)
    first = chain[0].next_attempt_at
    if not ready and first is not None:
        # Found by their index at each look otherwise. Repeated as long as it fails: events may have come since.
        later = [row.pk for row in chain[1:] if row.next_attempt_at is not None and row.next_attempt_at < first]
        WebhookDelivery.objects.filter(pk__in=later, status=WAITING).update(next_attempt_at=first)
    return ready


# A delivery that somebody redelivers while it is being sent, and one that another process has recorded, stay as they are.
_RECORD = """
    UPDATE mails_webhookdelivery SET status = r.status, attempts = r.attempts, first_attempt_at = r.first_attempt_at,
        attempted_at = r.attempted_at, next_attempt_at = r.next_attempt_at, finished_at = r.finished_at,
        status_code = r.status_code, answer = r.answer, error = r.error, duration_ms = r.duration_ms
    FROM {rows}
    WHERE mails_webhookdelivery.id = r.id AND mails_webhookdelivery.status = 'waiting'
        AND mails_webhookdelivery.attempts = r.attempts_before
"""
_COLUMNS = recordset.list_columns(
    WebhookDelivery,
    (
        *("id", "status", "attempts", "first_attempt_at", "attempted_at", "next_attempt_at", "finished_at"),
        *("status_code", "answer", "error", "duration_ms"),
    ),
) | {"attempts_before": "int"}


def record(webhook_id: uuid.UUID, process: str, results: Sequence[Result]) -> bool:
    """Store what became of deliveries, in the order of their ends; return True if the webhook may get more at once.

    Deliveries are stored also if this process has lost the lease: they were made.
    """
    now = database_clock.now()
    with transaction.atomic():
        webhook = Webhook.objects.select_for_update(no_key=True).filter(pk=webhook_id).first()
        if webhook is None:
            return False
        _note_results(webhook, [result.attempt for result in results if not result.attempt.is_local], now)
        rows = [_build_row(result, now) for result in results]
        found = recordset.build("r", _COLUMNS, rows)
        with connection.cursor() as cursor:
            cursor.execute(_RECORD.format(rows=found.source), found.parameters)
    rests = webhook.rests_until is not None and webhook.rests_until > now
    return webhook.disabled_at is None and not rests and webhook.leader == process


def _build_row(result: Result, now: dt.datetime) -> tuple[object, ...]:
    """Return the values of `_COLUMNS`."""
    row, attempt = result.row, result.attempt
    first = row.first_attempt_at or now
    attempts = row.attempts if attempt.is_local else row.attempts + 1
    status, next_at = WAITING, None
    if attempt.is_success:
        status = DELIVERED
    elif attempt.is_local:
        next_at = now + LOCAL_PAUSE
    elif attempt.is_final or now - first >= GIVE_UP_AFTER:
        status = FAILED
    else:
        wait = dt.timedelta(seconds=attempt.wait) if attempt.wait else compute_delay(attempts)
        next_at = now + wait
    finished = None if status == WAITING else now
    return (
        *(row.pk, status, attempts, first, now, next_at, finished),
        *(attempt.status_code, attempt.answer, attempt.error, attempt.duration_ms, row.attempts),
    )


def _note_results(webhook: Webhook, attempts: Sequence[Attempt], now: dt.datetime) -> None:
    """Update how the webhook does: since when it fails, how long it rests, and whether that is the end."""
    attempts = [attempt for attempt in attempts if not attempt.is_final]  # which it knows nothing of
    failures = next((n for n, attempt in enumerate(reversed(attempts)) if attempt.is_success), len(attempts))
    has_success = failures < len(attempts)
    if not attempts or (has_success and not failures and _is_fresh(webhook, now)):
        return
    rested = webhook.failures >= REST_AFTER
    if has_success:
        webhook.failures, webhook.failing_since, webhook.last_error = 0, None, ""
        webhook.last_success_at, webhook.rests_until = now, None
    if failures:
        webhook.failures += failures
        webhook.failing_since = webhook.failing_since or now
        webhook.last_error = attempts[-1].error
    webhook.rests_until = _find_rest(webhook, attempts, now)
    webhook.save(update_fields=["failures", "failing_since", "last_error", "last_success_at", "rests_until"])
    if has_success and rested:
        operations.hurry(webhook)
    if why := _find_end(webhook, attempts, now):
        log.warning("webhook_disabled", webhook=str(webhook.pk), reason=why)
        operations.disable(webhook, by=BY_MERCURY, reason=why)


def _is_fresh(webhook: Webhook, now: dt.datetime) -> bool:
    """Return True if the row says already that the webhook works."""
    return not webhook.failures and webhook.last_success_at is not None and now - webhook.last_success_at < FRESH


def _find_rest(webhook: Webhook, attempts: Sequence[Attempt], now: dt.datetime) -> dt.datetime | None:
    """Return until when nothing is sent: as the answers ask, or by the number of failures."""
    rest = compute_rest(webhook.failures)
    asked = [dt.timedelta(seconds=attempt.wait) for attempt in attempts if attempt.wait and not attempt.is_success]
    waits = [*asked, *([rest] if rest is not None and webhook.failures else [])]
    return now + max(waits) if waits else webhook.rests_until


def _find_end(webhook: Webhook, attempts: Sequence[Attempt], now: dt.datetime) -> str:
    """Return why the webhook is disabled now; empty if it is not."""
    if webhook.disabled_at is not None:
        return ""
    if any(attempt.status_code == GONE for attempt in attempts):
        return "It answered 410: it is gone."
    if webhook.failing_since is not None and now - webhook.failing_since >= GIVE_UP_AFTER:
        return f"It has failed for three days: {webhook.last_error}"
    return ""


def note_unusable(webhook_id: uuid.UUID, process: str, error: str) -> None:
    """Record that nothing can be sent to the webhook for now, whose secret cannot be read, and let it rest."""
    now = database_clock.now()
    _lead(webhook_id, process).update(last_error=error[:500], rests_until=now + dt.timedelta(minutes=5))
    _lead(webhook_id, process).filter(failing_since=None).update(failing_since=now)
