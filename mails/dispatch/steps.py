"""Decisions as steps: which events, attempt and state a choice or an outcome becomes. Pure: the drain hands in the time."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from mails import orders
from mails.dispatch import policy
from mails.dispatch.claim import MailInHand
from mails.lifecycle import AttemptClosed, AttemptOpened, EventDraft, MailState, RecipientSettled, Step, at_rest
from mails.models import uuid7
from mails.orders import Evidence, Order, who_got_it
from mails.states import Action, Actor, AttemptState, EventName, HoldReason, RecipientState, Status
from mercury.lib import database_clock
from mercury.lib.durations import words
from providers.account import AccountConfig
from providers.outcomes import Accepted, Outcome, Refused, Unknown
from providers.routing import Choice


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every step of a drain: settings, as values."""

    deadline: float  # seconds, of one call
    lease: dt.timedelta
    rounds: int
    backoff: Sequence[dt.timedelta]


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be made, its attempt committed."""

    mail: MailInHand
    account: AccountConfig
    attempt: AttemptOpened
    epoch: int  # of the account's breaker


@dataclass(frozen=True, slots=True)
class Result:
    """What a call came to. `latency`: seconds."""

    call: Call
    outcome: Outcome
    latency: float

    @property
    def actor(self) -> str:
        """Who records it: the account, and the attempt."""
        return f"{self.call.account.name}:{self.call.attempt.id}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A step, and the call that follows once it is committed."""

    step: Step
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A step in the making: what has happened to the mail so far in this turn."""

    mail: MailInHand  # with the recipients as they are by now
    before: Status
    state: MailState
    events: tuple[EventDraft, ...] = ()
    closed: AttemptClosed | None = None
    recipients: tuple[RecipientSettled, ...] = ()
    exception: str = ""  # why the last account did not take it

    def finish(self, after: MailState, *events: EventDraft, opened: AttemptOpened | None = None) -> Step:
        """The step, with these last events."""
        return Step(
            mail_id=self.mail.id,
            before=self.before,
            fence=self.mail.state.lease,
            after=after,
            events=self.events + events,
            closed=self.closed,
            opened=opened,
            recipients=self.recipients,
            attempts=self.mail.state.attempt_count,
        )


def dequeued(mail: MailInHand, *, terms: Terms, now_ns: int) -> Draft:
    """A mail just claimed."""
    waited = database_clock.from_ns(now_ns) - mail.due_at
    blob = {
        "worker": mail.state.worker,
        "waited_ms": max(0, round(waited.total_seconds() * 1000)),
        "round": mail.state.round,
        "rounds": terms.rounds,
        "lease_until": _iso(mail.state.lease_expires_at),
    }
    event = EventDraft(EventName.DEQUEUE, Actor.DISPATCHER, now_ns, blob)
    return Draft(mail, Status.CLAIMED, mail.state, (event,))


def answered(result: Result, *, now_ns: int) -> Draft | Step:
    """A call came back: the finished step where that decides, else the draft of a mail that goes on."""
    draft = _closed(result, now_ns)
    match policy.next_step(result.outcome, draft.mail.policy):
        case policy.Done():
            return _done(draft, result, now_ns)
        case policy.Hold(reason):
            blob = {"reason": HoldReason.UNKNOWN, "info": f"It may have been sent: {reason}"}
            after = at_rest(draft.state, Status.HELD, reason_code=HoldReason.UNKNOWN)
            return draft.finish(after, EventDraft(EventName.HELD, Actor.DISPATCHER, now_ns, blob))
        case policy.GoOn(fault, reason):
            state = replace(
                draft.state,
                tried=(*draft.state.tried, result.call.account.name),
                faults=tuple(sorted({*draft.state.faults, fault})),
                fault=fault,
            )
            return replace(draft, state=state, exception=reason)
        case never:
            assert_never(never)


def handed_over(draft: Draft, choice: Choice, *, terms: Terms, now_ns: int) -> Plan:
    """The mail goes to the chosen account: the attempt is opened, and the call follows the commit."""
    assert choice.candidate is not None  # noqa: S101 (the caller looked)
    assert draft.mail.state.lease is not None  # noqa: S101 (it is in hand)
    account, now = choice.candidate.config, database_clock.from_ns(now_ns)
    number = draft.state.attempt_count + 1
    attempt = AttemptOpened(uuid7(), number, account.name, draft.mail.state.lease, now)
    after = replace(
        draft.state,
        status=Status.SENDING,
        attempt_count=number,
        provider=account.name,
        lease_expires_at=now + terms.lease,
    )
    ready: dict[str, Any] = {
        "service": account.name,
        "why": choice.why,
        "attempt": number,
        "round": draft.state.round,
        "considered": choice.considered_as_blob(),
    }
    to = [one.address for one in draft.mail.open_recipients]
    send: dict[str, Any] = {"to": to, "service": account.name, "attempt": number, "deadline_s": terms.deadline}
    events = [
        EventDraft(EventName.READY_TO_SEND, Actor.DISPATCHER, now_ns, ready),
        EventDraft(EventName.SEND, f"{account.name}:{attempt.id}", now_ns, send),
    ]
    if draft.exception:
        events.insert(0, _retry(draft, now_ns, {"when": "at once", "round": draft.state.round}))
    mail = replace(draft.mail, state=after)
    call = Call(mail, account, attempt, choice.epoch)
    return Plan(draft.finish(after, *events, opened=attempt), call)


def left_over(draft: Draft, choice: Choice, *, terms: Terms, now_ns: int, jitter: float) -> Plan:
    """No account can be asked now: the mail waits, or is discarded. `jitter`: drawn from [-1, 1]."""
    now = database_clock.from_ns(now_ns)
    free_at = choice.free_at
    follows = policy.when_no_account_is_left(
        faults=draft.state.faults,
        round_number=draft.state.round,
        rounds=terms.rounds,
        backoff=terms.backoff,
        account_free_in=(free_at - now).total_seconds() if free_at else None,
        jitter=jitter,
    )
    match follows:
        case policy.Discard(info):
            return Plan(_discarded(draft, info, now_ns))
        case policy.Wait(seconds, new_round, afresh):
            due = now + dt.timedelta(seconds=seconds)
            after = at_rest(draft.state, Status.WAITING, next_attempt_at=due)
            if afresh:
                after = replace(after, round=after.round + new_round, tried=(), faults=())
            if new_round:
                blob = {
                    "when": "later",
                    "next_attempt_at": _iso(due),
                    "round": after.round,
                    "wait_s": round(seconds, 1),
                }
                return Plan(draft.finish(after, _retry(draft, now_ns, blob)))
            postponed = {
                "until": _iso(due),
                "info": f"No account can take it now; looked at again in {words(seconds)}.",
                "considered": choice.considered_as_blob(),
            }
            retry = (_retry(draft, now_ns, {"when": "later", "round": after.round}),) if draft.exception else ()
            return Plan(
                draft.finish(after, *retry, EventDraft(EventName.POSTPONED, Actor.DISPATCHER, now_ns, postponed))
            )
        case never:
            assert_never(never)


def handed_back(draft: Draft, *, now_ns: int) -> Plan:
    """This process stops, or could not commit its plan: the mail is due at once, for whoever asks next."""
    after = at_rest(draft.state, Status.QUEUED, next_attempt_at=database_clock.from_ns(now_ns))
    retry = (_retry(draft, now_ns, {"when": "at once", "round": after.round}),) if draft.exception else ()
    return Plan(draft.finish(after, *retry))


def expired(draft: Draft, *, now_ns: int) -> Plan:
    """The mail's time was over before an account took it; done for those recipients that were taken before."""
    partly = _done_in_part(draft, "Its time was over.", now_ns)
    if partly is not None:
        return Plan(partly)
    event = EventDraft(EventName.EXPIRED, Actor.DISPATCHER, now_ns, {"info": "Its time was over."})
    after = at_rest(draft.state, Status.EXPIRED, reason_code="expired", finished_at=database_clock.from_ns(now_ns))
    return Plan(draft.finish(after, event))


