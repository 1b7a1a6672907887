"""Which account a mail goes to, and why the others were left out. Pure: values in, a choice with its reasons out."""

import datetime as dt
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from providers.accounts.config import AccountConfig
from providers.accounts.registry import Candidate
from providers.health.breaker import Permission, check_permission
from providers.kinds.capabilities import KINDS


@dataclass(frozen=True, slots=True)
class RoutingConstraint:
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
    def of(cls, blob: Mapping[str, Any]) -> "RoutingConstraint":
        """The bounds that `as_blob` wrote."""
        return cls(blob.get("via", ""), tuple(blob.get("left_out", ())))


NO_CONSTRAINT = RoutingConstraint()


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One account as the choice saw it. `until`: when waiting may help; None if it will not."""

    account: str
    weight: int
    eligible: bool
    note: str
    until: dt.datetime | None = None
    tried: bool = False  # in this round, or it is out of bounds
    remedy: str = ""  # what ends it, where waiting does not


def get_max_connections(config: AccountConfig, processes: int) -> int | None:
    """Return how many connections one of so many processes may have to the account, None for no bound."""
    if config.max_connections is not None:
        return max(1, config.max_connections // max(1, processes))
    kind = KINDS.get(config.kind)
    return kind.most_at_once if kind else None


def evaluate(
    candidate: Candidate,
    now: dt.datetime,
    tried: Container[str],
    bounds: RoutingConstraint,
    in_flight: Mapping[str, int],
    places: int | None,
    permits: Mapping[str, int],
    processes: int,
) -> tuple[Permission, Evaluated]:
    """Return whether the account may be called now, and the reason that is recorded for it."""
    config = candidate.config
    permission = check_permission(candidate.breaker, now)
    bar = bounds.bar(config.name)

    def verdict(note: str, *, eligible: bool = False, until: dt.datetime | None = None) -> Evaluated:
        tried_before = bool(bar) or config.name in tried
        remedy = _REMEDIES.get(note, permission.remedy if note == permission.note else "")
        return Evaluated(config.name, config.weight, eligible, note, until, tried=tried_before, remedy=remedy)

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


def _why_full(config: AccountConfig, permission: Permission, busy: int, places: int | None, processes: int) -> str:
    """Return which bound on its calls at once the account has reached; empty for none."""
    connections = get_max_connections(config, processes)
    if permission.slots is not None and busy >= permission.slots:
        return f"{permission.note}; all in use"
    if connections is not None and busy >= connections:
        return f"all {connections} connections in use"
    return f"all {places} places in use" if places is not None and busy >= places else ""
