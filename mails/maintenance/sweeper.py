"""The sweeper: returns emails of dead workers to the queue, and expires what is overdue. Runs in the process that leads the task."""

import datetime as dt
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import structlog
from django.db import connection
from django.db.models import Q

from mails.dispatch import quarantine, retry_policy
from mails.dispatch.due import claim
from mails.dispatch.due.unanswered import EXPIRED_UNKNOWN
from mails.lifecycle import action_requests, writer
from mails.lifecycle.action_requests import ActionRequest, list_recipients
from mails.lifecycle.values import AttemptClosed, EventDraft, MailState, RecipientOutcome, Step, read_state
from mails.maintenance import leadership
from mails.models import Attempt, Mail, Recipient, Worker
from mails.models.querysets import MailQuerySet
from mails.states import (
    DUE,
    LEASED,
    WORKER_SILENCE,
    Actor,
    AttemptState,
    DeliveryGuarantee,
    EventName,
    HoldReason,
    RecipientState,
    Status,
)
from mercury.lib.database import database_clock
from providers.outcomes import FailureClass

log = structlog.get_logger(__name__)

TASK = "sweep"
BATCH = 500  # emails in one sweep
# Seconds, a heartbeat's time; after a longer query heartbeats may be old since the database did not answer.
LONGEST_LOOK = 2.5
EXPIRED = "It expired before an account accepted it."
MAX_SWEEPS = 4  # of full batches with one heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class LostMail:
    """An email whose worker is dead, and its open attempt, if a call had begun."""

    mail: Mail
    attempt: Attempt | None
    is_only_unknown: bool = True  # no other request of the email, with another key, has an unknown outcome

    @property
    def is_repeatable(self) -> bool:
        """Return True if the call left at most one copy, which its account recognizes if the request is repeated.

        With several recipients, it may have made further requests after a refused one.
        """
        if self.attempt is None or not self.attempt.key_scope or not self.is_only_unknown:
            return False
        return sum(recipient.state == RecipientState.PENDING for recipient in self.mail.recipients.all()) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A recovery in the making: the state of the email so far, the events, and the attempt that it closes."""

    mail: Mail
    state: MailState
    events: tuple[EventDraft, ...] = ()
    closed: AttemptClosed | None = None

    def finish(self, after: MailState, *events: EventDraft) -> Step:
        """Return the step, with these last events."""
        return Step(
            mail_id=self.mail.pk,
            before=Status(self.mail.status),
            fence=self.mail.lease,
            after=after,
            events=self.events + events,
            closed=self.closed,
            attempts=self.mail.attempt_count,
            pending_action=self.mail.pending_action,
        )

    def hold(self, reason: HoldReason, info: str, now_ns: int) -> Step:
        """Return the step that holds the email."""
        blob = {"reason": reason, "info": info}
        event = EventDraft(event=EventName.HELD, by=Actor.SWEEPER, at_ns=now_ns, blob=blob)
        after = self.state._replace(status=Status.HELD, next_attempt_at=None, reason_code=reason)
        return self.finish(after, event)


def sweep_if_leader(worker: str, *, until: float = float("inf")) -> bool:
    """Sweep, if this worker leads the task; return True if that changed an email, so that some may be due.

    Where many workers died, what the last of them held does not wait for the next heartbeat. `until`: see `sweep`.
    """
    if not leadership.acquire(TASK, worker):
        return False
    changed = bring_forward()
    if _has_clock_jumped():
        return changed > 0  # heartbeats and leases from before say nothing about who lives
    for _ in range(MAX_SWEEPS):
        swept = sweep(until=until).total()
        changed += swept
        if swept < BATCH:
            break
    return changed > 0


def sweep(*, dry_run: bool = False, until: float = float("inf")) -> Counter[str]:
    """Recover lost emails and expire overdue ones. Return counts by what was done, or would be with `dry_run`.

    Does nothing if it knows only after `until` (monotonic clock) what is lost: the database may not have answered for
    everybody. Nor if the clock jumped meanwhile: heartbeats since are dated by another clock than this sweep. Every change carries the lost lease as its fence, so that a worker that was only slow and a sweep cannot
    both win.
    """
    now_ns = database_clock.now_ns()
    if dry_run:
        return Counter(what for what, _ in _find_steps(now_ns))
    with claim.lock_claims():
        steps = {step.mail_id: (what, step) for what, step in _find_steps(now_ns)}
        if steps and (time.monotonic() > until or _has_clock_jumped()):
            log.warning("sweep_abandoned", emails=len(steps))
            return Counter()
        won = writer.record_each([step for _, step in steps.values()])
    counts = Counter(steps[mail_id][0] for mail_id in won)
    if counts:
        log.info("swept", **counts)
    return counts


def _has_clock_jumped() -> bool:
    """Look at the clock, and return whether it jumped so recently that not everybody can have beaten since."""
    database_clock.look()
    return database_clock.has_jumped_within(WORKER_SILENCE.total_seconds())


def bring_forward() -> int:
    """Make due what was queued before the clock went back, so that it does not wait until the clock catches up.

    Not what is scheduled: that waits for the time that its sender named.
    """
    if not database_clock.has_gone_back_within(2 * WORKER_SILENCE.total_seconds()):
        return 0
    now = database_clock.now()
    unscheduled = Q(send_at=None) | Q(send_at__lte=now)
    return Mail.objects.filter(unscheduled, status=Status.QUEUED, next_attempt_at__gt=now).update(next_attempt_at=now)


def find_lost(now: dt.datetime) -> list[LostMail]:
    """Return claimed emails whose worker is silent or whose lease is over, at most 500, oldest lease first.

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
    unknown = _find_key_scopes(mail for mail in mails if mail.possible_duplicate and mail.pk in attempts)
    return [
        LostMail(mail=mail, attempt=attempt, is_only_unknown=unknown[mail.pk] <= {attempt.key_scope if attempt else ""})
        for mail in mails
        for attempt in [attempts.get(mail.pk)]
    ]


