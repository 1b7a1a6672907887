"""What follows an outcome. Pure: no clock, no database, no network."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from mails.states import QUARANTINE_CLAIMS, DeliveryGuarantee
from providers.outcomes import Accepted, FailureClass, Outcome, RecipientRefusal, Refused, Unknown

# A mail refused for these may be taken later. An account's fault is the operator's to mend, so the mail waits for it.
TRANSIENT = frozenset(
    {FailureClass.ACCOUNT, FailureClass.RECIPIENT, FailureClass.RATE, FailureClass.PROVIDER, FailureClass.LOCAL}
)
# These begin no new round, so the wait does not grow: nobody has looked at the email yet.
POSTPONING = frozenset({FailureClass.RATE, FailureClass.LOCAL})
JITTER = 0.2  # of a back-off, up or down, so that mails that failed together do not come back together
LAST_TRY = 60.0  # seconds before an email expires: time enough for one more call
MANY_ATTEMPTS = 1000  # calls of one email: from then on it is tried …
RARELY = 3600.0  # … once an hour at most, however short the back-off is, so that its timeline stays readable
POISON_CLAIMS = QUARANTINE_CLAIMS + 1  # hand-overs that ended without a close


@dataclass(frozen=True, slots=True)
class Done:
    """Every recipient is resolved, and at least one was taken."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """This account is out for the round; ask the next one."""

    failure_class: FailureClass
    reason: str


@dataclass(frozen=True, slots=True)
class Again:
    """Some recipients were too many for this call: they go into a further one, for which this account is not out."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """It may have been sent and must not be sent twice: wait for evidence."""

    reason: str


NextStep = Done | GoOn | Again | Hold


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: due again in `seconds`.

    `afresh`: all accounts may be asked again then. `new_round`: that is a new round, with a longer wait after it.
    """

    seconds: float
    new_round: bool
    afresh: bool


@dataclass(frozen=True, slots=True)
class Discard:
    """No account would take it."""

    info: str


def next_step(outcome: Outcome, delivery_guarantee: DeliveryGuarantee, *, possible_duplicate: bool) -> NextStep:
    """Return what to do with an email after a call. `possible_duplicate`: an earlier call's outcome is unknown, too.

    Under at-least-once the first unknown outcome goes on as a fault of the provider: that is one more copy at most. A
    second one holds the email, as the first one does under at-most-once: whoever answers so late would take copies for ever.
    """
    match outcome:
        case Accepted(refused=refused):
            return _after_some_were_refused([one for one in refused if not one.permanent])
        case Refused(failure_class=failure_class, reason=reason):
            return GoOn(failure_class, reason)
        case Unknown(reason=reason):
            return (
                Hold(reason)
                if may_not_be_repeated(delivery_guarantee, possible_duplicate=possible_duplicate)
                else GoOn(FailureClass.PROVIDER, reason)
            )
        case never:
            assert_never(never)


def _after_some_were_refused(refused: Sequence[RecipientRefusal]) -> NextStep:
    """Return what to do for recipients that are still open, of an email that others were accepted for.

    A further call ends, too: each is made only because some recipients were accepted in the one before.
    """
    if not refused:
        return Done()
    several = "1 recipient" if len(refused) == 1 else f"{len(refused)} recipients"
    if any(one.next_call for one in refused):
        return Again(f"{several} left for a further call: {refused[0].reason}")
    return GoOn(fault_of(refused), f"{several} to be tried again: {refused[0].reason}")


def fault_of(refused: Sequence[RecipientRefusal]) -> FailureClass:
    """Return whose fault it is that these recipients were refused for now: one mailbox's, unless one reply says more."""
    return next(
        (refusal.failure_class for refusal in refused if refusal.failure_class != FailureClass.RECIPIENT),
        FailureClass.RECIPIENT,
    )


def when_no_account_is_left(
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
    """Return what follows when no account can be asked now: only the message's own fault ends an email before its time.

    `faults`: kinds of fault seen in this round; the mildest decides. `attempts`: calls so far. `time_left`: seconds
    until the email expires. `account_free_in`: seconds until an account that has not been asked in this round may take
    email again, None if there is none. `jitter`: drawn from [-1, 1]. `asked_wait`: seconds that the last answer asked
    this email to wait, as greylisting does.
    """
    transient = any(failure_class in TRANSIENT for failure_class in failure_classes)
    if account_free_in is not None and not transient:
        return Wait(max(account_free_in, 0.0) + abs(jitter), new_round=False, afresh=False)
    if not failure_classes:
        return Wait(60.0 * (1 + JITTER * jitter), new_round=False, afresh=False)
    if not transient:
        return Discard("every account refused the mail itself")
    postponed = POSTPONING.issuperset(failure_classes)
    wait = backoff[0 if postponed else min(round_number, len(backoff)) - 1].total_seconds()
    if attempts >= MANY_ATTEMPTS:
        wait = max(wait, RARELY)
    wait = _before_the_end(max(wait * (1 + JITTER * jitter), asked_wait), time_left)
    return Wait(wait, new_round=not postponed, afresh=True)


def space_out(wait: float, *, attempts: int, time_left: float) -> float:
    """Return the seconds before the next call of an email that was called so often: longer ones after many calls."""
    if attempts < MANY_ATTEMPTS:
        return wait
    return max(0.0, _before_the_end(max(wait, RARELY), time_left))


def _before_the_end(wait: float, time_left: float) -> float:
    """Return the wait, cut so that the last try comes just before the email expires instead of never."""
    last = time_left - LAST_TRY
    if wait <= last:
        return wait
    return last if last >= LAST_TRY else time_left


def may_not_be_repeated(delivery_guarantee: str, *, possible_duplicate: bool) -> bool:
    """Return True if an email whose last outcome is unknown must not be sent once more by itself."""
    return possible_duplicate or delivery_guarantee == DeliveryGuarantee.AT_MOST_ONCE


def is_providers_fault(outcome: Outcome) -> bool:
    """Whether the outcome counts towards the account's breaker."""
    return isinstance(outcome, Unknown) or (
        isinstance(outcome, Refused) and outcome.failure_class == FailureClass.PROVIDER
    )