def reconsidered(result: Result, wish: str, *, now_ns: int) -> Plan:
    """What follows an answer after all, when `answered` was not the last word.

    Either something was asked for during the call (`wish`), or the house was held before the mail could be handed on.
    """
    answer = answered(result, now_ns=now_ns)
    if not wish:
        return Plan(answer) if isinstance(answer, Step) else handed_back(answer, now_ns=now_ns)
    order = Order.parse(wish)
    if isinstance(answer, Step) and answer.after.status == Status.DONE:
        return Plan(replace(orders.too_late(order, answer), wish=wish))
    if isinstance(answer, Step) and order.action == Action.HOLD:  # it is held anyway, and for a stronger reason
        return Plan(replace(answer, wish=wish))
    draft = answer if isinstance(answer, Draft) else _closed(result, now_ns)
    upshot = orders.upshot(order, draft.state, draft.mail.recipients, now_ns=now_ns)
    step = replace(draft, recipients=draft.recipients + upshot.recipients).finish(upshot.after, *upshot.events)
    return Plan(replace(step, wish=wish))


def late(result: Result, *, now_ns: int) -> tuple[uuid.UUID, AttemptClosed, EventDraft]:
    """What a drain that lost its lease learned: evidence for `lifecycle.record_late`."""
    closed = _attempt_closed(result, now_ns)
    blob = {
        "service": result.call.account.name,
        "attempt": result.call.attempt.number,
        "outcome": closed.state,
        "reason_code": closed.reason_code,
        "status_code": closed.status_code,
    }
    return result.call.mail.id, closed, EventDraft(EventName.LATE_RESULT, result.actor, now_ns, blob)


