"""Accounts that refuse every request because of themselves, such as a key that their provider does not know (401).

Their breakers stay closed, since the provider works. One answer for pages, API, commands, alerts and forecasts.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from providers.accounts.registry import Candidate
from providers.health.breaker import check_permission, describe_breaker

RECENT = dt.timedelta(minutes=5)
Count = Callable[[dt.datetime], Mapping[str, int]]
counts: list[Count] = []  # `mails`, which counts requests, adds its own when the apps are ready


def load_refusals(candidates: Sequence[Candidate], now: dt.datetime) -> dict[str, str]:
    """Return what the accounts refuse that refuse every request, in words, by name. One short query.

    An account that its breaker stops is not among them: it gets no request.
    """
    refused = {name: requests for count in counts for name, requests in count(now - RECENT).items()}
    described = {
        candidate.config.name: _describe(candidate, refused.get(candidate.config.name, 0))
        for candidate in candidates
        if _is_called(candidate, now)
    }
    return {name: words for name, words in described.items() if words}


def describe_account(candidate: Candidate, refusals: Mapping[str, str], now: dt.datetime) -> str:
    """Return how the account is, in words: what it refuses, or what its breaker does."""
    return refusals.get(candidate.config.name) or describe_breaker(candidate.breaker, now)


def _is_called(candidate: Candidate, now: dt.datetime) -> bool:
    permission = check_permission(candidate.breaker, now)
    return permission.allowed and not permission.probe


def _describe(candidate: Candidate, refused: int) -> str:
    if refused:
        requests = "1 request" if refused == 1 else f"{refused:,} requests"
        return f"refused {requests} in the last 5 minutes and accepted none"
    run = candidate.refusals
    return f"refuses every email: {run.reason}" if run is not None and run.is_systemic else ""