def _find_key_scopes(mails: Iterable[Mail]) -> Mapping[uuid.UUID, set[str]]:
    """Return the key scopes of their requests whose outcomes are unknown. No query without emails."""
    found: dict[uuid.UUID, set[str]] = defaultdict(set)
    if mail_ids := [mail.pk for mail in mails]:
        unknown = Attempt.objects.filter(mail__in=mail_ids, state=AttemptState.UNKNOWN)
        for mail_id, key_scope in unknown.values_list("mail_id", "key_scope"):
            found[mail_id].add(key_scope)
    return found


def _lock_free(mails: MailQuerySet) -> MailQuerySet:
    """Lock them where that is possible, and skip what others have locked: one such must not stop the rest."""
    if connection.in_atomic_block and connection.features.has_select_for_update_skip_locked:
        return mails.select_for_update(skip_locked=True, of=("self",), no_key=True)
    return mails


def _find_steps(now_ns: int) -> Iterable[tuple[str, Step]]:
    now = database_clock.from_ns(now_ns)
    for lost in find_lost(now):
        yield _recover(lost, now_ns)
    over = _lock_free(Mail.objects.filter(status__in=DUE, expires_at__lte=now)).prefetch_related("recipients")
    for mail in over.order_by("expires_at")[:BATCH]:
        yield _expire(mail, now_ns)


def _recover(lost: LostMail, now_ns: int) -> tuple[str, Step]:
    """Return what is done with a lost email, in words and as a step."""
    mail, attempt = lost.mail, lost.attempt
    recovery = Recovery(mail=mail, state=read_state(mail)._replace(lease=None, lease_expires_at=None, worker=""))
    follows = retry_policy.describe_after_unknown(
        mail.delivery_guarantee, possible_duplicate=mail.possible_duplicate, is_repeatable=lost.is_repeatable
    )
    if attempt is not None:
        recovery = _close_as_unknown(recovery, attempt, now_ns, follows=follows, is_repeatable=lost.is_repeatable)
    if mail.pending_action:
        return _apply_pending(recovery, now_ns)
    if quarantine.is_poison(mail.claims):
        info = f"{mail.claims} workers died while they were sending it."
        return "held: poison", recovery.hold(HoldReason.POISON, info, now_ns)
    if attempt is not None and follows == "held":
        times = " by two requests" if mail.possible_duplicate else ""
        info = f"It may have been sent{times}: the worker died during the request."
        return "held: outcome unknown", recovery.hold(HoldReason.UNKNOWN, info, now_ns)
    return _requeue(recovery, attempt, now_ns, repeats=lost.is_repeatable and follows == "same account")


def _requeue(recovery: Recovery, attempt: Attempt | None, now_ns: int, *, repeats: bool) -> tuple[str, Step]:
    when = "during the request" if attempt else "before any request"
    blob = {
        "service": attempt.account if attempt else "",
        "exception": f"The worker died {when}.",
        "when": "at once",
        "worker": recovery.mail.worker,
        "round": recovery.state.round,
    }
    if attempt is not None and repeats:
        blob["repeats"] = attempt.number
    event = EventDraft(event=EventName.RETRY, by=Actor.SWEEPER, at_ns=now_ns, blob=blob)
    after = recovery.state._replace(status=Status.QUEUED, next_attempt_at=database_clock.from_ns(now_ns))
    what = "queued again: outcome unknown" if attempt else "queued again: not sent"
    return what, recovery.finish(after, event)


