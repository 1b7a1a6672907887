"""Which account a mail goes to, and why the others were left out. Pure: values in, a choice with its reasons out."""

import datetime as dt
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from providers.accounts.registry import Candidate
from providers.health.breaker import Permission
from providers.routing.rules import NO_CONSTRAINT, Evaluated, RoutingConstraint, evaluate

PROBE_KEPT = dt.timedelta(seconds=10)  # how long an email waits that may not be the probe, before it is looked at again


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of a choice: an account or none, and what was considered."""

    candidate: Candidate | None
    why: str
    considered: tuple[Evaluated, ...]
    probe: bool = False

    @property
    def epoch(self) -> int:
        """The epoch of the account's breaker that the call's result will count in; a probe begins a new one."""
        return self.candidate.breaker.epoch + self.probe if self.candidate else 0

    @property
    def free_at(self) -> dt.datetime | None:
        """When the first of the untried accounts may be asked again; None if no waiting helps."""
        return min((one.until for one in self.considered if one.until and not one.tried), default=None)

    def considered_as_blob(self) -> list[dict[str, Any]]:
        """What was considered, for an event's blob."""
        chosen = self.candidate.config.name if self.candidate else None
        return [
            {
                "account": one.account,
                "weight": one.weight,
                "eligible": one.eligible,
                "chosen": one.account == chosen,
                "note": one.note,
            }
            for one in self.considered
        ]


def choose(
    candidates: Iterable[Candidate],
    *,
    now: dt.datetime,
    draw: float,
    tried: Container[str] = (),
    bounds: RoutingConstraint = NO_CONSTRAINT,
    in_flight: Mapping[str, int],
    places: int | None = None,
    permits: Mapping[str, int],
    probes: bool = True,
    processes: int = 1,
) -> Choice:
    """Choose an account by a weighted draw among those that may be called now.

    `draw`: in [0, 1). `in_flight`: calls under way, by account. `places`: at most so many of them for one account.
    `permits`: calls that a rate limit grants now, by account; an account that is missing there has no limit.
    `probes`: whether this email may be a breaker's one probe. `processes`: how many share an account's connections.
    """
    considered, eligible = [], []
    for candidate in candidates:
        permission, verdict = evaluate(candidate, now, tried, bounds, in_flight, places, permits, processes)
        if verdict.eligible and permission.probe and not probes:
            note = "its probe is kept for an email that was not refused because of one mailbox"
            verdict = replace(verdict, eligible=False, note=note, until=now + PROBE_KEPT)
        considered.append(verdict)
        if verdict.eligible:
            eligible.append((candidate, permission))
    if not eligible:
        return Choice(None, "no account may be called now", tuple(considered))
    candidate, permission, number, total = _drawn(eligible, draw)
    considered = [_mark(one, candidate, number, total) for one in considered]
    why = (
        "the only eligible account" if len(eligible) == 1 else f"weighted draw among {len(eligible)} eligible accounts"
    )
    return Choice(candidate, why, tuple(considered), permission.probe)


def has_only_probes(
    candidates: Iterable[Candidate],
    *,
    now: dt.datetime,
    in_flight: Mapping[str, int],
    places: int | None,
    permits: Mapping[str, int],
    processes: int = 1,
) -> bool:
    """Return True if some account may be called now, and each of them for a breaker's probe alone."""
    weighed = (
        evaluate(candidate, now, (), NO_CONSTRAINT, in_flight, places, permits, processes) for candidate in candidates
    )
    eligible = [permission for permission, verdict in weighed if verdict.eligible]
    return bool(eligible) and all(permission.probe for permission in eligible)


def _drawn(eligible: Sequence[tuple[Candidate, Permission]], draw: float) -> tuple[Candidate, Permission, int, int]:
    total = sum(candidate.config.weight for candidate, _ in eligible)
    number = min(int(draw * total), total - 1)
    passed = 0
    for candidate, permission in eligible:
        passed += candidate.config.weight
        if number < passed:
            return candidate, permission, number + 1, total
    raise AssertionError("the draw is below the total")


def _mark(one: Evaluated, chosen: Candidate, number: int, total: int) -> Evaluated:
    """The draw's result beside the account that it fell on."""
    if one.account != chosen.config.name:
        return one
    drawn = f"chosen (drew {number} of {total})"
    return replace(one, note=f"{drawn}: {one.note}" if one.note else drawn)
