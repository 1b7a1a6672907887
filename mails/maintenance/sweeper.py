"""Takes up what a lost worker left, and ends what is over. Runs in whichever process holds the duty."""

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

import structlog
from django.db import connection
from django.db.models import Q

from mails.dispatch import claim, retry_policy
from mails.lifecycle import action_requests, writer
from mails.lifecycle.action_requests import ActionRequest
from mails.lifecycle.values import AttemptClosed, EventDraft, MailState, Step, read_state
from mails.maintenance import leadership
from mails.models import Attempt, IdempotencyKey, Mail, Worker
from mails.models.querysets import MailQuerySet
from mails.states import (
    DUE,
    IDEMPOTENCY_KEYS_KEPT,
    LEASED,
    WORKER_SILENCE,
    Actor,
    AttemptState,
    EventName,
    HoldReason,
    RecipientState,
    Status,
)
from mercury.lib.database import database_clock
from providers.outcomes import FailureClass

log = structlog.get_logger(__name__)

TASK = "sweep"
KEEP_WORKERS = dt.timedelta(days=1)
BATCH = 500  # mails a turn
LONGEST_LOOK = (
    2.5  # seconds, a heartbeat's time; after a longer one heartbeats may be old since the database stood still
)
TURNS = 4  # of full batches at once: the thread that sweeps also takes mails and beats


@dataclass(frozen=True, slots=True)
class Lost:
    """A mail whose worker is gone, and its attempt without an end, if a call had begun."""

    mail: Mail
    attempt: Attempt | None


def sweep_if_leader(worker: str) -> bool:
    """Sweep, if this process has the duty; whether that changed a mail, so that some may be due.

    Where many workers were lost, what the last of them held does not wait for the next heartbeat.
    """
    until = time.monotonic() + LONGEST_LOOK
    if not leadership.acquire(TASK, worker):
        return False
    changed = bring_forward()
    database_clock.look()
    if database_clock.jumped_within(WORKER_SILENCE.total_seconds()):
        return changed > 0  # heartbeats and leases of before say nothing about who lives
    for _ in range(TURNS):
        taken = sweep(until=until).total()
        changed += taken
        if taken < BATCH:
            break
    return changed > 0


def sweep(*, dry_run: bool = False, until: float = float("inf")) -> Counter[str]:
    """Take up lost mails and expire old ones. Returns counts by what was done, or would be with `dry_run`.

    Does nothing if it knows only after `until` (monotonic clock) what is lost: the database may have stood still meanwhile.

    Every change carries the lost lease as its fence, so that a worker that was only slow and a sweep cannot both win.
    Old idempotency keys and heartbeats are removed on the way.
    """
    now_ns = database_clock.now_ns()
    now = database_clock.from_ns(now_ns)
    if dry_run:
        return Counter(what for what, _ in _find_steps(now, now_ns))
    with claim.lock_claims():
        steps = {step.mail_id: (what, step) for what, step in _find_steps(now, now_ns)}
        if time.monotonic() > until:
            log.warning("sweep_abandoned", emails=len(steps))
            return Counter()
        won = writer.record_each([step for _, step in steps.values()])
    IdempotencyKey.objects.filter(created_at__lt=now - IDEMPOTENCY_KEYS_KEPT).delete()
    Worker.objects.filter(seen_at__lt=now - KEEP_WORKERS).delete()
    counts = Counter(steps[mail_id][0] for mail_id in won)
    if counts:
        log.info("swept", **counts)
    return counts


def bring_forward() -> int:
    """Make due what was queued before the clock went back, so that it does not wait for the clock to come there again."""
    if not database_clock.went_back_within(2 * WORKER_SILENCE.total_seconds()):
        return 0
    now = database_clock.now()
    return Mail.objects.filter(status=Status.QUEUED, next_attempt_at__gt=now).update(next_attempt_at=now)


def find_lost(now: dt.datetime) -> list[Lost]:
    """Mails in the hand of a worker that is silent or whose lease is over, at most 500, oldest lease first.

    Not those that a living worker keeps beyond their leases, since their results wait or their calls last.
    """
    seen = (now - WORKER_SILENCE, now + WORKER_SILENCE)  # one that is dated later has died before the clock went back
    alive = dict(Worker.objects.filter(seen_at__range=seen).values_list("id", "leases_kept"))
    over = Q(lease_expires_at__lt=now) & ~Q(pk__in=list(chain.from_iterable(filter(None, alive.values()))))
    mails = list(
        _lock_free(Mail.objects.filter(status__in=LEASED).filter(over | ~Q(worker__in=alive)))
        .prefetch_related("recipients")
        .order_by("lease_expires_at")[:BATCH]
    )
    open_attempts = Attempt.objects.filter(mail__in=mails, state=AttemptState.OPEN)
    attempts = {attempt.mail_id: attempt for attempt in open_attempts}
    return [Lost(mail, attempts.get(mail.pk)) for mail in mails]


def _lock_free(mails: MailQuerySet) -> MailQuerySet:
    """Lock them where that is possible, and pass over what others have locked: one such must not stop the rest."""
    if connection.in_atomic_block and connection.features.has_select_for_update_skip_locked:
        return mails.select_for_update(skip_locked=True, of=("self",), no_key=True)
    return mails


