"""Decisions as steps: which events, attempt and state a choice or an outcome becomes. Pure: the dispatcher hands in the time."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeGuard, assert_never

from mails.dispatch import retry_policy
from mails.dispatch.claim import ClaimedMail
from mails.lifecycle import action_requests
from mails.lifecycle.action_requests import ActionRequest, Confirmation, list_recipients
from mails.lifecycle.values import (
    AttemptClosed,
    AttemptOpened,
    EventDraft,
    MailState,
    RecipientOutcome,
    Step,
    release_lease,
)
from mails.models import uuid7
from mails.states import NEVER_CALLED, Action, Actor, AttemptState, EventName, HoldReason, RecipientState, Status
from mercury.lib.database import database_clock
from mercury.lib.durations import format_duration
from providers.accounts.config import AccountConfig
from providers.kinds.capabilities import KINDS, Transport
from providers.outcomes import Accepted, FailureClass, Outcome, Refused, Unknown
from providers.routing.choose import Choice

NOT_CALLED = Refused(
    FailureClass.RATE,  # transient, and no account's fault
    reason_code=NEVER_CALLED,
    reason="This worker could not be sure of its lease any more, so it did not call the provider.",
    asked=False,
)
NO_SLOT = replace(
    NOT_CALLED,
    reason="This worker had no free place for one more call, so it gave the mail back and called nobody.",
)

NOT_BUILT = replace(
    NOT_CALLED,
    reason="Mercury failed while it made the message, so it called nobody.",
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every step of a dispatcher: settings, as values."""

    worker: str  # whose steps they are
    deadline: float  # seconds, of one call; over SMTP, until the final dot
    final_reply: float  # seconds that an SMTP server has to answer it
    lease: dt.timedelta
    backoff: Sequence[dt.timedelta]


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be made, its attempt committed."""

    mail: ClaimedMail
    account: AccountConfig
    attempt: AttemptOpened
    epoch: int  # of the account's breaker


@dataclass(frozen=True, slots=True)
class Result:
    """What a call came to. `latency`: seconds."""

    call: Call
    outcome: Outcome
    latency: float
    put_off: float = 1.0  # seconds before it is due again, where this machine's trouble kept it from being made

    @property
    def actor(self) -> str:
        """Who records it: the account, and the attempt."""
        return f"{self.call.account.name}:{self.call.attempt.id}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A step in the making: what has happened to the mail so far in this turn."""

    mail: ClaimedMail  # with the recipients as they are by now, and the state that the step starts from
    state: MailState
    events: tuple[EventDraft, ...] = ()
    closed: AttemptClosed | None = None
    recipients: tuple[RecipientOutcome, ...] = ()
    exception: str = ""  # why the last account did not take it
    asked_wait: float = 0.0  # seconds that the last answer asked this email to wait
    in_company: bool = False  # handed over beside others that workers died with: one more death accuses none of them

    def finish(self, after: MailState, *events: EventDraft, opened: AttemptOpened | None = None) -> Step:
        """The step, with these last events."""
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


@dataclass(frozen=True, slots=True)
class Plan:
    """A step, and the call that follows once it is committed. `draft`: where the step started from."""

    step: Step
    draft: Draft
    call: Call | None = None


def dequeue(mail: ClaimedMail, *, lease: uuid.UUID, terms: Terms, now_ns: int, in_company: bool) -> Draft:
    """A due mail that this dispatch takes into its hands, under this lease. `in_company`: see Draft."""
    now = database_clock.from_ns(now_ns)
    waited = now - mail.due_at
    state = mail.state._replace(lease=lease, lease_expires_at=now + terms.lease, worker=terms.worker)
    blob = {
        "worker": terms.worker,
        "waited_ms": max(0, round(waited.total_seconds() * 1000)),
        "round": mail.state.round,
        "lease_until": _iso(state.lease_expires_at),
    }
    event = EventDraft(EventName.DEQUEUE, Actor.DISPATCHER, now_ns, blob)
    return Draft(mail, state, (event,), in_company=in_company)


