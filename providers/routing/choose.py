"""Choose the account for an email, and record why the others were left out. Pure."""

import datetime as dt
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from providers.accounts.registry import Candidate
from providers.health.breaker import CallPermission
from providers.routing.rules import NO_CONSTRAINT, AccountEvaluation, RoutingConstraint, evaluate

PROBE_KEPT = dt.timedelta(seconds=10)  # how long an email waits that may not be the probe


@dataclass(frozen=True, slots=True, kw_only=True)
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
    *,
    now: dt.datetime,
    draw: float,
    tried: Container[str] = (),
    routing_constraint: RoutingConstraint = NO_CONSTRAINT,
    in_flight: Mapping[str, int],
    slots: int | None = None,
    permits: Mapping[str, int],
    probes: bool = True,
    processes: int = 1,
) -> RoutingDecision:
    """Choose an account by a weighted draw among those that may be called now.

    `draw`: in [0, 1). `in_flight`: calls in progress, by account. `slots`: the most of them for one account.
    `permits`: calls that a rate limit grants now, by account; an account that is not in it has no limit.
    `probes`: whether this email may be a breaker's one probe. `processes`: how many share an account's connections.
    """
    evaluated, eligible = [], []
    for candidate in candidates:
        permission, result = evaluate(candidate, now, tried, routing_constraint, in_flight, slots, permits, processes)
        if result.eligible and permission.probe and not probes:
            note = "its probe is kept for an email that was not refused because of one mailbox"
            result = replace(result, eligible=False, note=note, until=now + PROBE_KEPT)
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


def has_only_probes(
    candidates: Iterable[Candidate],
    *,
    now: dt.datetime,
    in_flight: Mapping[str, int],
    slots: int | None,
    permits: Mapping[str, int],
    processes: int = 1,
) -> bool:
    """Return True if at least one account may be called now, and each of those for a breaker's probe only."""
    results = (
        evaluate(candidate, now, (), NO_CONSTRAINT, in_flight, slots, permits, processes) for candidate in candidates
    )
    eligible = [permission for permission, result in results if result.eligible]
    return bool(eligible) and all(permission.probe for permission in eligible)


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
