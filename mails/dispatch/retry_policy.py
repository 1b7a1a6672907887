"""Retry policy: what follows an outcome, and when an email is retried. Pure: no clock, no database, no network."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from mails.states import DeliveryGuarantee
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Outcome, RecipientRefusal, Refused, Unknown

# An email refused for these may be accepted later. An account's failure is the operator's to fix, so the email waits.
TRANSIENT = frozenset(
    {FailureClass.ACCOUNT, FailureClass.RECIPIENT, FailureClass.RATE, FailureClass.PROVIDER, FailureClass.LOCAL}
)
# These begin no new round, so the wait does not grow: nobody has looked at the email yet.
POSTPONING = frozenset({FailureClass.RATE, FailureClass.LOCAL})
JITTER = 0.2  # of a back-off, up or down, so that emails that failed together do not come back together
STORAGE_WAIT = 60.0  # seconds before an email is due again whose attachments could not be read
LAST_TRY = 60.0  # seconds before an email expires: time enough for one more call
MANY_ATTEMPTS = 1000  # calls of one email: from then on it is tried …
RARELY = 3600.0  # … once an hour at most, however short the back-off is, so that its timeline stays readable


@dataclass(frozen=True, slots=True)
class Done:
    """Every recipient is resolved, and at least one was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TryNext:
    """This account is out for the round; ask the next one."""

    failure_class: FailureClass
    reason: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """It may have been sent: the same account is asked first, since it recognizes the request and sends no second copy."""

    reason: str


@dataclass(frozen=True, slots=True)
class SendRest:
    """Some recipients were too many for this call: they go into another one, for which this account is not out."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """It may have been sent and must not be sent twice: wait for confirmation."""

    reason: str


@dataclass(frozen=True, slots=True)
class HoldAsPoison:
    """Mercury fails at the email itself: it must not come back at once and for ever."""

    reason: str


@dataclass(frozen=True, slots=True)
class HoldWithoutFile:
    """The content of an attachment is gone: a person has to bring it back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """This worker could not make the call. No account has refused the email, so it has nothing to wait for."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """No account has refused the email; it is due again in `seconds`, or rarely after many calls."""

    reason: str
    seconds: float


NextStep = Done | TryNext | Repeat | SendRest | Hold | HoldAsPoison | HoldWithoutFile | Requeue | PutOff


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait: the email is due again in `seconds`.

    `retries_all`: all accounts may be asked again then. `begins_round`: that is a new round, with a longer wait after it.
    """

    seconds: float
    begins_round: bool
    retries_all: bool


@dataclass(frozen=True, slots=True)
class Discard:
    """No account accepts it."""

    info: str


def choose_next_step(
    outcome: Outcome,
    delivery_guarantee: DeliveryGuarantee,
    *,
    possible_duplicate: bool,
    local_wait: float,
    is_repeatable: bool = False,
) -> NextStep:
    """Return what to do with an email after a call. `possible_duplicate`: an earlier call's outcome is unknown, too.

    `local_wait`: seconds before it is due again where trouble of this machine prevented the call. `is_repeatable`: the
    outcome is unknown, the account recognizes a repeated request, and no other account may have sent the email.

    Under at-least-once the first unknown outcome goes on as a failure of the provider: that is one more copy at most. A
    second one holds the email, as the first one does under at-most-once: an account that answers so late would receive
    copies for ever. A repeatable request adds no copy. So it is repeated at once; if that leaves its outcome unknown again, at-
    least-once goes on with the next account, and at-most-once repeats it until the account forgets it (`must_repeat`).
    """
    match outcome:
        case Accepted(refused=refused):
            return _choose_after_refusals([refusal for refusal in refused if not refusal.permanent])
        case Refused(repeat_in=float(seconds), reason=reason):
            return PutOff(reason=reason, seconds=seconds)
        case Refused(at_capacity=True, reason=reason):  # to any account as soon as one has room
            return PutOff(reason=reason, seconds=0.0)
        case Refused(failure_class=failure_class, reason=reason):
            return TryNext(failure_class=failure_class, reason=reason)
        case NotAttempted():
            return _choose_without_attempt(outcome, local_wait)
        case Unknown(reason=reason):
            if is_repeatable and not possible_duplicate:
                return Repeat(reason)
            if is_repeatable or can_repeat(delivery_guarantee, possible_duplicate=possible_duplicate):
                return TryNext(failure_class=FailureClass.PROVIDER, reason=reason)
            return Hold(reason)
        case never:
            assert_never(never)


def _choose_without_attempt(outcome: NotAttempted, local_wait: float) -> NextStep:
    match outcome.cause:
        case Cause.WORKER:
            return Requeue(outcome.reason)
        case Cause.MACHINE:  # a healthy worker may do better
            return PutOff(reason=outcome.reason, seconds=local_wait)
        case Cause.EMAIL:
            return HoldAsPoison(outcome.reason)
        case Cause.FILE:
            return HoldWithoutFile(outcome.reason)
        case Cause.STORAGE:
            return PutOff(reason=outcome.reason, seconds=STORAGE_WAIT)
        case Cause.MESSAGE | Cause.ACCOUNT | Cause.CAPACITY:
            return TryNext(failure_class=outcome.failure_class, reason=outcome.reason)
        case never:
            assert_never(never)