def close_call(result: Result, *, now_ns: int) -> Draft | Plan:
    """A call came back: the whole plan where that decides, else the draft of a mail that goes on."""
    draft = _close(result, now_ns)
    if result.outcome is NOT_BUILT:
        return _hold_as_poison(draft, NOT_BUILT.reason, now_ns)
    if _is_not_made(result.outcome):
        # No account has refused it, so it has nothing to wait for.
        return requeue(replace(draft, exception=result.outcome.reason), now_ns=now_ns)
    if _is_kept_from(result.outcome):
        return put_off(replace(draft, exception=result.outcome.reason), result.put_off, now_ns=now_ns)
    if isinstance(result.outcome, Refused) and result.outcome.at_capacity:
        # The account was not asked about this email. It goes to any account as soon as one has room.
        return put_off(replace(draft, exception=result.outcome.reason), 0.0, now_ns=now_ns)
    before = result.call.mail.state
    match retry_policy.next_step(
        result.outcome, draft.mail.delivery_guarantee, possible_duplicate=before.possible_duplicate
    ):
        case retry_policy.Done():
            return Plan(_end(draft, result, now_ns), draft)
        case retry_policy.Hold(reason):
            times = " by two calls" if before.possible_duplicate else ""
            blob = {"reason": HoldReason.UNKNOWN, "info": f"It may have been sent{times}: {reason}"}
            after = release_lease(draft.state, Status.HELD, reason_code=HoldReason.UNKNOWN)
            return Plan(draft.finish(after, EventDraft(EventName.HELD, Actor.DISPATCHER, now_ns, blob)), draft)
        case retry_policy.Again(reason):
            return replace(draft, exception=reason)
        case retry_policy.GoOn(failure_class, reason):
            state = draft.state._replace(
                tried=(*draft.state.tried, result.call.account.name),
                failure_classes=tuple(sorted({*draft.state.failure_classes, failure_class})),
                failure_class=failure_class,
            )
            return replace(draft, state=state, exception=reason, asked_wait=_read_wait(result.outcome))
        case never:
            assert_never(never)


def _read_wait(outcome: Outcome) -> float:
    """Return the seconds that the answer asked this email to wait. What it asked of the account, the account board keeps."""
    if isinstance(outcome, Refused) and outcome.failure_class is FailureClass.RECIPIENT:
        return outcome.retry_after or 0.0
    return 0.0


def _is_not_made(outcome: Outcome) -> TypeGuard[Refused]:
    """Whether the call never began, for this worker's own reasons."""
    return outcome is NOT_CALLED or outcome is NO_SLOT or outcome is NOT_BUILT


def _is_kept_from(outcome: Outcome) -> TypeGuard[Refused]:
    """Return True if trouble of this machine kept it from the call: nobody has refused anything."""
    return isinstance(outcome, Refused) and outcome.failure_class == FailureClass.LOCAL


def put_off(draft: Draft, seconds: float, *, now_ns: int) -> Plan:
    """The email is due again soon, or rarely after many calls, with every account still to be asked.

    This machine was in trouble, so that a healthy worker may do better; or the account took no more calls at once.
    """
    now = database_clock.from_ns(now_ns)
    time_left = (draft.mail.expires_at - now).total_seconds()
    seconds = retry_policy.space_out(seconds, attempts=draft.state.attempt_count, time_left=time_left)
    if not seconds:
        return requeue(draft, now_ns=now_ns)
    due = now + dt.timedelta(seconds=seconds)
    after = release_lease(draft.state, Status.WAITING, next_attempt_at=due)
    blob = {"when": "later", "next_attempt_at": _iso(due), "round": after.round, "wait_s": round(seconds, 1)}
    return Plan(draft.finish(after, _draft_retry(draft, now_ns, blob)), draft)


def hand_over(draft: Draft, choice: Choice, *, terms: Terms, now_ns: int) -> Plan:
    """The mail goes to the chosen account: the attempt is opened, and the call follows the commit."""
    assert choice.candidate is not None  # noqa: S101 (the caller looked)
    assert draft.state.lease is not None  # noqa: S101 (it is in hand)
    account, now = choice.candidate.config, database_clock.from_ns(now_ns)
    number = draft.state.attempt_count + 1
    attempt = AttemptOpened(uuid7(), number, account.name, draft.state.lease, now, choice.candidate.version)
    after = draft.state._replace(
        status=Status.SENDING,
        attempt_count=number,
        provider=account.name,
        lease_expires_at=now + terms.lease,
        claims=draft.state.claims + (not draft.in_company),
    )
    ready: dict[str, Any] = {
        "service": account.name,
        "why": choice.why,
        "attempt": number,
        "round": draft.state.round,
        "evaluated": choice.evaluated_as_blob(),
    }
    to = [one.address for one in draft.mail.open_recipients]
    send: dict[str, Any] = {"to": to, "service": account.name, "attempt": number, "deadline_s": terms.deadline}
    if KINDS[account.kind].transport is Transport.SMTP:
        send["final_reply_s"] = terms.final_reply
    events = [
        EventDraft(EventName.READY_TO_SEND, Actor.DISPATCHER, now_ns, ready),
        EventDraft(EventName.SEND, f"{account.name}:{attempt.id}", now_ns, send),
    ]
    if draft.exception:
        events.insert(0, _draft_retry(draft, now_ns, {"when": "at once", "round": draft.state.round}))
    mail = draft.mail._replace(state=after)
    call = Call(mail, account, attempt, choice.epoch)
    return Plan(draft.finish(after, *events, opened=attempt), draft, call)