def _find_steps(now: dt.datetime, now_ns: int) -> Iterable[tuple[str, Step]]:
    for lost in find_lost(now):
        yield _recover(lost, now, now_ns)
    # A mail that some recipients' providers took is no case for this: the dispatcher ends it as done in part.
    over = Mail.objects.filter(status__in=DUE, expires_at__lte=now)
    over = _lock_free(over.exclude(recipients__state=RecipientState.ACCEPTED))
    for mail in over.order_by("expires_at")[:BATCH]:
        yield "expired", _expire(mail, now, now_ns)


def _recover(lost: Lost, now: dt.datetime, now_ns: int) -> tuple[str, Step]:
    mail, attempt = lost.mail, lost.attempt
    events: list[EventDraft] = []
    closed = None
    state = read_state(mail)._replace(lease=None, lease_expires_at=None, worker="")
    if attempt is not None:
        held = retry_policy.may_not_be_repeated(mail.delivery_guarantee, possible_duplicate=mail.possible_duplicate)
        closed, unknown = _close_as_unknown(attempt, now, now_ns, held=held, guarantee=mail.delivery_guarantee)
        events.append(unknown)
        tried, failure_classes = (
            (*state.tried, attempt.account),
            tuple(sorted({*state.failure_classes, FailureClass.PROVIDER})),
        )
        state = state._replace(
            possible_duplicate=True, tried=tried, failure_classes=failure_classes, reason_code=closed.reason_code
        )
    if mail.pending_action:
        return _apply_pending(mail, state, events, closed, now_ns)
    if mail.claims >= retry_policy.POISON_CLAIMS:
        info = f"{mail.claims} workers died while they held it."
        return "held: poison", _hold(mail, state, HoldReason.POISON, info, events, closed, now_ns)
    if attempt is not None and retry_policy.may_not_be_repeated(
        mail.delivery_guarantee, possible_duplicate=mail.possible_duplicate
    ):
        times = " by two calls" if mail.possible_duplicate else ""
        info = f"It may have been sent{times}: the worker was lost during the call."
        return "held: outcome unknown", _hold(mail, state, HoldReason.UNKNOWN, info, events, closed, now_ns)
    exception = "The worker was lost during the call." if attempt else "The worker was lost before any call."
    blob = {
        "service": attempt.account if attempt else "",
        "exception": exception,
        "when": "at once",
        "worker": mail.worker,
    }
    events.append(EventDraft(EventName.RETRY, Actor.SWEEPER, now_ns, blob | {"round": state.round}))
    what = "queued again: outcome unknown" if attempt else "queued again: not sent"
    after = state._replace(status=Status.QUEUED, next_attempt_at=now)
    return what, _build_step(mail, after, tuple(events), closed)


def _apply_pending(
    mail: Mail, state: MailState, events: list[EventDraft], closed: AttemptClosed | None, now_ns: int
) -> tuple[str, Step]:
    """What somebody asked for during the call that was lost."""
    action_request = ActionRequest.parse(mail.pending_action)
    effect = action_requests.compute_effect(
        action_request, state, mail.recipients.all(), delivery_guarantee=mail.delivery_guarantee, now_ns=now_ns
    )
    step = _build_step(mail, effect.after, (*events, *effect.events), closed)
    return f"{effect.after.status}: asked for", replace(step, recipients=effect.recipients)


def _close_as_unknown(
    attempt: Attempt, now: dt.datetime, now_ns: int, *, held: bool, guarantee: str
) -> tuple[AttemptClosed, EventDraft]:
    reason = "The worker was lost between the call and its end."
    closed = AttemptClosed(
        attempt.pk, AttemptState.UNKNOWN, now, reason_code="worker-lost", reason=reason, account=attempt.account
    )
    blob = {
        "service": attempt.account,
        "attempt": attempt.number,
        "reason_code": closed.reason_code,
        "reason": reason,
        "delivery_guarantee": guarantee,
        "next": "held" if held else "next account",
    }
    return closed, EventDraft(EventName.UNKNOWN, Actor.SWEEPER, now_ns, blob)


def _hold(
    mail: Mail,
    state: MailState,
    reason: HoldReason,
    info: str,
    events: list[EventDraft],
    closed: AttemptClosed | None,
    now_ns: int,
) -> Step:
    held = EventDraft(EventName.HELD, Actor.SWEEPER, now_ns, {"reason": reason, "info": info})
    after = state._replace(status=Status.HELD, next_attempt_at=None, reason_code=reason)
    return _build_step(mail, after, (*events, held), closed)


def _expire(mail: Mail, now: dt.datetime, now_ns: int) -> Step:
    event = EventDraft(EventName.EXPIRED, Actor.SWEEPER, now_ns, {"info": "Its time was over."})
    after = read_state(mail)._replace(
        status=Status.EXPIRED, next_attempt_at=None, finished_at=now, reason_code="expired"
    )
    return _build_step(mail, after, (event,))


def _build_step(
    mail: Mail, after: MailState, events: tuple[EventDraft, ...], closed: AttemptClosed | None = None
) -> Step:
    status, attempts = Status(mail.status), mail.attempt_count
    return Step(
        mail.pk, status, mail.lease, after, events, closed, attempts=attempts, pending_action=mail.pending_action
    )
