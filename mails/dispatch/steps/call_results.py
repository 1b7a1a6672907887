"""Plans for a call that came back: its attempt, its recipients, and where the email goes from there. Pure."""

from dataclasses import replace
from typing import Any, assert_never

from mails.dispatch import retry_policy
from mails.dispatch.due.claim import ClaimedMail
from mails.dispatch.due.unanswered import UnansweredRequest
from mails.dispatch.steps.transitions import (
    Result,
    StepDraft,
    StepPlan,
    hold_as_unknown,
    hold_draft,
    put_off,
    requeue,
    update_recipients,
)
from mails.lifecycle import action_requests
from mails.lifecycle.action_requests import ActionRequest, Confirmation, list_recipients
from mails.lifecycle.values import AttemptClosed, EventDraft, LateResult, RecipientOutcome, Step, release_lease
from mails.states import Action, AttemptState, EventName, HoldReason, RecipientState, Status
from mercury.lib.database import database_clock
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Outcome, Refused, Unknown

_WITHOUT_CALL = frozenset({Cause.WORKER, Cause.EMAIL, Cause.FILE, Cause.STORAGE})  # whose attempts count as no call


def close_call(result: Result, *, now_ns: int) -> StepDraft | StepPlan:
    """Close the attempt of a call that came back. Return the plan where that decides, else the draft of an open email."""
    result = _read_in_progress(result)
    draft, before = _close(result, now_ns), result.call.mail.state
    match retry_policy.choose_next_step(
        result.outcome,
        draft.mail.delivery_guarantee,
        possible_duplicate=before.possible_duplicate,
        is_repeatable=_is_repeatable(result),
        local_wait=result.put_off,
    ):
        case retry_policy.Done():
            return StepPlan(step=_end(draft, result, now_ns), draft=draft)
        case retry_policy.Hold(reason):
            times = " by two requests" if before.possible_duplicate else ""
            return hold_as_unknown(draft, f"It may have been sent{times}: {reason}", now_ns=now_ns)
        case retry_policy.HoldAsPoison(reason):
            return hold_draft(draft, HoldReason.POISON, reason, now_ns=now_ns)
        case retry_policy.HoldWithoutFile(reason):
            return hold_draft(draft, HoldReason.FILE_MISSING, reason, now_ns=now_ns)
        case retry_policy.Requeue(reason):
            return requeue(replace(draft, exception=reason), now_ns=now_ns)
        case retry_policy.PutOff(reason=reason, seconds=seconds):
            return put_off(replace(draft, exception=reason), seconds, now_ns=now_ns)
        case retry_policy.SendRest(reason):
            return replace(draft, exception=reason)
        case retry_policy.Repeat(reason):
            return replace(_note_failure(draft, FailureClass.PROVIDER), exception=reason)
        case retry_policy.TryNext(failure_class=failure_class, reason=reason):
            draft = _note_failure(draft, failure_class)
            state = draft.state._replace(tried=(*draft.state.tried, result.call.account.name))
            return replace(draft, state=state, exception=reason, asked_wait=_read_wait(result.outcome))
        case never:
            assert_never(never)


def _read_in_progress(result: Result) -> Result:
    """Return the result; as unknown, if an earlier request is in progress and this call repeated none: it is this one itself."""
    outcome = result.outcome
    if not isinstance(outcome, Refused) or outcome.repeat_in is None or _repeats_unanswered(result):
        return result
    unknown = Unknown(reason_code=outcome.reason_code, reason=outcome.reason, status_code=outcome.status_code)
    return replace(result, outcome=unknown)


def _note_failure(draft: StepDraft, failure_class: FailureClass) -> StepDraft:
    state = draft.state._replace(
        failure_classes=tuple(sorted({*draft.state.failure_classes, failure_class})), failure_class=failure_class
    )
    return replace(draft, state=state)


def _repeats_unanswered(result: Result) -> bool:
    """Return True if the call repeated the unanswered request, with the same key for the same recipients."""
    earlier, key_scope = result.call.mail.unanswered, result.call.attempt.key_scope
    if earlier is None or not key_scope or key_scope != earlier.key_scope:
        return False
    return not isinstance(result.outcome, Accepted | Unknown) or result.outcome.is_first_request


def _is_repeatable(result: Result) -> bool:
    """Return True if the call's unknown outcome leaves at most one copy, and its account sends no second one."""
    if not isinstance(result.outcome, Unknown) or not result.outcome.is_first_request:
        return False
    return bool(result.call.attempt.key_scope) and (
        not result.call.mail.state.possible_duplicate or _repeats_unanswered(result)
    )


