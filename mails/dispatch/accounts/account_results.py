"""What the results of calls say about their account: to its breaker, and to its run of refusals. Pure."""

import dataclasses
import datetime as dt
from collections.abc import Sequence

from mails.dispatch import retry_policy
from mails.dispatch.steps.transitions import Result
from providers.accounts.registry import Candidate
from providers.health import refusal_runs
from providers.health.breaker import Observation
from providers.health.refusal_runs import Refusal, RefusalRunSnapshot
from providers.outcomes import Accepted, FailureClass, NotAttempted, Refused, Unknown


def get_run(candidate: Candidate) -> RefusalRunSnapshot:
    """Return the account's run of refusals, an empty one if it has none."""
    return candidate.refusals or RefusalRunSnapshot(account_id=candidate.id)


def count_refusals(run: RefusalRunSnapshot, results: Sequence[Result], now: dt.datetime) -> RefusalRunSnapshot:
    """Return the run of refusals after these results of its account."""
    for result in results:
        if isinstance(result.outcome, Accepted):
            run = refusal_runs.observe_acceptance(run, now)
        elif (refusal := find_refusal(result)) is not None:
            run = refusal_runs.observe_refusal(run, refusal, now)
    return run


def find_refusal(result: Result) -> Refusal | None:
    """Return the refusal, if it looks like the email's fault."""
    outcome = result.outcome
    if not isinstance(outcome, Refused) or outcome.failure_class != FailureClass.MESSAGE:
        return None
    return Refusal(
        mark=refusal_runs.hash_recipients(recipient.address for recipient in result.call.mail.open_recipients),
        of_mailbox=bool(outcome.refused) and all(refusal.permanent for refusal in outcome.refused),
        reason=outcome.reason,
    )


def reclassify_as_account(result: Result) -> Result:
    """Return the refusal as one that says nothing about the email."""
    outcome = result.outcome
    assert isinstance(outcome, Refused)  # noqa: S101 (the caller looked)
    reason = f"{outcome.reason} (This account refuses every email, so this counts as an account failure.)"
    return dataclasses.replace(
        result, outcome=dataclasses.replace(outcome, failure_class=FailureClass.ACCOUNT, reason=reason)
    )


def summarize(results: Sequence[Result], epoch: int, now: dt.datetime, *, in_flight: int) -> Observation:
    """Return what the results of one account's calls say to its breaker."""
    answers = [result.outcome for result in results if not isinstance(result.outcome, NotAttempted)]
    failures = [answer for answer in answers if retry_policy.is_provider_failure(answer)]
    waits = [wait for answer in answers if (wait := _read_account_wait(answer)) is not None]
    full = [answer for answer in answers if isinstance(answer, Refused) and answer.at_capacity]
    most = max((answer.calls_at_once for answer in full), default=0)
    last = failures[-1] if failures else None
    return Observation(
        epoch=epoch,
        answered=len(answers) - len(failures),
        failures=len(failures),
        last_failure=last.reason if last is not None and not isinstance(last, Accepted) else "",
        limited_until=now + dt.timedelta(seconds=max(waits)) if waits else None,
        at_once=(most or in_flight) if full else in_flight + len(answers),
        at_capacity=bool(full),
    )


def _read_account_wait(outcome: Accepted | Refused | Unknown) -> float | None:
    """Return the seconds that the account shall rest: what was said of one mailbox or one message does not count."""
    match outcome:
        case Accepted() | Refused(failure_class=FailureClass.RECIPIENT | FailureClass.MESSAGE):
            return None
    return outcome.retry_after
