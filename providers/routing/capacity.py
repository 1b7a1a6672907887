"""Capacity of the accounts for email now. Pure."""

from collections.abc import Iterable

from providers.accounts.registry import Candidate
from providers.routing.rules import AccountLoad, evaluate, get_max_connections


def count_capacity(candidates: Iterable[Candidate], load: AccountLoad) -> int:
    """Return how many emails the accounts can accept right now; the dispatcher claims no more."""
    total = 0
    for candidate in candidates:
        permission, evaluated = evaluate(candidate, load)
        if not evaluated.eligible:
            continue
        name = candidate.config.name
        connections = get_max_connections(candidate.config, load.processes)
        limits = [limit for limit in (load.slots, permission.slots, connections) if limit is not None]
        room = min(limits) - load.in_flight.get(name, 0) if limits else 1_000_000
        total += min(room, load.permits.get(name, room))
    return total