def wait_or_discard(draft: Draft, choice: Choice, *, terms: Terms, now_ns: int, jitter: float) -> Plan:
    """No account can be asked now: the mail waits, or is discarded. `jitter`: drawn from [-1, 1]."""
    now = database_clock.from_ns(now_ns)
    free_at = choice.free_at
    follows = retry_policy.when_no_account_is_left(
        failure_classes=draft.state.failure_classes,
        round_number=draft.state.round,
        attempts=draft.state.attempt_count,
        time_left=(draft.mail.expires_at - now).total_seconds(),
        backoff=terms.backoff,
        account_free_in=(free_at - now).total_seconds() if free_at else None,
        jitter=jitter,
        asked_wait=draft.asked_wait,
    )
    match follows:
        case retry_policy.Discard(info):
            return Plan(_discard(draft, info, now_ns), draft)
        case retry_policy.Wait(seconds, new_round, afresh):
            due = now + dt.timedelta(seconds=seconds)
            after = release_lease(draft.state, Status.WAITING, next_attempt_at=due)
            if afresh:
                after = after._replace(round=after.round + new_round, tried=(), failure_classes=())
            if new_round:
                blob = {
                    "when": "later",
                    "next_attempt_at": _iso(due),
                    "round": after.round,
                    "wait_s": round(seconds, 1),
                }
                return Plan(draft.finish(after, _draft_retry(draft, now_ns, blob)), draft)
            postponed = {
                "until": _iso(due),
                "info": f"No account can take it now; looked at again in {format_duration(seconds)}.",
                "evaluated": choice.evaluated_as_blob(),
            }
            retry = (_draft_retry(draft, now_ns, {"when": "later", "round": after.round}),) if draft.exception else ()
            event = EventDraft(EventName.POSTPONED, Actor.DISPATCHER, now_ns, postponed)
            return Plan(draft.finish(after, *retry, event), draft)
        case never:
            assert_never(never)


def requeue(draft: Draft, *, now_ns: int) -> Plan:
    """This process cannot go on with it: the mail is due at once, for whoever asks next."""
    after = release_lease(draft.state, Status.QUEUED, next_attempt_at=database_clock.from_ns(now_ns))
    retry = (_draft_retry(draft, now_ns, {"when": "at once", "round": after.round}),) if draft.exception else ()
    return Plan(draft.finish(after, *retry), draft)


def undo_hand_over(plan: Plan, *, now_ns: int) -> Step:
    """Undo a hand-over whose commit was not confirmed, and whose call was therefore not made; the mail is due at once.

    Its fence is the state that the hand-over leads to: if the commit did not happen, this step does not either.
    """
    assert plan.call is not None  # noqa: S101 (the caller looked)
    opened, state = plan.call.attempt, plan.call.mail.state
    now = database_clock.from_ns(now_ns)
    reason = "The database did not confirm that it was recorded, so the provider was not called."
    closed = AttemptClosed(
        opened.id, AttemptState.REFUSED, now, 0, NOT_CALLED.failure_class, NOT_CALLED.reason_code, reason
    )
    before = plan.draft.state._replace(attempt_count=state.attempt_count)
    retry = {"service": opened.account, "exception": reason, "when": "at once", "round": before.round}
    return Step(
        plan.call.mail.id,
        state.status,
        state.lease,
        release_lease(before, Status.QUEUED, next_attempt_at=now),
        (EventDraft(EventName.RETRY, Actor.DISPATCHER, now_ns, retry),),
        closed,
        attempts=state.attempt_count,
    )


def hold_as_poison(mail: ClaimedMail, reason: str, *, now_ns: int) -> Plan:
    """A due mail that cannot be worked on at all: held, so that it does not come back at once and for ever."""
    return _hold_as_poison(Draft(mail, mail.state), reason, now_ns)


def _hold_as_poison(draft: Draft, reason: str, now_ns: int) -> Plan:
    event = EventDraft(EventName.HELD, Actor.DISPATCHER, now_ns, {"reason": HoldReason.POISON, "info": reason})
    return Plan(draft.finish(release_lease(draft.state, Status.HELD, reason_code=HoldReason.POISON), event), draft)


