"""How busy the accounts are, by everything that all processes know: for pages and previews. Pure."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from providers.accounts.registry import Candidate
from providers.health import rate_limit
from providers.routing.rules import AccountLoad, measure_allowances


def build_load(
    candidates: Sequence[Candidate],
    *,
    in_flight: Mapping[str, int],
    now: dt.datetime,
    count_recipients: Callable[[], int],
) -> AccountLoad:
    """Return how busy the accounts are for all processes together.

    `in_flight`: provider calls by account. `count_recipients`: of the email, asked only where an account has a quota.
    """
    permits = {
        candidate.config.name: rate_limit.count_available(candidate.breaker.next_call_at, candidate.config.rate, now)
        for candidate in candidates
        if candidate.config.rate
    }
    allowances = measure_allowances(candidates, now)
    return AccountLoad(
        now=now,
        in_flight=in_flight,
        permits=permits,
        allowances=allowances,
        recipients=count_recipients() if allowances else 1,
    )