def _find_unanswered(result: Result) -> UnansweredRequest | None:
    """Return the last request without an answer, after this call."""
    earlier, attempt, outcome = result.call.mail.unanswered, result.call.attempt, result.outcome
    is_repeated = _repeats_unanswered(result)
    if isinstance(outcome, Accepted) and is_repeated and earlier is not None and earlier.is_only:
        return None
    if isinstance(outcome, Accepted) and earlier is not None:  # for some: a repeated request would have others
        return earlier._replace(key_scope="")
    if not isinstance(outcome, Unknown) or (is_repeated and earlier is not None):
        return earlier
    key_scope = attempt.key_scope if outcome.is_first_request else ""
    return UnansweredRequest(attempt.account, key_scope, attempt.opened_at, is_only=earlier is None)


def apply_pending(result: Result, pending_action: str, *, now_ns: int) -> StepPlan:
    """Plan what follows a call's result where its own step was not written.

    Either an action was requested during the call (`pending_action`), or all sending or its queue was paused before the
    email could be handed on.
    """
    answer = close_call(result, now_ns=now_ns)
    if not pending_action:
        return answer if isinstance(answer, StepPlan) else requeue(answer, now_ns=now_ns)
    action_request = ActionRequest.parse(pending_action)
    if isinstance(answer, StepPlan):
        step = answer.step
        if step.after.status == Status.DONE:
            if action_request.action == Action.SENT and _repeats_unanswered(
                result
            ):  # of which this was the late answer
                return replace(answer, step=replace(step, pending_action=pending_action))
            step = action_requests.note_too_late(action_request, step)
            return replace(answer, step=replace(step, pending_action=pending_action))
        if step.after.status == Status.HELD and action_request.action == Action.HOLD:  # and for a stronger reason
            return replace(answer, step=replace(step, pending_action=pending_action))
    draft = answer if isinstance(answer, StepDraft) else answer.draft
    effect = action_requests.compute_effect(
        action_request,
        draft.state,
        draft.mail.recipients,
        delivery_guarantee=draft.mail.delivery_guarantee,
        now_ns=now_ns,
    )
    step = replace(draft, recipients=draft.recipients + effect.recipients).finish(effect.after, *effect.events)
    return StepPlan(step=replace(step, pending_action=pending_action), draft=draft)


def describe_late(result: Result, *, now_ns: int) -> LateResult:
    """Return what a dispatcher that lost its lease learned, for `writer.record_late`."""
    closed = _close_attempt(result, now_ns)
    blob = {
        "service": result.call.account.name,
        "attempt": result.call.attempt.number,
        "outcome": closed.state,
        "reason_code": closed.reason_code,
        "status_code": closed.status_code,
    }
    event = EventDraft(event=EventName.LATE_RESULT, by=result.actor, at_ns=now_ns, blob=blob)
    return result.call.mail.id, closed, event


def confirm(result: Result) -> Confirmation | None:
    """Return the confirmation of a late answer that accepted the email for everybody; None for any other answer."""
    if isinstance(result.outcome, Accepted) and not result.outcome.refused:
        call = result.call
        return Confirmation(mail_id=call.mail.id, account=call.account.name, number=call.attempt.number)
    return None


def _read_wait(outcome: Outcome) -> float:
    """Return the seconds that the answer asked this email to wait. What it asked of the account, the account pool keeps."""
    if isinstance(outcome, Refused) and outcome.failure_class is FailureClass.RECIPIENT:
        return outcome.retry_after or 0.0
    return 0.0


def _close(result: Result, now_ns: int) -> StepDraft:
    mail, closed = result.call.mail, _close_attempt(result, now_ns)
    outcomes = _find_outcomes(mail, result.outcome)
    unanswered = _find_unanswered(result)
    is_answered = mail.unanswered is not None and unanswered is None
    mail = mail._replace(unanswered=unanswered, recipients=update_recipients(mail.recipients, outcomes))
    state = mail.state._replace(
        claims=0,
        reason_code=closed.reason_code,
        failure_class=closed.failure_class,
        possible_duplicate=not is_answered and (mail.state.possible_duplicate or isinstance(result.outcome, Unknown)),
    )
    event = _draft_failure(mail, result, closed, now_ns)
    return StepDraft(
        mail=mail,
        state=state,
        lease=result.call.attempt.lease,
        message=result.call.message,
        locations=result.call.locations,
        events=(event,) if event else (),
        closed=closed,
        recipients=outcomes,
    )


