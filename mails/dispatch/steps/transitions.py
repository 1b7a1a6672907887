"""Plans for a claimed email: the events, attempt and state of its next step. Pure: the dispatcher passes the time in."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, assert_never

from mails.dispatch import retry_policy
from mails.dispatch.dispatcher_settings import DispatcherSettings
from mails.dispatch.due.claim import NOBODY, ClaimedMail, ClaimedRecipient
from mails.lifecycle.action_requests import list_recipients
from mails.lifecycle.values import (
    AttemptClosed,
    AttemptOpened,
    EventDraft,
    MailState,
    RecipientOutcome,
    Step,
    release_lease,
)
from mails.message.message import Message
from mails.models import uuid7
from mails.states import (
    ALL_SUPPRESSED,
    CANNOT_CARRY,
    NEVER_CALLED,
    SUPPRESSED,
    Actor,
    AttemptState,
    EventName,
    HoldReason,
    RecipientState,
    Status,
)
from mercury.lib.database import database_clock
from mercury.lib.durations import format_duration
from mercury.lib.moments import format_iso
from mercury.lib.value import value
from providers.accounts.config import AccountConfig
from providers.kinds.base import Transport
from providers.kinds.catalog import KINDS
from providers.outcomes import Cause, FailureClass, NotAttempted, Outcome
from providers.routing import repeats
from providers.routing.choose import RoutingDecision

NO_LOCATIONS: Mapping[str, str] = MappingProxyType({})


class Call(NamedTuple):
    """A provider call to be made, its attempt committed. A named tuple, since it is copied to get its message."""

    mail: ClaimedMail
    account: AccountConfig
    attempt: AttemptOpened
    epoch: int  # of the account's breaker
    message: Message | None = None  # loaded once the attempt is committed
    locations: Mapping[str, str] = NO_LOCATIONS  # of the contents of its attachments, by their hash


@value
class Result:
    """Result of a provider call. `latency`: seconds."""

    call: Call
    outcome: Outcome
    latency: float
    put_off: float = 1.0  # seconds before it is due again, where this machine's trouble kept it from being made

    @property
    def actor(self) -> str:
        """Return who records it: the account, and the attempt."""
        return self.call.attempt.actor


@value
class StepDraft:
    """A step in the making: what has happened to the email so far in this pass."""

    mail: ClaimedMail  # with the recipients as they are by now, and the state that the step starts from
    state: MailState
    lease: uuid.UUID | None = None  # under which it is claimed; None: it is not
    message: Message | None = None  # of an email that was handed over before
    locations: Mapping[str, str] = field(default_factory=dict)  # of its attachments, as in a call
    events: tuple[EventDraft, ...] = ()
    closed: AttemptClosed | None = None
    recipients: tuple[RecipientOutcome, ...] = ()
    exception: str = ""  # why the last account did not accept it
    asked_wait: float = 0.0  # seconds that the last answer asked this email to wait
    in_company: bool = False  # sent together with other quarantined emails: one more death accuses none of them

    def finish(self, after: MailState, *events: EventDraft, opened: AttemptOpened | None = None) -> Step:
        """Return the step, with these last events."""
        return Step(
            mail_id=self.mail.id,
            before=self.mail.state.status,
            fence=self.mail.state.lease,
            after=after,
            events=self.events + events,
            closed=self.closed,
            opened=opened,
            recipients=self.recipients,
            attempts=self.mail.state.attempt_count,
        )


@value
class StepPlan:
    """A step, and the call that follows once it is committed. `draft`: where the step started from."""

    step: Step
    draft: StepDraft
    call: Call | None = None


def dequeue(
    mail: ClaimedMail, *, lease: uuid.UUID, settings: DispatcherSettings, now_ns: int, in_company: bool
) -> StepDraft:
    """Claim a due email under this lease. `in_company`: see Draft."""
    now = database_clock.from_ns(now_ns)
    waited = now - mail.due_at
    blob = {
        "worker": settings.worker,
        "waited_ms": max(0, round(waited.total_seconds() * 1000)),
        "round": mail.state.round,
        "lease_until": format_iso(now + settings.lease),
    }
    event = EventDraft(event=EventName.DEQUEUE, by=Actor.DISPATCHER, at_ns=now_ns, blob=blob)
    return StepDraft(mail=mail, state=mail.state, lease=lease, events=(event,), in_company=in_company)


def hand_over(draft: StepDraft, choice: RoutingDecision, *, settings: DispatcherSettings, now_ns: int) -> StepPlan:
    """Open an attempt with the selected account; the call follows the commit."""
    assert choice.candidate is not None  # noqa: S101 (the caller looked)
    assert draft.lease is not None  # noqa: S101 (it is claimed)
    account, now = choice.candidate.config, database_clock.from_ns(now_ns)
    number = draft.state.attempt_count + 1
    attempt = AttemptOpened(
        id=uuid7(),
        number=number,
        account=account.name,
        lease=draft.lease,
        opened_at=now,
        account_version=choice.candidate.version,
        key_scope=_choose_key_scope(draft, account, number, now),
    )
    after = draft.state._replace(
        status=Status.SENDING,
        attempt_count=number,
        provider=account.name,
        lease=draft.lease,
        lease_expires_at=now + settings.lease,
        worker=settings.worker,
        claims=draft.state.claims + (not draft.in_company),
    )
    events = _draft_hand_over(draft, choice, attempt, settings, now_ns)
    call = Call(
        mail=draft.mail._replace(state=after),
        account=account,
        attempt=attempt,
        epoch=choice.epoch,
        message=draft.message,
        locations=draft.locations,
    )
    return StepPlan(step=draft.finish(after, *events, opened=attempt), draft=draft, call=call)


def _choose_key_scope(draft: StepDraft, account: AccountConfig, number: int, now: dt.datetime) -> str:
    """Return that of the request that this one repeats; of a new one if there is none, or no provider would recognize it."""
    earlier = draft.mail.unanswered
    if (
        earlier is not None
        and earlier.account == account.name
        and repeats.is_remembered(earlier.key_scope, since=earlier.since, account=account, now=now)
    ):
        return earlier.key_scope
    return repeats.begin_scope(account, number)


def _draft_hand_over(
    draft: StepDraft, choice: RoutingDecision, attempt: AttemptOpened, settings: DispatcherSettings, now_ns: int
) -> list[EventDraft]:
    assert choice.candidate is not None  # noqa: S101 (the caller looked)
    send: dict[str, Any] = {
        "to": [recipient.address for recipient in draft.mail.open_recipients],
        "service": attempt.account,
        "attempt": attempt.number,
        "deadline_s": settings.deadline,
    }
    retry: dict[str, Any] = {"when": "at once", "round": draft.state.round}
    if attempt.key_scope and (first := repeats.get_first_attempt(attempt.key_scope)) != attempt.number:
        send["repeats"] = retry["repeats"] = first
    if KINDS[choice.candidate.config.kind].transport is Transport.SMTP:
        send["final_reply_s"] = settings.final_reply
    events = [
        _draft_ready(choice, attempt.account, attempt.number, draft.state.round, now_ns),
        EventDraft(event=EventName.SEND, by=attempt.actor, at_ns=now_ns, blob=send),
    ]
    if draft.exception:
        events.insert(0, _draft_retry(draft, now_ns, retry))
    return events


@lru_cache(maxsize=256)  # emails of a pass for which the same was decided share it: it is built and encoded once
def _draft_ready(choice: RoutingDecision, account: str, number: int, round_number: int, now_ns: int) -> EventDraft:
    blob: dict[str, Any] = {
        "service": account,
        "why": choice.why,
        "attempt": number,
        "round": round_number,
        "evaluated": choice.build_evaluated_blob(),
    }
    if choice.rule:
        blob["rule"] = choice.rule
    return EventDraft(event=EventName.READY_TO_SEND, by=Actor.DISPATCHER, at_ns=now_ns, blob=blob)


def undo_hand_over(plan: StepPlan, *, now_ns: int) -> Step:
    """Undo a hand-over whose commit was not confirmed, and whose call was therefore not made; the email is due at once.

    Its fence is the state that the hand-over leads to: if the commit did not happen, this step does not either.
    """
    assert plan.call is not None  # noqa: S101 (the caller looked)
    opened, state = plan.call.attempt, plan.call.mail.state
    now = database_clock.from_ns(now_ns)
    outcome = NotAttempted(
        cause=Cause.WORKER,
        reason_code=NEVER_CALLED,
        reason="The database did not confirm that it was recorded, so no request was made.",
    )
    closed = AttemptClosed(
        id=opened.id,
        state=AttemptState.REFUSED,
        closed_at=now,
        latency_ms=0,
        failure_class=outcome.failure_class,
        reason_code=outcome.reason_code,
        reason=outcome.reason,
    )
    before = plan.draft.state._replace(attempt_count=state.attempt_count)
    retry = {"service": opened.account, "exception": outcome.reason, "when": "at once", "round": before.round}
    return Step(
        mail_id=plan.call.mail.id,
        before=state.status,
        fence=state.lease,
        after=release_lease(before, Status.QUEUED, next_attempt_at=now),
        events=(EventDraft(event=EventName.RETRY, by=Actor.DISPATCHER, at_ns=now_ns, blob=retry),),
        closed=closed,
        attempts=state.attempt_count,
    )


def plan_wait_or_discard(
    draft: StepDraft, choice: RoutingDecision, *, settings: DispatcherSettings, now_ns: int, jitter: float
) -> StepPlan:
    """Let an email wait that no account can be asked for now, or discard it. `jitter`: drawn from [-1, 1]."""
    if not choice.can_carry:
        return _discard_as_too_much(draft, choice, now_ns)
    now = database_clock.from_ns(now_ns)
    free_at = choice.free_at
    follows = retry_policy.wait_or_discard(
        failure_classes=draft.state.failure_classes,
        round_number=draft.state.round,
        attempts=draft.state.attempt_count,
        time_left=(draft.mail.expires_at - now).total_seconds(),
        backoff=settings.backoff,
        account_free_in=(free_at - now).total_seconds() if free_at else None,
        jitter=jitter,
        asked_wait=draft.asked_wait,
    )
    match follows:
        case retry_policy.Discard(info):
            return StepPlan(step=_discard(draft, info, now_ns), draft=draft)
        case retry_policy.Wait():
            return _wait(draft, choice, follows, now_ns)
        case never:
            assert_never(never)


def _discard_as_too_much(draft: StepDraft, choice: RoutingDecision, now_ns: int) -> StepPlan:
    """Discard an email that no account that it may ever use can carry."""
    classes = tuple(sorted({*draft.state.failure_classes, FailureClass.MESSAGE}))
    state = draft.state._replace(failure_classes=classes, failure_class=FailureClass.MESSAGE, reason_code=CANNOT_CARRY)
    info = f"no account that it may use can carry it: {choice.explain_missing()}"
    return StepPlan(step=_discard(replace(draft, state=state), info, now_ns), draft=draft)


def _wait(draft: StepDraft, choice: RoutingDecision, wait: retry_policy.Wait, now_ns: int) -> StepPlan:
    due = database_clock.from_ns(now_ns) + dt.timedelta(seconds=wait.seconds)
    after = release_lease(draft.state, Status.WAITING, next_attempt_at=due)
    if wait.retries_all:
        after = after._replace(round=after.round + wait.begins_round, tried=(), failure_classes=())
    if wait.begins_round:
        return _schedule_retry(draft, after, wait.seconds, now_ns)
    postponed = {
        "until": format_iso(due),
        "info": f"No account can accept it now; checked again in {format_duration(wait.seconds)}.",
        "evaluated": choice.build_evaluated_blob(),
    } | ({"rule": choice.rule} if choice.rule else {})
    retry = (_draft_retry(draft, now_ns, {"when": "later", "round": after.round}),) if draft.exception else ()
    event = EventDraft(event=EventName.POSTPONED, by=Actor.DISPATCHER, at_ns=now_ns, blob=postponed)
    return StepPlan(step=draft.finish(after, *retry, event), draft=draft)


def put_off(draft: StepDraft, seconds: float, *, now_ns: int) -> StepPlan:
    """Make the email due again soon, or rarely after many calls, with every account still to be asked.

    This machine was in trouble, so that a healthy worker may do better; or the account accepted no more calls at once.
    """
    now = database_clock.from_ns(now_ns)
    time_left = (draft.mail.expires_at - now).total_seconds()
    seconds = retry_policy.space_out(seconds, attempts=draft.state.attempt_count, time_left=time_left)
    if not seconds:
        return requeue(draft, now_ns=now_ns)
    after = release_lease(draft.state, Status.WAITING, next_attempt_at=now + dt.timedelta(seconds=seconds))
    return _schedule_retry(draft, after, seconds, now_ns)


def _schedule_retry(draft: StepDraft, after: MailState, seconds: float, now_ns: int) -> StepPlan:
    blob = {
        "when": "later",
        "next_attempt_at": format_iso(after.next_attempt_at),
        "round": after.round,
        "wait_s": round(seconds, 1),
    }
    return StepPlan(step=draft.finish(after, _draft_retry(draft, now_ns, blob)), draft=draft)


def requeue(draft: StepDraft, *, now_ns: int) -> StepPlan:
    """Return the email to the queue, due at once: this process cannot go on with it."""
    after = release_lease(draft.state, Status.QUEUED, next_attempt_at=database_clock.from_ns(now_ns))
    retry = (_draft_retry(draft, now_ns, {"when": "at once", "round": after.round}),) if draft.exception else ()
    return StepPlan(step=draft.finish(after, *retry), draft=draft)


def hold_as_poison(mail: ClaimedMail, reason: str, *, now_ns: int) -> StepPlan:
    """Hold a due email that cannot be worked on at all, so that it does not come back at once and for ever."""
    return hold_draft(StepDraft(mail=mail, state=mail.state), HoldReason.POISON, reason, now_ns=now_ns)


def hold_draft(draft: StepDraft, reason: HoldReason, info: str, *, now_ns: int) -> StepPlan:
    """Hold the email of this draft."""
    blob = {"reason": reason, "info": info}
    event = EventDraft(event=EventName.HELD, by=Actor.DISPATCHER, at_ns=now_ns, blob=blob)
    after = release_lease(draft.state, Status.HELD, reason_code=reason)
    return StepPlan(step=draft.finish(after, event), draft=draft)


def hold_as_unknown(draft: StepDraft, info: str, *, now_ns: int) -> StepPlan:
    """Hold the email: it may have been sent, and only a confirmation moves it."""
    return hold_draft(draft, HoldReason.UNKNOWN, info, now_ns=now_ns)


def expire(draft: StepDraft, *, now_ns: int) -> StepPlan:
    """End an email that has expired: as done if some recipients were accepted before, else as expired."""
    info = "It expired before an account accepted it."
    partly = _end_in_part(draft, info, now_ns)
    if partly is not None:
        return StepPlan(step=partly, draft=draft)
    event = EventDraft(event=EventName.EXPIRED, by=Actor.DISPATCHER, at_ns=now_ns, blob={"info": info})
    finished_at = database_clock.from_ns(now_ns)
    after = release_lease(draft.state, Status.EXPIRED, reason_code="expired", finished_at=finished_at)
    return StepPlan(step=draft.finish(after, event), draft=draft)


def suppress(draft: StepDraft, *, now_ns: int) -> StepDraft:
    """Give up the recipients that are on the suppression list; nobody is asked to send to them."""
    entries = draft.mail.suppressed
    outcomes, events = [], []
    for recipient in draft.mail.open_recipients:
        if entry := entries.get(recipient.id):
            outcomes.append(RecipientOutcome(id=recipient.id, state=RecipientState.SUPPRESSED, reason=entry.sentence))
            blob = entry.as_blob(recipient.address)
            events.append(EventDraft(event=EventName.SUPPRESSED, by=Actor.DISPATCHER, at_ns=now_ns, blob=blob))
    unanswered = draft.mail.unanswered
    mail = draft.mail._replace(
        recipients=update_recipients(draft.mail.recipients, outcomes),
        suppressed=NOBODY,
        # A repeated request would have fewer recipients: the provider would not take it for the same.
        unanswered=unanswered._replace(key_scope="") if unanswered else None,
    )
    return replace(draft, mail=mail, events=(*draft.events, *events), recipients=(*draft.recipients, *outcomes))


def end_suppressed(draft: StepDraft, *, now_ns: int) -> StepPlan:
    """End an email whose last open recipients are suppressed: as done if others were accepted before, else as discarded."""
    partly = _end_in_part(draft, ALL_SUPPRESSED, now_ns)
    if partly is not None:
        return StepPlan(step=partly, draft=draft)
    event = EventDraft(event=EventName.DISCARDED, by=Actor.DISPATCHER, at_ns=now_ns, blob={"info": ALL_SUPPRESSED})
    finished_at = database_clock.from_ns(now_ns)
    after = release_lease(
        draft.state,
        Status.DISCARDED,
        finished_at=finished_at,
        failure_class=FailureClass.MESSAGE,
        reason_code=SUPPRESSED,
    )
    return StepPlan(step=draft.finish(after, event), draft=draft)


def update_recipients(
    recipients: Iterable[ClaimedRecipient], outcomes: Iterable[RecipientOutcome]
) -> tuple[ClaimedRecipient, ...]:
    """Return the recipients as they are with these outcomes."""
    known = {outcome.id: outcome for outcome in outcomes}
    return tuple(
        recipient._replace(state=known[recipient.id].state, reason=known[recipient.id].reason)
        if recipient.id in known
        else recipient
        for recipient in recipients
    )


def _discard(draft: StepDraft, info: str, now_ns: int) -> Step:
    """End an email that no account accepted: as done if some recipients were accepted before, else as discarded."""
    reason = draft.exception or info
    partly = _end_in_part(draft, reason, now_ns)
    if partly is not None:
        return partly
    blob = {
        "info": f"No account accepted it: {info}.",
        "failure_classes": list(draft.state.failure_classes),
        "tried": list(draft.state.tried),
        "rounds": draft.state.round,
        **draft.mail.routing_constraint.to_blob(),
    }
    event = EventDraft(event=EventName.DISCARDED, by=Actor.DISPATCHER, at_ns=now_ns, blob=blob)
    after = release_lease(draft.state, Status.DISCARDED, finished_at=database_clock.from_ns(now_ns))
    return _refuse_open(draft, reason).finish(after, event)


def _end_in_part(draft: StepDraft, reason: str, now_ns: int) -> Step | None:
    """End an email of which some recipients were accepted, and give the others up; None if nobody was accepted."""
    if not any(recipient.state == RecipientState.ACCEPTED for recipient in draft.mail.recipients):
        return None
    recipients = [
        recipient._replace(state=RecipientState.REFUSED, reason=reason)
        if recipient.state == RecipientState.PENDING
        else recipient
        for recipient in draft.mail.recipients
    ]
    blob = {
        "service": draft.state.provider,
        **list_recipients(recipients),
        "possible_duplicate": draft.state.possible_duplicate,
    }
    event = EventDraft(event=EventName.DONE, by=Actor.DISPATCHER, at_ns=now_ns, blob=blob)
    after = release_lease(draft.state, Status.DONE, finished_at=database_clock.from_ns(now_ns))
    return _refuse_open(draft, reason).finish(after, event)


def _refuse_open(draft: StepDraft, reason: str) -> StepDraft:
    """Return the draft with the recipients that are still open permanently rejected."""
    outcomes = tuple(
        RecipientOutcome(id=recipient.id, state=RecipientState.REFUSED, reason=reason)
        for recipient in draft.mail.open_recipients
    )
    return replace(draft, recipients=draft.recipients + outcomes)


def _draft_retry(draft: StepDraft, now_ns: int, details: dict[str, Any]) -> EventDraft:
    blob = {"service": draft.state.provider, "exception": draft.exception} | details
    return EventDraft(event=EventName.RETRY, by=Actor.DISPATCHER, at_ns=now_ns, blob=blob)