def expire(draft: Draft, *, now_ns: int) -> Plan:
    """The mail's time was over before an account took it; done for those recipients that were taken before."""
    partly = _end_in_part(draft, "Its time was over.", now_ns)
    if partly is not None:
        return Plan(partly, draft)
    event = EventDraft(EventName.EXPIRED, Actor.DISPATCHER, now_ns, {"info": "Its time was over."})
    after = release_lease(
        draft.state, Status.EXPIRED, reason_code="expired", finished_at=database_clock.from_ns(now_ns)
    )
    return Plan(draft.finish(after, event), draft)


def apply_pending(result: Result, pending_action: str, *, now_ns: int) -> Plan:
    """What follows an answer after all, when `answered` was not the last word.

    Either something was asked for during the call (`pending_action`), or all sending or its queue was paused before the mail
    could be handed on.
    """
    answer = close_call(result, now_ns=now_ns)
    if not pending_action:
        return answer if isinstance(answer, Plan) else requeue(answer, now_ns=now_ns)
    action_request = ActionRequest.parse(pending_action)
    if isinstance(answer, Plan):
        status = answer.step.after.status
        if status == Status.DONE:
            return replace(
                answer,
                step=replace(action_requests.note_too_late(action_request, answer.step), pending_action=pending_action),
            )
        if status == Status.HELD and action_request.action == Action.HOLD:  # and for a stronger reason
            return replace(answer, step=replace(answer.step, pending_action=pending_action))
    draft = answer if isinstance(answer, Draft) else answer.draft
    effect = action_requests.compute_effect(
        action_request,
        draft.state,
        draft.mail.recipients,
        delivery_guarantee=draft.mail.delivery_guarantee,
        now_ns=now_ns,
    )
    step = replace(draft, recipients=draft.recipients + effect.recipients).finish(effect.after, *effect.events)
    return Plan(replace(step, pending_action=pending_action), draft)


def describe_late(result: Result, *, now_ns: int) -> tuple[uuid.UUID, AttemptClosed, EventDraft]:
    """What a dispatcher that lost its lease learned: evidence for `lifecycle.record_late`."""
    closed = _close_attempt(result, now_ns)
    blob = {
        "service": result.call.account.name,
        "attempt": result.call.attempt.number,
        "outcome": closed.state,
        "reason_code": closed.reason_code,
        "status_code": closed.status_code,
    }
    return result.call.mail.id, closed, EventDraft(EventName.LATE_RESULT, result.actor, now_ns, blob)


def confirm(result: Result) -> Confirmation | None:
    """What a late answer proves: that everybody got the mail. None for an answer that proves less."""
    if isinstance(result.outcome, Accepted) and not result.outcome.refused:
        return Confirmation(result.call.mail.id, result.call.account.name, result.call.attempt.number)
    return None


def _close(result: Result, now_ns: int) -> Draft:
    mail, outcome = result.call.mail, result.outcome
    settled = _find_outcomes(mail, outcome)
    now_known = {one.id: one for one in settled}
    recipients = tuple(
        one._replace(state=now_known[one.id].state, reason=now_known[one.id].reason) if one.id in now_known else one
        for one in mail.recipients
    )
    closed = _close_attempt(result, now_ns)
    state = mail.state._replace(claims=0, reason_code=closed.reason_code, failure_class=closed.failure_class)
    events: tuple[EventDraft, ...] = ()
    match outcome:
        case Refused():
            events = (EventDraft(EventName.FAILURE, result.actor, now_ns, _describe_failure(result, closed)),)
        case Unknown():
            state = state._replace(possible_duplicate=True)
            held = retry_policy.may_not_be_repeated(
                mail.delivery_guarantee, possible_duplicate=mail.state.possible_duplicate
            )
            blob = _describe_failure(result, closed) | {
                "delivery_guarantee": mail.delivery_guarantee,
                "next": "held" if held else "next account",
            }
            del blob["failure_class"]
            events = (EventDraft(EventName.UNKNOWN, result.actor, now_ns, blob),)
        case Accepted(refused=refused) if any(not one.permanent for one in refused):
            blob = _describe_failure(result, closed) | {
                "failure_class": retry_policy.fault_of([one for one in refused if not one.permanent]),
                "reason": "taken for some recipients; the others are tried again",
                "accepted": [one.address for one in recipients if one.state == RecipientState.ACCEPTED],
            }
            events = (EventDraft(EventName.FAILURE, result.actor, now_ns, blob),)
    return Draft(mail._replace(recipients=recipients), state, events, closed, settled)