def evidence(result: Result) -> Evidence | None:
    """What a late answer proves: that everybody got the mail. None for an answer that proves less."""
    if isinstance(result.outcome, Accepted) and not result.outcome.refused:
        return Evidence(result.call.mail.id, result.call.account.name, result.call.attempt.number)
    return None


def _closed(result: Result, now_ns: int) -> Draft:
    mail, outcome = result.call.mail, result.outcome
    settled = _settled(mail, outcome)
    now_known = {one.id: one for one in settled}
    recipients = tuple(
        replace(one, state=now_known[one.id].state, reason=now_known[one.id].reason) if one.id in now_known else one
        for one in mail.recipients
    )
    closed = _attempt_closed(result, now_ns)
    state = replace(mail.state, claims=0, reason_code=closed.reason_code, fault=closed.fault)
    events: tuple[EventDraft, ...] = ()
    match outcome:
        case Refused():
            events = (EventDraft(EventName.FAILURE, result.actor, now_ns, _failure(result, closed)),)
        case Unknown():
            state = replace(state, doubtful=True)
            held = isinstance(policy.next_step(outcome, mail.policy), policy.Hold)
            blob = _failure(result, closed) | {"policy": mail.policy, "next": "held" if held else "next account"}
            del blob["fault"]
            events = (EventDraft(EventName.UNKNOWN, result.actor, now_ns, blob),)
        case Accepted(refused=refused) if any(not one.permanent for one in refused):
            blob = _failure(result, closed) | {
                "fault": "provider",
                "reason": "taken for some recipients; the others are tried again",
                "accepted": [one.address for one in recipients if one.state == RecipientState.ACCEPTED],
            }
            events = (EventDraft(EventName.FAILURE, result.actor, now_ns, blob),)
    return Draft(replace(mail, recipients=recipients), Status.SENDING, state, events, closed, settled)


def _attempt_closed(result: Result, now_ns: int) -> AttemptClosed:
    closed_at, outcome = database_clock.from_ns(now_ns), result.outcome
    latency = round(result.latency * 1000)
    attempt, account = result.call.attempt.id, result.call.account.name
    match outcome:
        case Accepted(provider_message_id, status_code):
            return AttemptClosed(
                attempt,
                AttemptState.ACCEPTED,
                closed_at,
                latency,
                status_code=status_code,
                provider_message_id=provider_message_id[:255],
                account=account,
            )
        case Refused(fault, reason_code, reason, status_code):
            return AttemptClosed(
                attempt,
                AttemptState.REFUSED,
                closed_at,
                latency,
                fault,
                reason_code,
                reason,
                status_code,
                account=account,
            )
        case Unknown(reason_code, reason, status_code):
            return AttemptClosed(
                attempt, AttemptState.UNKNOWN, closed_at, latency, "", reason_code, reason, status_code, account=account
            )
        case never:
            assert_never(never)