def _apply_pending(recovery: Recovery, now_ns: int) -> tuple[str, Step]:
    """Carry out the action that was requested during the call that was lost."""
    mail = recovery.mail
    effect = action_requests.compute_effect(
        ActionRequest.parse(mail.pending_action),
        recovery.state,
        mail.recipients.all(),
        delivery_guarantee=mail.delivery_guarantee,
        now_ns=now_ns,
    )
    step = recovery.finish(effect.after, *effect.events)
    return f"{effect.after.status}: requested", replace(step, recipients=effect.recipients)


def _close_as_unknown(
    recovery: Recovery, attempt: Attempt, now_ns: int, *, follows: str, is_repeatable: bool
) -> Recovery:
    closed = AttemptClosed(
        id=attempt.pk,
        state=AttemptState.UNKNOWN,
        closed_at=database_clock.from_ns(now_ns),
        reason_code="worker-lost",
        reason="The worker died before the request ended.",
        account=attempt.account,
        key_scope=attempt.key_scope if is_repeatable else "",
    )
    blob = {
        "service": attempt.account,
        "attempt": attempt.number,
        "reason_code": closed.reason_code,
        "reason": closed.reason,
        "delivery_guarantee": recovery.mail.delivery_guarantee,
        "next": follows,
    }
    event = EventDraft(event=EventName.UNKNOWN, by=Actor.SWEEPER, at_ns=now_ns, blob=blob)
    state = recovery.state._replace(
        possible_duplicate=True,
        tried=recovery.state.tried if follows == "same account" else (*recovery.state.tried, attempt.account),
        failure_classes=tuple(sorted({*recovery.state.failure_classes, FailureClass.PROVIDER})),
        reason_code=closed.reason_code,
    )
    return replace(recovery, state=state, events=(event,), closed=closed)


def _expire(mail: Mail, now_ns: int) -> tuple[str, Step]:
    """End an email that has expired: as done if some recipients were accepted before, else as expired.

    One that may have been sent, and must not be sent twice, is held instead: nobody knows that no account accepted it. The
    dispatcher does all this, too, but claims no email whose accounts can take none.
    """
    recovery = Recovery(mail=mail, state=read_state(mail))
    if _has_unknown_outcome(mail):
        held = replace(recovery, state=recovery.state._replace(next_attempt_at=None))
        return "held: outcome unknown", held.hold(HoldReason.UNKNOWN, EXPIRED_UNKNOWN, now_ns)
    ended = recovery.state._replace(next_attempt_at=None, finished_at=database_clock.from_ns(now_ns))
    recipients = list(mail.recipients.all())
    if any(recipient.state == RecipientState.ACCEPTED for recipient in recipients):
        return "done in part", _end_in_part(recovery, ended._replace(status=Status.DONE), recipients, now_ns)
    event = EventDraft(event=EventName.EXPIRED, by=Actor.SWEEPER, at_ns=now_ns, blob={"info": EXPIRED})
    return "expired", recovery.finish(ended._replace(status=Status.EXPIRED, reason_code="expired"), event)


def _has_unknown_outcome(mail: Mail) -> bool:
    """Return True if an at-most-once email has a request without an answer. One query for the few that may."""
    if not mail.possible_duplicate or mail.delivery_guarantee != DeliveryGuarantee.AT_MOST_ONCE:
        return False
    return mail.attempts.filter(state=AttemptState.UNKNOWN).exists()


def _end_in_part(recovery: Recovery, ended: MailState, recipients: Sequence[Recipient], now_ns: int) -> Step:
    """Give up the recipients that are still open."""
    given_up = [recipient for recipient in recipients if recipient.state == RecipientState.PENDING]
    for recipient in given_up:
        recipient.state, recipient.reason = RecipientState.REFUSED, EXPIRED
    blob = {
        "service": ended.provider,
        **list_recipients(recipients),
        "possible_duplicate": ended.possible_duplicate,
    }
    event = EventDraft(event=EventName.DONE, by=Actor.SWEEPER, at_ns=now_ns, blob=blob)
    outcomes = tuple(
        RecipientOutcome(id=recipient.pk, state=RecipientState.REFUSED, reason=EXPIRED) for recipient in given_up
    )
    return replace(recovery.finish(ended, event), recipients=outcomes)
