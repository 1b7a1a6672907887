"""Idempotency keys over the attempts of an email: which key a request has, and whether the provider still knows it. Pure.

A request that repeats another has that one's key, and no other has: so an email that is sent again after a refusal, or on
purpose, is sent. The key scope of a request names the attempt that had the key first, and the account as it was then: the
provider's memory is that of a region and a login.
"""

import datetime as dt
import json

from django.utils.crypto import salted_hmac

from providers.accounts.config import AccountConfig
from providers.accounts.registry import Candidate
from providers.kinds.catalog import KINDS

_USED = 0.9  # of the time that a provider remembers a key: neither its clock nor the length of a call is known
_NOT_THE_LOGIN = frozenset({"max_connections", "ca", "failure_mode"})  # options that change no memory


def begin_scope(account: AccountConfig, number: int) -> str:
    """Return the key scope of a new request, the attempt of this number; empty if the provider remembers no keys."""
    return f"{number}-{_hash_login(account)}" if _get_hours(account) is not None else ""


def get_first_attempt(scope: str) -> int:
    """Return the number of the attempt that had the key first."""
    return int(scope.partition("-")[0])


def is_remembered(scope: str, *, since: dt.datetime, account: AccountConfig, now: dt.datetime) -> bool:
    """Return True if a request to the account with this scope's key is recognized: it had it first at `since`, or later."""
    hours = _get_hours(account)
    if not scope or hours is None or scope.partition("-")[2] != _hash_login(account):
        return False
    return now < since + dt.timedelta(hours=hours * _USED)


def may_be_remembered(scope: str, *, since: dt.datetime, candidate: Candidate | None, now: dt.datetime) -> bool:
    """Return True if `is_remembered`, or if this process cannot know since it lacks the account's options."""
    if candidate is None or not scope:
        return False
    return not candidate.configured or is_remembered(scope, since=since, account=candidate.config, now=now)


def _get_hours(account: AccountConfig) -> float | None:
    kind = KINDS.get(account.kind)
    return kind.capabilities.idempotency_hours if kind else None


def _hash_login(account: AccountConfig) -> str:
    """Return a short text that changes with the account's address and login, and tells nothing of them."""
    options = {name: str(value) for name, value in account.options.items() if name not in _NOT_THE_LOGIN}
    text = json.dumps([account.kind, options], sort_keys=True)
    return salted_hmac("providers.routing.repeats", text, algorithm="sha256").hexdigest()[:12]