def _settled(mail: MailInHand, outcome: Outcome) -> tuple[RecipientSettled, ...]:
    """The recipients that this outcome settles: all but the refused by an acceptance; nobody by anything else."""
    if not isinstance(outcome, Accepted):
        return ()
    refused = {one.address: one for one in outcome.refused}
    settled = []
    for one in mail.open_recipients:
        answer = refused.get(one.address)
        if answer is None:
            settled.append(RecipientSettled(one.id, RecipientState.ACCEPTED))
        elif answer.permanent:
            settled.append(RecipientSettled(one.id, RecipientState.REFUSED, answer.reason))
    return tuple(settled)


def _done(draft: Draft, result: Result, now_ns: int) -> Step:
    closed = draft.closed
    assert closed is not None  # noqa: S101 (the draft came from `_closed`)
    blob = {
        "status_code": closed.status_code,
        "service": result.call.account.name,
        "attempt": result.call.attempt.number,
        "provider_message_id": closed.provider_message_id,
        "latency_ms": closed.latency_ms,
        **who_got_it(draft.mail.recipients),
        "possibly_twice": draft.state.doubtful,
    }
    finished_at = database_clock.from_ns(now_ns)
    after = at_rest(draft.state, Status.DONE, finished_at=finished_at, fault="", reason_code="")
    return draft.finish(after, EventDraft(EventName.DONE, result.actor, now_ns, blob))


def _discarded(draft: Draft, info: str, now_ns: int) -> Step:
    """The end of a mail that no account would take; done for those recipients that were taken before."""
    reason = draft.exception or info
    partly = _done_in_part(draft, reason, now_ns)
    if partly is not None:
        return partly
    blob = {
        "info": f"No account would take it: {info}.",
        "faults": list(draft.state.faults),
        "tried": list(draft.state.tried),
        "rounds": draft.state.round,
    }
    after = at_rest(draft.state, Status.DISCARDED, finished_at=database_clock.from_ns(now_ns))
    return _given_up(draft, reason).finish(after, EventDraft(EventName.DISCARDED, Actor.DISPATCHER, now_ns, blob))


def _done_in_part(draft: Draft, reason: str, now_ns: int) -> Step | None:
    """The end of a mail of which some recipients were taken and the others are given up; None if nobody was taken."""
    if not any(one.state == RecipientState.ACCEPTED for one in draft.mail.recipients):
        return None
    recipients = [
        replace(one, state=RecipientState.REFUSED, reason=reason) if one.state == RecipientState.PENDING else one
        for one in draft.mail.recipients
    ]
    blob = {"service": draft.state.provider, **who_got_it(recipients), "possibly_twice": draft.state.doubtful}
    after = at_rest(draft.state, Status.DONE, finished_at=database_clock.from_ns(now_ns))
    return _given_up(draft, reason).finish(after, EventDraft(EventName.DONE, Actor.DISPATCHER, now_ns, blob))


def _given_up(draft: Draft, reason: str) -> Draft:
    """The draft with the recipients that are still open refused for good."""
    settled = tuple(RecipientSettled(one.id, RecipientState.REFUSED, reason) for one in draft.mail.open_recipients)
    return replace(draft, recipients=draft.recipients + settled)


def _failure(result: Result, closed: AttemptClosed) -> dict[str, Any]:
    blob = {
        "service": result.call.account.name,
        "attempt": result.call.attempt.number,
        "fault": closed.fault,
        "reason_code": closed.reason_code,
        "reason": closed.reason,
        "status_code": closed.status_code,
        "latency_ms": closed.latency_ms,
    }
    if isinstance(result.outcome, Refused) and result.outcome.retry_after is not None:
        blob["retry_after"] = result.outcome.retry_after
    return blob


def _retry(draft: Draft, now_ns: int, blob: dict[str, Any]) -> EventDraft:
    told = {"service": draft.state.provider, "exception": draft.exception} | blob
    return EventDraft(EventName.RETRY, Actor.DISPATCHER, now_ns, told)


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
