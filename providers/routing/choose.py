"""Choose the account for an email, and record why the others were left out. Pure.

Among the accounts that can take the email now, those of the lowest priority number are drawn, in proportion to their weights.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from mercury.lib.value import value
from providers.accounts.registry import Candidate
from providers.health.breaker import CallPermission
from providers.routing.rules import ANY_ACCOUNT, AccountEvaluation, AccountLoad, Route, evaluate

PROBE_KEPT = dt.timedelta(seconds=10)  # how long an email waits that may not be the probe


class ComparedAccount(NamedTuple):
    """An account with its evaluation. `goes_first`: it takes part in the draw."""

    candidate: Candidate
    permission: CallPermission
    evaluation: AccountEvaluation
    goes_first: bool


@value
class RoutingDecision:
    """A choice: an account or none, and every account that was evaluated."""

    candidate: Candidate | None
    why: str
    evaluated: tuple[AccountEvaluation, ...]
    probe: bool = False
    rule: str = ""  # the name of the routing rule that decided

    @property
    def epoch(self) -> int:
        """Return the breaker's epoch in which the result of the call counts; a probe begins a new one."""
        return self.candidate.breaker.epoch + self.probe if self.candidate else 0

    @property
    def free_at(self) -> dt.datetime | None:
        """Return when the first of the untried accounts may be evaluated again; None if waiting does not help."""
        return min((account.until for account in self.evaluated if account.until and not account.tried), default=None)

    @property
    def is_too_much(self) -> bool:
        """Return True if it waits for a quota of which less is left than the email needs, and that other emails may take."""
        return any(account.is_too_much and account.until == self.free_at for account in self.evaluated)

    @property
    def can_carry(self) -> bool:
        """Return False if accounts exist, and none that the email may ever use can carry its message."""
        allowed = [account for account in self.evaluated if not account.excluded]
        return not allowed or not all(account.cannot_carry for account in allowed)

    def explain_missing(self) -> str:
        """Return the accounts that cannot carry the message, each with what it lacks."""
        lacking = [account for account in self.evaluated if account.cannot_carry and not account.excluded]
        return ", ".join(f"{account.account} ({account.note})" for account in lacking)

    def build_evaluated_blob(self) -> list[dict[str, Any]]:
        """Return the evaluated accounts for an event's blob."""
        selected = self.candidate.config.name if self.candidate else None
        return [_build_blob(account, selected=account.account == selected) for account in self.evaluated]


def _build_blob(account: AccountEvaluation, *, selected: bool) -> dict[str, Any]:
    blob = {
        "account": account.account,
        "weight": account.weight,
        "eligible": account.eligible,
        "selected": selected,
        "note": account.note,
    }
    if account.priority != 1:  # as a rule all have the same: an event is stored for each email
        blob["priority"] = account.priority
    return blob


def choose(
    candidates: Iterable[Candidate],
    load: AccountLoad,
    *,
    draw: float,
    route: Route = ANY_ACCOUNT,
    probes: bool = True,
) -> RoutingDecision:
    """Choose an account for an email of this route, by a weighted draw among those that go first of all that may be called now.

    `draw`: in [0, 1). `probes`: whether it may be a breaker's one probe.
    """
    compared = compare(candidates, load, route, probes=probes)
    evaluated = tuple([account.evaluation for account in compared])
    rule = route.constraint.rule_name
    first = [account for account in compared if account.goes_first]
    if not first:
        return RoutingDecision(candidate=None, why="no account is available now", evaluated=evaluated, rule=rule)
    drawn, number, total = _draw(first, draw)
    note = f"selected (drew {number} of {total})"
    return RoutingDecision(
        candidate=drawn.candidate,
        why=_explain_draw(first, is_all=len(first) == sum(account.eligible for account in evaluated)),
        evaluated=tuple([_mark_drawn(account, drawn.evaluation, note) for account in evaluated]),
        probe=drawn.permission.probe,
        rule=rule,
    )


def compare(
    candidates: Iterable[Candidate], load: AccountLoad, route: Route = ANY_ACCOUNT, *, probes: bool = True
) -> list[ComparedAccount]:
    """Return every account with its evaluation for an email of this route, before the draw; see `choose`."""
    evaluated = []
    for candidate in candidates:
        permission, result = evaluate(candidate, load, route)
        if result.eligible and permission.probe and not probes:
            note = "its probe is kept for an email that was not refused because of one mailbox"
            result = replace(result, eligible=False, note=note, until=load.now + PROBE_KEPT)
        evaluated.append((candidate, permission, result))
    first = min((result.priority for _, _, result in evaluated if result.eligible), default=0)
    return [
        ComparedAccount(candidate, permission, _mark_later(result, first), result.eligible and result.priority == first)
        for candidate, permission, result in evaluated
    ]


def _mark_later(account: AccountEvaluation, first: int) -> AccountEvaluation:
    """Return the account, with the note that others go before it where they do."""
    if not account.eligible or account.priority == first:
        return account
    later = f"used when no account of priority {first} can take the email"
    return replace(account, note=f"{later}; {account.note}" if account.note else later)


def _draw(accounts: Sequence[ComparedAccount], draw: float) -> tuple[ComparedAccount, int, int]:
    total = sum(account.evaluation.weight for account in accounts)
    number = min(int(draw * total), total - 1)
    passed = 0
    for account in accounts:
        passed += account.evaluation.weight
        if number < passed:
            return account, number + 1, total
    raise AssertionError("the draw is below the total")


def _explain_draw(first: Sequence[ComparedAccount], *, is_all: bool) -> str:
    of_priority = "" if is_all else f" of priority {first[0].evaluation.priority}"
    if len(first) == 1:
        return f"the only eligible account{of_priority}"
    return f"weighted random choice among {len(first)} eligible accounts{of_priority}"


def _mark_drawn(account: AccountEvaluation, drawn: AccountEvaluation, note: str) -> AccountEvaluation:
    """Return the account, with the result of the draw if it was drawn."""
    if account is not drawn:
        return account
    return replace(account, note=f"{note}: {account.note}" if account.note else note)
