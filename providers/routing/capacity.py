"""Which account a mail goes to, and why the others were left out. Pure: values in, a choice with its reasons out."""

import datetime as dt
from collections.abc import Iterable, Mapping

from providers.accounts.registry import Candidate
from providers.routing.rules import NO_CONSTRAINT, evaluate, get_max_connections


def count_capacity(
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
        permission, verdict = evaluate(candidate, now, (), NO_CONSTRAINT, in_flight, places, permits, processes)
        if not verdict.eligible:
            continue
        name = candidate.config.name
        connections = get_max_connections(candidate.config, processes)
        bounds = [bound for bound in (places, permission.slots, connections) if bound is not None]
        room = min(bounds) - in_flight.get(name, 0) if bounds else 1_000_000
        total += min(room, permits.get(name, room))
    return total
