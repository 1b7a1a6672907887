"""Quotas of accounts in the dispatcher: what is given back, and what a provider says about them. Pure."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mails.dispatch.steps.transitions import Call, Result
from providers.accounts.config import AccountConfig
from providers.health.breaker import BreakerSnapshot, QuotaEnd
from providers.kinds.catalog import KINDS
from providers.outcomes import Accepted, NotAttempted, QuotaPeriod, Refused, Unknown, UsedUpQuota
from providers.quotas import allowance
from providers.routing.rules import counts_recipients

PACE = (
    60.0  # seconds; a wait that is shorter is about the pace of requests, though the words are about a day or a month
)
ROLLING_WAIT = dt.timedelta(hours=1)  # until some of a quota of the last 24 hours is free again


class Unsent(NamedTuple):
    """A part of a quota that was reserved and not used."""

    began_at: dt.datetime
    units: int


def list_unsent(results: Iterable[Result], account: AccountConfig) -> list[Unsent]:
    """Return what these results of an account give its quotas back: what was surely not sent, to whomever."""
    if not account.quota.has_any:
        return []
    counted = [
        Unsent(result.call.attempt.opened_at, _count_unsent(result, per_recipient=counts_recipients(account)))
        for result in results
    ]
    return [unsent for unsent in counted if unsent.units]


def _count_unsent(result: Result, *, per_recipient: bool) -> int:
    match result.outcome:
        case Refused() | NotAttempted():
            return len(result.call.mail.open_recipients) if per_recipient else 1
        case Accepted(refused=refused):
            return len(refused) if per_recipient else 0
        case Unknown():  # it may have been sent
            return 0


def list_uncalled(calls: Iterable[Call], account: AccountConfig) -> list[Unsent]:
    """Return what the calls of this account that will not be made give its quotas back."""
    if not account.quota.has_any:
        return []
    per_recipient = counts_recipients(account)
    return [
        Unsent(call.attempt.opened_at, len(call.mail.open_recipients) if per_recipient else 1)
        for call in calls
        if call.account.name == account.name
    ]


def give_back(breaker: BreakerSnapshot, account: AccountConfig, unsent: Iterable[Unsent]) -> BreakerSnapshot:
    """Return the breaker's row without these parts."""
    use = breaker.quota_use
    for began_at, units in unsent:
        use = allowance.give_back(account.quota, use, units, began_at=began_at)
    return breaker if use == breaker.quota_use else breaker.count_quota(use)


def find_end(results: Sequence[Result], account: AccountConfig, now: dt.datetime) -> QuotaEnd | None:
    """Return what an answer of the account says about a used up quota of the provider's; the longest wait counts."""
    ends = [
        QuotaEnd(reason=result.outcome.reason, until=_find_free_at(result.outcome.used_up, account, now))
        for result in results
        if isinstance(result.outcome, Refused) and result.outcome.used_up is not None
    ]
    lasting = [end for end in ends if end.until is None]
    return lasting[0] if lasting else max(ends, key=lambda end: end.until or now, default=None)


def _find_free_at(used_up: UsedUpQuota, account: AccountConfig, now: dt.datetime) -> dt.datetime | None:
    """Return when the provider's quota is free again: as its answer says, else when its day or month begins.

    None where neither is known, as for credit that somebody has to buy: then an operator opens the account.
    """
    wait, rules = used_up.resets_in, account.quota
    if wait is not None and (wait >= PACE or used_up.period is QuotaPeriod.UNKNOWN):
        return now + dt.timedelta(seconds=wait)
    day = rules.get_day(now)
    kind = KINDS.get(account.kind)
    match used_up.period:
        case QuotaPeriod.DAY if kind is not None and kind.is_quota_rolling:
            return now + ROLLING_WAIT
        case QuotaPeriod.DAY:
            return rules.begin(day + allowance.DAY)
        case QuotaPeriod.MONTH:
            return rules.begin(rules.get_next_month(rules.get_month(day)))
        case QuotaPeriod.UNKNOWN:
            return None