def _choose_after_refusals(refused: Sequence[RecipientRefusal]) -> NextStep:
    """Return what to do for recipients that are still open, of an email that others were accepted for.

    A further call ends, too: each is made only because some recipients were accepted in the one before.
    """
    if not refused:
        return Done()
    number = "1 recipient" if len(refused) == 1 else f"{len(refused)} recipients"
    if any(refusal.next_call for refusal in refused):
        return SendRest(f"{number} left for another request: {refused[0].reason}")
    return TryNext(failure_class=classify_refusals(refused), reason=f"{number} to be retried: {refused[0].reason}")


def classify_refusals(refused: Sequence[RecipientRefusal]) -> FailureClass:
    """Return the failure class of recipients refused for now: one mailbox's, unless one reply says more."""
    return next(
        (refusal.failure_class for refusal in refused if refusal.failure_class != FailureClass.RECIPIENT),
        FailureClass.RECIPIENT,
    )


def must_decide(failure_classes: Sequence[str], *, may_wait: bool) -> bool:
    """Return True if an email that no account can take now cannot just wait for one: it begins a new round, or ends.

    `failure_classes`: seen in this round. `may_wait`: an account that was not asked in this round may accept email again
    after a time. An email that nobody has refused yet waits for as long as it takes, also for an operator.
    """
    return bool(failure_classes) and (not may_wait or not TRANSIENT.isdisjoint(failure_classes))


def wait_or_discard(
    *,
    failure_classes: Sequence[str],
    round_number: int,
    attempts: int,
    time_left: float,
    backoff: Sequence[dt.timedelta],
    account_free_in: float | None,
    jitter: float,
    asked_wait: float = 0.0,
) -> Wait | Discard:
    """Return what follows when no account can be asked now: only a failure of the message ends an email before its time.

    `failure_classes`: seen in this round; the mildest decides. `attempts`: calls so far. `time_left`: seconds until the
    email expires. `account_free_in`: seconds until an account that has not been asked in this round may accept email
    again, None if there is none. `jitter`: drawn from [-1, 1]. `asked_wait`: seconds that the last answer asked this
    email to wait, as greylisting does.
    """
    transient = any(failure_class in TRANSIENT for failure_class in failure_classes)
    if account_free_in is not None and not transient:
        return Wait(seconds=max(account_free_in, 0.0) + abs(jitter), begins_round=False, retries_all=False)
    if not failure_classes:
        return Wait(seconds=60.0 * (1 + JITTER * jitter), begins_round=False, retries_all=False)
    if not transient:
        return Discard("every account rejected the message itself")
    postponed = POSTPONING.issuperset(failure_classes)
    wait = backoff[0 if postponed else min(round_number, len(backoff)) - 1].total_seconds()
    if attempts >= MANY_ATTEMPTS:
        wait = max(wait, RARELY)
    wait = _cut_to_expiry(max(wait * (1 + JITTER * jitter), asked_wait), time_left)
    return Wait(seconds=wait, begins_round=not postponed, retries_all=True)


def space_out(wait: float, *, attempts: int, time_left: float) -> float:
    """Return the seconds before the next call of an email that was called so often: longer ones after many calls."""
    if attempts < MANY_ATTEMPTS:
        return wait
    return max(0.0, _cut_to_expiry(max(wait, RARELY), time_left))


def _cut_to_expiry(wait: float, time_left: float) -> float:
    """Return the wait, cut so that the last try comes just before the email expires instead of never."""
    last = time_left - LAST_TRY
    if wait <= last:
        return wait
    return last if last >= LAST_TRY else time_left


def can_repeat(delivery_guarantee: str, *, possible_duplicate: bool) -> bool:
    """Return True if an email whose last outcome is unknown may be sent once more automatically."""
    return not possible_duplicate and delivery_guarantee == DeliveryGuarantee.AT_LEAST_ONCE


def describe_after_unknown(delivery_guarantee: str, *, possible_duplicate: bool, is_repeatable: bool) -> str:
    """Return what follows an unknown outcome, for its event: "same account", "next account" or "held"."""
    if is_repeatable and (not possible_duplicate or delivery_guarantee == DeliveryGuarantee.AT_MOST_ONCE):
        return "same account"
    if is_repeatable or can_repeat(delivery_guarantee, possible_duplicate=possible_duplicate):
        return "next account"
    return "held"


def is_provider_failure(outcome: Outcome) -> bool:
    """Return True if the outcome counts towards the account's breaker."""
    return isinstance(outcome, Unknown) or (
        isinstance(outcome, Refused) and outcome.failure_class == FailureClass.PROVIDER
    )
