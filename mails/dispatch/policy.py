"""What follows an outcome. Pure: no clock, no database, no network."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from mails.states import LAST_CHANCE, Policy
from providers.outcomes import Accepted, Fault, Outcome, Refused, Unknown

# A mail refused for these may be taken later. An account's fault is the operator's to mend, so the mail waits for it.
TRANSIENT = frozenset({Fault.ACCOUNT, Fault.RECIPIENT, Fault.RATE, Fault.PROVIDER, Fault.LOCAL})
# These use up no round: nobody has looked at the email yet.
POSTPONING = frozenset({Fault.RATE, Fault.LOCAL})
JITTER = 0.2  # of a back-off, up or down, so that mails that failed together do not come back together
POISON_CLAIMS = LAST_CHANCE + 1  # hand-overs that ended without a close


@dataclass(frozen=True, slots=True)
class Done:
    """Every recipient is settled, and at least one was taken."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """This account is out for the round; ask the next one."""

    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """It may have been sent and must not be sent twice: wait for evidence."""

    reason: str


NextStep = Done | GoOn | Hold


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: due again in `seconds`.

    `afresh`: all accounts may be asked again then. `new_round`: that uses up one round.
    """

    seconds: float
    new_round: bool
    afresh: bool


@dataclass(frozen=True, slots=True)
class Discard:
    """No account would take it."""

    info: str


def next_step(outcome: Outcome, policy: Policy) -> NextStep:
    """What to do with a mail after a call.

    An unknown outcome goes on as a fault of the provider under at-least-once, and holds the mail under at-most-once.
    """
    match outcome:
        case Accepted(refused=refused):
            open_still = [one for one in refused if not one.permanent]
            if open_still:
                return GoOn(Fault.PROVIDER, f"{len(open_still)} recipients to be tried again: {open_still[0].reason}")
            return Done()
        case Refused(fault=fault, reason=reason):
            return GoOn(fault, reason)
        case Unknown(reason=reason):
            return Hold(reason) if policy == Policy.AT_MOST_ONCE else GoOn(Fault.PROVIDER, reason)
        case never:
            assert_never(never)


def when_no_account_is_left(
    *,
    faults: Sequence[str],
    round_number: int,
    rounds: int,
    backoff: Sequence[dt.timedelta],
    account_free_in: float | None,
    jitter: float,
) -> Wait | Discard:
    """What follows when no account can be asked now.

    `faults`: kinds of fault seen in this round; the mildest decides. `account_free_in`: seconds until an account that
    has not been asked in this round may take mails again, None if there is none. `jitter`: drawn from [-1, 1].
    """
    transient = any(fault in TRANSIENT for fault in faults)
    if account_free_in is not None and not transient:
        return Wait(max(account_free_in, 0.0) + abs(jitter), new_round=False, afresh=False)
    if not faults:
        return Wait(60.0 * (1 + JITTER * jitter), new_round=False, afresh=False)
    if POSTPONING.issuperset(faults):
        return Wait(backoff[0].total_seconds() * (1 + JITTER * jitter), new_round=False, afresh=True)
    if not transient:
        return Discard("every account refused the mail itself")
    if round_number >= rounds:
        return Discard(f"all {rounds} rounds are used up")
    wait = backoff[min(round_number, len(backoff)) - 1].total_seconds()
    return Wait(wait * (1 + JITTER * jitter), new_round=True, afresh=True)


def is_providers_fault(outcome: Outcome) -> bool:
    """Whether the outcome counts towards the account's breaker."""
    return isinstance(outcome, Unknown) or (isinstance(outcome, Refused) and outcome.fault == Fault.PROVIDER)
