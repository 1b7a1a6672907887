"""The quotas of an account: what it has sent, and what it may send, for people and programs. Pure."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mercury.lib.durations import format_moment
from providers.accounts.registry import Candidate
from providers.quotas.allowance import Allowance
from providers.quotas.rules import QuotaRules
from providers.routing.rules import counts_recipients, measure_allowances


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaStatus:
    """The quotas of an account at one moment: its own, and what its provider said of one. None where nothing limits it."""

    unit: str  # what is counted: "recipients" or "emails"
    used_today: int
    allowed_today: int | None
    used_this_month: int
    allowed_this_month: int | None
    left: int | None  # now
    reason: str  # why it may send nothing now, empty if it may
    next_at: dt.datetime | None  # when it may send again; None where that needs an operator, or it may now
    out_since: dt.datetime | None  # since when the provider says that a quota is used up
    out_reason: str  # the provider's words
    warm_up: str  # "day 3 of 30", empty without one
    warnings: Sequence[str]

    @property
    def is_out(self) -> bool:
        """Return True if the account may send nothing now because of a quota."""
        return bool(self.reason)

    @property
    def use(self) -> str:
        """Return what was sent of what is allowed: "412 of 500 today, 9,120 of 10,000 this month"; empty without quotas."""
        return ", ".join(self._list_uses())

    def _list_uses(self) -> Iterator[str]:
        if self.allowed_today is not None:
            yield f"{self.used_today:,} of {self.allowed_today:,} today"
        if self.allowed_this_month is not None:
            yield f"{self.used_this_month:,} of {self.allowed_this_month:,} this month"


def describe_quota(candidate: Candidate, now: dt.datetime) -> QuotaStatus:
    """Return what the account has sent of its quotas, and what it may send."""
    rules, breaker = candidate.config.quota, candidate.breaker
    allowance = measure_allowances([candidate], now).get(candidate.config.name)
    use = allowance.use if allowance else breaker.quota_use
    is_out = breaker.is_out_of_quota(now)
    reason, next_at = _find_reason(candidate, allowance, now)
    return QuotaStatus(
        unit="recipients" if counts_recipients(candidate.config) else "emails",
        used_today=use.day_used if allowance else 0,
        allowed_today=allowance.allowed_today if allowance else None,
        used_this_month=use.month_used if allowance else 0,
        allowed_this_month=rules.monthly,
        left=allowance.left if allowance and allowance.limits else None,
        reason=reason,
        next_at=next_at,
        out_since=breaker.out_of_quota_since if is_out else None,
        out_reason=breaker.out_of_quota_reason if is_out else "",
        warm_up=_describe_warm_up(rules, now),
        warnings=tuple(rules.find_warnings()),
    )


def _find_reason(candidate: Candidate, allowance: Allowance | None, now: dt.datetime) -> tuple[str, dt.datetime | None]:
    breaker = candidate.breaker
    if breaker.is_out_of_quota(now):
        until = breaker.out_of_quota_until
        words = f"until {format_moment(until, now)}" if until else "until someone opens it"
        return f"out of quota at the provider {words}", until
    if allowance is not None and allowance.left < 1:
        return allowance.explain_shortage(1)
    return "", None


def _describe_warm_up(rules: QuotaRules, now: dt.datetime) -> str:
    if rules.warm_up is None:
        return ""
    number, days = (rules.get_day(now) - rules.warm_up.start).days + 1, len(rules.warm_up.steps)
    if number < 1:
        return f"begins on {rules.warm_up.start}"
    return f"day {number} of {days}" if number <= days else f"ended on {rules.warm_up.end}"
