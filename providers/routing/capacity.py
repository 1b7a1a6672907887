"""Capacity of the accounts for email now, and of each route: what the accounts that its emails may use can take. Pure."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from providers.accounts.registry import Candidate
from providers.routing.rules import (
    AccountLoad,
    Route,
    evaluate,
    explain_exclusion,
    explain_missing,
    get_max_connections,
)

UNLIMITED = 1_000_000

# Branches of a claim may ask for this many times what their accounts can take, all together. Each may find fewer emails
# than it asks for, and the oldest of all are claimed; but what is found in vain is kept from other workers meanwhile.
OVERLAP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRoom:
    """Emails that one account can take now. `until`: when it may take some, where it takes none; None if no time helps."""

    emails: int = 0
    is_probe: bool = False
    until: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAccounts:
    """Accounts that the emails of a route may use in this round, able or not to take any now."""

    names: frozenset[str]
    can_carry: bool  # False: accounts exist, and none that these emails may ever use can carry them


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCapacity:
    """What the accounts of a route can take now, as `AccountRoom` says it of one."""

    accounts: RouteAccounts
    emails: int
    only_probes: bool
    free_at: dt.datetime | None


def measure_rooms(candidates: Iterable[Candidate], load: AccountLoad) -> dict[str, AccountRoom]:
    """Return how many emails each account can take now, whichever route they have."""
    return {candidate.config.name: _measure_room(candidate, load) for candidate in candidates}


def _measure_room(candidate: Candidate, load: AccountLoad) -> AccountRoom:
    permission, evaluated = evaluate(candidate, load)
    if not evaluated.eligible:
        return AccountRoom(until=evaluated.until)
    name = candidate.config.name
    connections = get_max_connections(candidate.config, load.processes)
    limits = [load.count_usable(limit) for limit in (load.slots, connections) if limit is not None]
    limits += [permission.slots] if permission.slots is not None else []
    room = min(limits) - load.in_flight.get(name, 0) if limits else UNLIMITED
    permits, allowance = load.count_permits(candidate.config), load.allowances.get(name)
    most = [room, *([] if permits is None else [permits]), *([] if allowance is None else [allowance.left])]
    return AccountRoom(emails=min(most), is_probe=permission.probe)


def find_accounts(candidates: Iterable[Candidate], route: Route) -> RouteAccounts:
    """Return the accounts that an email of this route may use."""
    allowed = [candidate.config for candidate in candidates if not explain_exclusion(candidate, route)]
    able = [config.name for config in allowed if not explain_missing(config, route)]
    return RouteAccounts(names=frozenset(able) - frozenset(route.tried), can_carry=bool(able) or not allowed)


def measure_route(accounts: RouteAccounts, rooms: Mapping[str, AccountRoom]) -> RouteCapacity:
    """Return what these accounts can take now, all together."""
    own = [rooms[name] for name in accounts.names if name in rooms]
    taking = [room for room in own if room.emails > 0]
    return RouteCapacity(
        accounts=accounts,
        emails=sum(room.emails for room in taking),
        only_probes=bool(taking) and all(room.is_probe for room in taking),
        free_at=min((room.until for room in own if room.until), default=None),
    )


def share(capacities: Sequence[RouteCapacity], rooms: Mapping[str, AccountRoom], *, most: int) -> list[int]:
    """Return how many emails to look for in each route, at most `most`: routes with the same accounts share them."""
    sharing = Counter(name for capacity in capacities for name in capacity.accounts.names)

    def limit(name: str) -> int:
        room = min(rooms[name].emails, most) if name in rooms else 0
        return room if sharing[name] <= OVERLAP else -(-room * OVERLAP // sharing[name])

    return [min(most, sum(map(limit, capacity.accounts.names))) for capacity in capacities]


def count_together(capacities: Iterable[RouteCapacity], rooms: Mapping[str, AccountRoom]) -> int:
    """Return how many emails these routes can have taken together: each account counts once."""
    names = frozenset[str]().union(*(capacity.accounts.names for capacity in capacities))
    return sum(rooms[name].emails for name in names if name in rooms)