def _draft_failure(mail: ClaimedMail, result: Result, closed: AttemptClosed, now_ns: int) -> EventDraft | None:
    """Return the event of an outcome that does not accept the email for everybody."""
    name = EventName.FAILURE
    match result.outcome:
        case Refused() | NotAttempted():
            blob = _describe_failure(result, closed)
        case Unknown():
            name = EventName.UNKNOWN
            follows = retry_policy.describe_after_unknown(
                mail.delivery_guarantee,
                possible_duplicate=mail.state.possible_duplicate,
                is_repeatable=_is_repeatable(result),
            )
            blob = _describe_failure(result, closed) | {"delivery_guarantee": mail.delivery_guarantee, "next": follows}
            del blob["failure_class"]
        case Accepted(refused=refused):
            deferred = [refusal for refusal in refused if not refusal.permanent]
            if not deferred:
                return None
            accepted = [
                recipient.address for recipient in mail.recipients if recipient.state == RecipientState.ACCEPTED
            ]
            blob = _describe_failure(result, closed) | {
                "failure_class": retry_policy.classify_refusals(deferred),
                "reason": "accepted for some recipients; the others are retried",
                "accepted": accepted,
            }
        case never:
            assert_never(never)
    return EventDraft(event=name, by=result.actor, at_ns=now_ns, blob=blob)


def _close_attempt(result: Result, now_ns: int) -> AttemptClosed:
    outcome = result.outcome
    closed = AttemptClosed(
        id=result.call.attempt.id,
        state=AttemptState.ACCEPTED,
        closed_at=database_clock.from_ns(now_ns),
        latency_ms=round(result.latency * 1000),
        account=result.call.account.name,
        key_scope=result.call.attempt.key_scope,
    )
    if isinstance(outcome, Accepted | Unknown) and not outcome.is_first_request:
        closed = closed._replace(key_scope="")
    match outcome:
        case Accepted(provider_message_id=message_id, status_code=status_code):
            return closed._replace(status_code=status_code, provider_message_id=message_id[:255])
        case Refused(failure_class=failure_class, reason_code=reason_code, reason=reason, status_code=status_code):
            return closed._replace(
                state=AttemptState.REFUSED,
                failure_class=failure_class,
                reason_code=reason_code,
                reason=reason,
                status_code=status_code,
            )
        case NotAttempted(cause=cause, failure_class=failure_class, reason_code=reason_code, reason=reason):
            return closed._replace(
                state=AttemptState.REFUSED,
                failure_class=failure_class,
                reason_code=reason_code,
                reason=reason,
                account="" if cause in _WITHOUT_CALL else closed.account,  # not to be counted as a call
            )
        case Unknown(reason_code=reason_code, reason=reason, status_code=status_code):
            return closed._replace(
                state=AttemptState.UNKNOWN, reason_code=reason_code, reason=reason, status_code=status_code
            )
        case never:
            assert_never(never)


def _find_outcomes(mail: ClaimedMail, outcome: Outcome) -> tuple[RecipientOutcome, ...]:
    """Return the recipients that this outcome resolves: all but the refused by an acceptance; nobody by anything else."""
    if not isinstance(outcome, Accepted):
        return ()
    refused = {refusal.address: refusal for refusal in outcome.refused}
    outcomes = []
    for recipient in mail.open_recipients:
        refusal = refused.get(recipient.address)
        if refusal is None:
            outcomes.append(RecipientOutcome(id=recipient.id, state=RecipientState.ACCEPTED))
        elif refusal.permanent:
            outcomes.append(RecipientOutcome(id=recipient.id, state=RecipientState.REFUSED, reason=refusal.reason))
    return tuple(outcomes)


def _end(draft: StepDraft, result: Result, now_ns: int) -> Step:
    """End an email whose recipients are all resolved."""
    closed = draft.closed
    assert closed is not None  # noqa: S101 (the draft came from `_close`)
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
    return draft.finish(after, EventDraft(event=EventName.DONE, by=result.actor, at_ns=now_ns, blob=blob))


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
    if isinstance(result.outcome, Refused) and result.outcome.repeat_in is not None:
        blob["repeat_in"] = result.outcome.repeat_in
    return blob
