"""Actions of operators on a provider account: their words, what they do, and when they are possible."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from mercury.lib.database import database_clock
from providers.accounts import registration, registry
from providers.accounts.registry import Candidate
from providers.health import breaker_store
from providers.models import Account, AccountSource, BreakerMode, BreakerState
from providers.routing.refusing_accounts import load_refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAction:
    """An action of an operator on an account: its words, and the function that runs it."""

    name: str
    button: str
    title: str
    sentences: tuple[str, ...]
    done: str
    run: Callable[[Account, str, str], object]  # account, who, reason
    danger: bool = False


def _force(mode: BreakerMode) -> Callable[[Account, str, str], object]:
    return lambda account, by, why: breaker_store.force(account.name, mode, by=by, why=why)


def _enable(enabled: bool) -> Callable[[Account, str, str], object]:
    return lambda account, by, why: registration.update(account, by=by, enabled=enabled, why=why)


ACTIONS = {
    action.name: action
    for action in (
        AccountAction(
            name="force-open",
            button="Force open",
            title="Force the breaker of {name} open?",
            sentences=(
                "No email goes to {name} until someone closes the breaker or sets it to automatic.",
                "{others}",
            ),
            done="The breaker of {name} is forced open.",
            run=_force(BreakerMode.OPEN),
            danger=True,
        ),
        AccountAction(
            name="force-closed",
            button="Force closed",
            title="Force the breaker of {name} closed?",
            sentences=(
                "Email keeps going to {name} regardless of errors, until someone sets the breaker to automatic.",
                "Each email that it refuses goes to another account.",
            ),
            done="The breaker of {name} is forced closed.",
            run=_force(BreakerMode.CLOSED),
        ),
        AccountAction(
            name="automatic",
            button="Back to automatic",
            title="Return the breaker of {name} to automatic?",
            sentences=(
                "It starts closed, opens after five errors within a minute, and tests for recovery automatically.",
            ),
            done="The breaker of {name} is automatic.",
            run=_force(BreakerMode.AUTO),
        ),
        AccountAction(
            name="probe",
            button="Probe now",
            title="Send a probe to {name} now?",
            sentences=(
                "The next email goes to {name} as a probe, without waiting for the time set by the breaker.",
                "If it is accepted, the breaker closes; if not, the breaker stays open and the email goes to another account.",
            ),
            done="{name} will be tested with the next email.",
            run=lambda account, by, why: breaker_store.request_probe(account.name, by=by),
        ),
        AccountAction(
            name="open",
            button="Open again",
            title="Open {name} again?",
            sentences=(
                "Its provider said that a quota is used up. Email goes to {name} again.",
                "If the provider says so once more, the account gets no email again.",
            ),
            done="Account {name} is open again.",
            run=lambda account, by, why: breaker_store.open_account(account.name, by=by, why=why),
        ),
        AccountAction(
            name="disable",
            button="Disable",
            title="Disable {name}?",
            sentences=("No new email goes to {name} until it is enabled. Requests in progress finish.", "{others}"),
            done="Account {name} is disabled.",
            run=_enable(enabled=False),
            danger=True,
        ),
        AccountAction(
            name="enable",
            button="Enable",
            title="Enable {name}?",
            sentences=("Email goes to {name} again, with weight {weight}.",),
            done="Account {name} is enabled.",
            run=_enable(enabled=True),
        ),
        AccountAction(
            name="delete",
            button="Delete",
            title="Delete {name}?",
            sentences=(
                "Its options and breaker are deleted. Its history stays, and emails and events keep its name.",
                "This cannot be undone. To stop it temporarily, disable it.",
                "{others}",
            ),
            done="Account {name} is deleted.",
            run=lambda account, by, why: registration.remove(account, by=by),
            danger=True,
        ),
    )
}


WITH_REASON = ("force-open", "force-closed", "automatic", "open", "disable", "enable")
REASON_FIELD: dict[str, Any] = {
    "name": "why",
    "label": "Reason",
    "optional": True,
    "value": "",
    "note": "Recorded in the account's history.",
    "length": 150,
}


def list_possible(account: Account, candidate: Candidate) -> list[AccountAction]:
    """Return the actions that change something now."""
    mode = candidate.breaker.mode
    fitting = {
        "force-open": mode != BreakerMode.OPEN,
        "force-closed": mode != BreakerMode.CLOSED,
        "automatic": mode != BreakerMode.AUTO,
        "probe": mode == BreakerMode.AUTO and candidate.breaker.state == BreakerState.OPEN,
        "open": candidate.breaker.is_out_of_quota(database_clock.now()),
        "disable": account.enabled,
        "enable": not account.enabled and registry.is_used(account),
        "delete": account.source == AccountSource.DATABASE
        or (account.source == AccountSource.ENVIRONMENT and not candidate.configured),
    }
    return [action for name, action in ACTIONS.items() if fitting[name]]


def list_offered(request: HttpRequest, account: Account, candidate: Candidate) -> list[AccountAction]:
    """Return the possible actions that the user is allowed to run."""
    may_delete = request.user.has_perm("providers.delete_account")
    return [action for action in list_possible(account, candidate) if may_delete or action.name != "delete"]


def describe_others(candidate: Candidate) -> str:
    """Return which accounts get the email instead, in a sentence."""
    others = [other for other in registry.load_candidates() if other.id != candidate.id]
    refusals = load_refusals(others, database_clock.now())
    names = [
        other.config.name
        for other in others
        if other.enabled and other.configured and not is_open(other) and other.config.name not in refusals
    ]
    if not names:
        return "No other account is available: all email is queued until one is."
    mine = candidate.config.name
    return f"Email goes to {', '.join(names)} instead. What may use {mine} alone, by a routing rule, waits."


def is_open(candidate: Candidate) -> bool:
    """Return True if the account's breaker is open or half-open."""
    breaker = candidate.breaker
    return breaker.mode == BreakerMode.OPEN or (
        breaker.mode == BreakerMode.AUTO and breaker.state != BreakerState.CLOSED
    )
