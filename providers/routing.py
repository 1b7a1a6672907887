"""Which account a mail goes to, and why the others were left out. Pure: values in, a choice with its reasons out."""

import datetime as dt
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from providers import circuit_breaker
from providers.account import AccountConfig
from providers.capabilities import KINDS
from providers.registry import Candidate


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which accounts a mail may go through at all, in every round: only one, or all but those tried before."""

    via: str = ""
    left_out: tuple[str, ...] = ()
    unanswered_by: str = ""  # for one choice only: others go first, since a second copy there is the likeliest double

    def bar(self, name: str) -> str:
        """Why the account is out of the question, in words; empty if it is not."""
        if self.via and name != self.via:
            return f"the mail is to go through {self.via} only"
        if name in self.left_out:
            return "already tried before it was sent anew"
        return "its answer is missing: others go first" if name == self.unanswered_by else ""

    def as_blob(self) -> dict[str, Any]:
        """The bounds as events and `Mail.bounds` keep them; empty where there are none."""
        told = {"via": self.via, "left_out": list(self.left_out)}
        return {name: value for name, value in told.items() if value}

    @classmethod
    def of(cls, blob: Mapping[str, Any]) -> "Bounds":
        """The bounds that `as_blob` wrote."""
        return cls(blob.get("via", ""), tuple(blob.get("left_out", ())))


NO_BOUNDS = Bounds()
PROBE_KEPT = dt.timedelta(seconds=10)  # how long an email waits that may not be the probe, before it is looked at again


@dataclass(frozen=True, slots=True)
class Considered:
    """One account as the choice saw it. `until`: when waiting may help; None if it will not."""

    account: str
    weight: int
    eligible: bool
    note: str
    until: dt.datetime | None = None
    tried: bool = False  # in this round, or it is out of bounds
    remedy: str = ""  # what ends it, where waiting does not


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of a choice: an account or none, and what was considered."""

    candidate: Candidate | None
    why: str
    considered: tuple[Considered, ...]
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
    bounds: Bounds = NO_BOUNDS,
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
        permission, verdict = _weigh(candidate, now, tried, bounds, in_flight, places, permits, processes)
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


def only_probes(
    candidates: Iterable[Candidate],
    *,
    now: dt.datetime,
    in_flight: Mapping[str, int],
    places: int | None,
    permits: Mapping[str, int],
    processes: int = 1,
) -> bool:
    """Return True if some account may be called now, and each of them for a breaker's probe alone."""
    weighed = (_weigh(candidate, now, (), NO_BOUNDS, in_flight, places, permits, processes) for candidate in candidates)
    eligible = [permission for permission, verdict in weighed if verdict.eligible]
    return bool(eligible) and all(permission.probe for permission in eligible)


def capacity(
    candidates: Iterable[Candidate],
    *,
    now: dt.datetime,
    in_flight: Mapping[str, int],
    places: int | None,
    permits: Mapping[str, int],
    processes: int = 1,
) -> int:
    """How many mails could be handed to accounts right now; nobody claims more than this."""
    total = 0
    for candidate in candidates:
        permission, verdict = _weigh(candidate, now, (), NO_BOUNDS, in_flight, places, permits, processes)
        if not verdict.eligible:
            continue
        name = candidate.config.name
        connections = connections_of(candidate.config, processes)
        bounds = [bound for bound in (places, permission.places, connections) if bound is not None]
        room = min(bounds) - in_flight.get(name, 0) if bounds else 1_000_000
        total += min(room, permits.get(name, room))
    return total


def connections_of(config: AccountConfig, processes: int) -> int | None:
    """Return how many connections one of so many processes may have to the account, None for no bound."""
    if config.max_connections is not None:
        return max(1, config.max_connections // max(1, processes))
    kind = KINDS.get(config.kind)
    return kind.most_at_once if kind else None


def _weigh(
    candidate: Candidate,
    now: dt.datetime,
    tried: Container[str],
    bounds: Bounds,
    in_flight: Mapping[str, int],
    places: int | None,
    permits: Mapping[str, int],
    processes: int,
) -> tuple[circuit_breaker.Permission, Considered]:
    config = candidate.config
    permission = circuit_breaker.permission(candidate.breaker, now)
    bar = bounds.bar(config.name)

    def verdict(note: str, *, eligible: bool = False, until: dt.datetime | None = None) -> Considered:
        tried_before = bool(bar) or config.name in tried
        remedy = _REMEDIES.get(note, permission.remedy if note == permission.note else "")
        return Considered(config.name, config.weight, eligible, note, until, tried=tried_before, remedy=remedy)

    never = _why_never(candidate, bar, tried)
    if never:
        return permission, verdict(never)
    if not permission.allowed:
        return permission, verdict(permission.note, until=permission.until)
    full = _why_full(config, permission, in_flight.get(config.name, 0), places, processes)
    if not full and permits.get(config.name, 1) < 1:
        full = f"rate limit {config.rate:g}/s reached"
    if full:
        return permission, verdict(full, until=now + dt.timedelta(seconds=1))
    return permission, verdict(permission.note, eligible=True)


_REMEDIES = {
    "disabled": "until somebody enables it",
    "not in this process's environment": "until its options are set",
    "weight 0": "until it has a weight",
}


def _why_never(candidate: Candidate, bar: str, tried: Container[str]) -> str:
    """Return why no waiting helps; empty if nothing speaks against the account."""
    if not candidate.enabled:
        return "disabled"
    if not candidate.configured:
        return "not in this process's environment"
    if bar or candidate.config.name in tried:
        return bar or "already tried in this round"
    return "weight 0" if candidate.config.weight == 0 else ""


def _why_full(
    config: AccountConfig, permission: circuit_breaker.Permission, busy: int, places: int | None, processes: int
) -> str:
    """Return which bound on its calls at once the account has reached; empty for none."""
    connections = connections_of(config, processes)
    if permission.places is not None and busy >= permission.places:
        return f"{permission.note}; all in use"
    if connections is not None and busy >= connections:
        return f"all {connections} connections in use"
    return f"all {places} places in use" if places is not None and busy >= places else ""


def _drawn(
    eligible: Sequence[tuple[Candidate, circuit_breaker.Permission]], draw: float
) -> tuple[Candidate, circuit_breaker.Permission, int, int]:
    total = sum(candidate.config.weight for candidate, _ in eligible)
    number = min(int(draw * total), total - 1)
    passed = 0
    for candidate, permission in eligible:
        passed += candidate.config.weight
        if number < passed:
            return candidate, permission, number + 1, total
    raise AssertionError("the draw is below the total")


def _mark(one: Considered, chosen: Candidate, number: int, total: int) -> Considered:
    """The draw's result beside the account that it fell on."""
    if one.account != chosen.config.name:
        return one
    drawn = f"chosen (drew {number} of {total})"
    return replace(one, note=f"{drawn}: {one.note}" if one.note else drawn)
