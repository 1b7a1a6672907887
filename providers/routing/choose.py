"""Choose the account for an email, and record why the others were left out. Pure."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from mercury.lib.value import value
from providers.accounts.registry import Candidate
from providers.health.breaker import CallPermission
from providers.routing.rules import ANY_ACCOUNT, AccountEvaluation, AccountLoad, Route, evaluate

PROBE_KEPT = dt.timedelta(seconds=10)  # how long an email waits that may not be the probe


@value
class RoutingDecision:
    """A choice: an account or none, and every account that was evaluated."""

    candidate: Candidate | None
    why: str
    evaluated: tuple[AccountEvaluation, ...]
    probe: bool = False

    @property
    def epoch(self) -> int:
        """Return the breaker's epoch in which the result of the call counts; a probe begins a new one."""
        return self.candidate.breaker.epoch + self.probe if self.candidate else 0

    @property
    def free_at(self) -> dt.datetime | None:
        """Return when the first of the untried accounts may be evaluated again; None if waiting does not help."""
        return min((account.until for account in self.evaluated if account.until and not account.tried), default=None)

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
        return [
            {
                "account": account.account,
                "weight": account.weight,
                "eligible": account.eligible,
                "selected": account.account == selected,
                "note": account.note,
            }
            for account in self.evaluated
        ]


def choose(
    candidates: Iterable[Candidate],
    load: AccountLoad,
    *,
    draw: float,
    route: Route = ANY_ACCOUNT,
    probes: bool = True,
) -> RoutingDecision:
    """Choose an account for an email of this route, by a weighted draw among those that may be called now.

    `draw`: in [0, 1). `probes`: whether it may be a breaker's one probe.
    """
    evaluated, eligible = [], []
    for candidate in candidates:
        permission, result = evaluate(candidate, load, route)
        if result.eligible and permission.probe and not probes:
            note = "its probe is kept for an email that was not refused because of one mailbox"
            result = replace(result, eligible=False, note=note, until=load.now + PROBE_KEPT)
        evaluated.append(result)
        if result.eligible:
            eligible.append((candidate, permission))
    if not eligible:
        return RoutingDecision(candidate=None, why="no account is available now", evaluated=tuple(evaluated))
    candidate, permission, number, total = _draw(eligible, draw)
    evaluated = [_mark_drawn(account, candidate, number, total) for account in evaluated]
    why = (
        "the only eligible account"
        if len(eligible) == 1
        else f"weighted random choice among {len(eligible)} eligible accounts"
    )
    return RoutingDecision(candidate=candidate, why=why, evaluated=tuple(evaluated), probe=permission.probe)


def _draw(
    eligible: Sequence[tuple[Candidate, CallPermission]], draw: float
) -> tuple[Candidate, CallPermission, int, int]:
    total = sum(candidate.config.weight for candidate, _ in eligible)
    number = min(int(draw * total), total - 1)
    passed = 0
    for candidate, permission in eligible:
        passed += candidate.config.weight
        if number < passed:
            return candidate, permission, number + 1, total
    raise AssertionError("the draw is below the total")


def _mark_drawn(account: AccountEvaluation, drawn: Candidate, number: int, total: int) -> AccountEvaluation:
    """Return the account, with the result of the draw if it was drawn."""
    if account.account != drawn.config.name:
        return account
    note = f"selected (drew {number} of {total})"
    return replace(account, note=f"{note}: {account.note}" if account.note else note)