def _close_attempt(result: Result, now_ns: int) -> AttemptClosed:
    closed_at, outcome = database_clock.from_ns(now_ns), result.outcome
    latency = round(result.latency * 1000)
    attempt = result.call.attempt.id
    account = "" if _is_not_made(outcome) else result.call.account.name  # no call to count
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
        case Refused(failure_class, reason_code, reason, status_code):
            return AttemptClosed(
                attempt,
                AttemptState.REFUSED,
                closed_at,
                latency,
                failure_class,
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


def _find_outcomes(mail: ClaimedMail, outcome: Outcome) -> tuple[RecipientOutcome, ...]:
    """The recipients that this outcome resolves: all but the refused by an acceptance; nobody by anything else."""
    if not isinstance(outcome, Accepted):
        return ()
    refused = {one.address: one for one in outcome.refused}
    settled = []
    for one in mail.open_recipients:
        answer = refused.get(one.address)
        if answer is None:
            settled.append(RecipientOutcome(one.id, RecipientState.ACCEPTED))
        elif answer.permanent:
            settled.append(RecipientOutcome(one.id, RecipientState.REFUSED, answer.reason))
    return tuple(settled)


def _end(draft: Draft, result: Result, now_ns: int) -> Step:
    closed = draft.closed
    assert closed is not None  # noqa: S101 (the draft came from `_closed`)
    blob = {
        "status_code": closed.status_code,
        "service": result.call.account.name,
        "attempt": result.call.attempt.number,
        "provider_message_id": closed.provider_message_id,
        "latency_ms": closed.latency_ms,
        **list_recipients(draft.mail.recipients),
        "possible_duplicate": draft.state.possible_duplicate,
    }
    finished_at = database_clock.from_ns(now_ns)
    after = release_lease(draft.state, Status.DONE, finished_at=finished_at, failure_class="", reason_code="")
    return draft.finish(after, EventDraft(EventName.DONE, result.actor, now_ns, blob))


def _discard(draft: Draft, info: str, now_ns: int) -> Step:
    """The end of a mail that no account would take; done for those recipients that were taken before."""
    reason = draft.exception or info
    partly = _end_in_part(draft, reason, now_ns)
    if partly is not None:
        return partly
    blob = {
        "info": f"No account would take it: {info}.",
        "failure_classes": list(draft.state.failure_classes),
        "tried": list(draft.state.tried),
        "rounds": draft.state.round,
        **draft.mail.routing_constraint.as_blob(),
    }
    after = release_lease(draft.state, Status.DISCARDED, finished_at=database_clock.from_ns(now_ns))
    return _give_up(draft, reason).finish(after, EventDraft(EventName.DISCARDED, Actor.DISPATCHER, now_ns, blob))


def _end_in_part(draft: Draft, reason: str, now_ns: int) -> Step | None:
    """The end of a mail of which some recipients were taken and the others are given up; None if nobody was taken."""
    if not any(one.state == RecipientState.ACCEPTED for one in draft.mail.recipients):
        return None
    recipients = [
        one._replace(state=RecipientState.REFUSED, reason=reason) if one.state == RecipientState.PENDING else one
        for one in draft.mail.recipients
    ]
    blob = {
        "service": draft.state.provider,
        **list_recipients(recipients),
        "possible_duplicate": draft.state.possible_duplicate,
    }
    after = release_lease(draft.state, Status.DONE, finished_at=database_clock.from_ns(now_ns))
    return _give_up(draft, reason).finish(after, EventDraft(EventName.DONE, Actor.DISPATCHER, now_ns, blob))


def _give_up(draft: Draft, reason: str) -> Draft:
    """The draft with the recipients that are still open refused for good."""
    settled = tuple(RecipientOutcome(one.id, RecipientState.REFUSED, reason) for one in draft.mail.open_recipients)
    return replace(draft, recipients=draft.recipients + settled)


def _describe_failure(result: Result, closed: AttemptClosed) -> dict[str, Any]:
    blob = {
        "service": result.call.account.name,
        "attempt": result.call.attempt.number,
        "failure_class": closed.failure_class,
        "reason_code": closed.reason_code,
        "reason": closed.reason,
        "status_code": closed.status_code,
        "latency_ms": closed.latency_ms,
    }
    if isinstance(result.outcome, Refused) and result.outcome.retry_after is not None:
        blob["retry_after"] = result.outcome.retry_after
    return blob


def _draft_retry(draft: Draft, now_ns: int, blob: dict[str, Any]) -> EventDraft:
    told = {"service": draft.state.provider, "exception": draft.exception} | blob
    return EventDraft(EventName.RETRY, Actor.DISPATCHER, now_ns, told)


@lru_cache(maxsize=64)
def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
