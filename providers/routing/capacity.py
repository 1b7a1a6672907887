"""Capacity of the accounts for email now. Pure."""

import datetime as dt
from collections.abc import Iterable, Mapping

from providers.accounts.registry import Candidate
from providers.routing.rules import NO_CONSTRAINT, evaluate, get_max_connections


def count_capacity(
    candidates: Iterable[Candidate],
    *,
    now: dt.datetime,
    in_flight: Mapping[str, int],
    slots: int | None,
    permits: Mapping[str, int],
    processes: int = 1,
) -> int:
    """Return how many emails the accounts can accept right now; the dispatcher claims no more."""
    total = 0
    for candidate in candidates:
        permission, evaluated = evaluate(candidate, now, (), NO_CONSTRAINT, in_flight, slots, permits, processes)
        if not evaluated.eligible:
            continue
        name = candidate.config.name
        connections = get_max_connections(candidate.config, processes)
        limits = [limit for limit in (slots, permission.slots, connections) if limit is not None]
        room = min(limits) - in_flight.get(name, 0) if limits else 1_000_000
        total += min(room, permits.get(name, room))
    return total
