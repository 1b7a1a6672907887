"""Which routes a claim takes emails of, and how many of each: those whose accounts can take some now. Pure."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mails.dispatch import retry_policy
from mails.dispatch.due.claim import Branch
from mails.dispatch.due.routes import QueuedRoute, parse_route
from providers.routing import capacity
from providers.routing.capacity import AccountRoom, RouteCapacity

MOST_BRANCHES = 64  # of a claim; further routes have their turn in the next
MOST_DECIDED = 64  # emails that no account can take, and that a claim ends or retries later


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What a claim asks for. `free_at`: when an account of the other due routes may take some, None if no time helps."""

    branches: Sequence[Branch] = ()
    limits: Mapping[str, int] = field(default_factory=dict)  # by queue: emails of all its branches together
    free_at: dt.datetime | None = None
    is_cut: bool = False  # there are more routes whose accounts can take some, perhaps of other queues
    yielding: frozenset[str] = frozenset()  # queues whose emails leave a rest of each account's limits to others

    @property
    def limit(self) -> int:
        """Return how many emails it asks for."""
        return sum(self.limits.values())


def allot(
    due: Sequence[QueuedRoute],
    capacities: Sequence[RouteCapacity],
    rooms: Mapping[str, AccountRoom],
    *,
    free: int,
    without_fit: Collection[str],
) -> Allotment:
    """Return how many emails to claim of each route with due emails, all of one queue.

    `capacities`: of these routes; `free`: slots.

    A route whose accounts can take nothing now gets no branch: nothing of its emails is read, written or recorded. But
    where waiting cannot help, an email of it has to be ended or retried later, and is claimed for that.
    """
    able, decided = [], []
    free_at: dt.datetime | None = None
    for route, own in zip(due, capacities, strict=True):
        if own.emails > 0:
            able.append((route, own))
        elif _must_decide(route, own):
            decided.append(Branch(queue=route.queue, route=route.name, limit=min(free, MOST_DECIDED)))
        elif own.free_at is not None:
            free_at = min(free_at or own.free_at, own.free_at)
    decided = decided[: MOST_BRANCHES // 2]
    chosen = able[: MOST_BRANCHES - len(decided)]
    limits = capacity.share([own for _, own in chosen], rooms, most=free)
    branches = [
        Branch(
            queue=route.queue,
            route=route.name,
            limit=limit,
            fit_for_probe=own.only_probes and route.name not in without_fit,
        )
        for (route, own), limit in zip(chosen, limits, strict=True)
    ]
    together = min(free, capacity.count_together([own for _, own in chosen], rooms))
    return Allotment(
        branches=[*branches, *decided],
        limits={route.queue: together + (min(free, MOST_DECIDED) if decided else 0) for route in due},
        free_at=free_at,
        is_cut=len(chosen) < len(able),
    )


def merge(parts: Sequence[Allotment], *, is_cut: bool) -> Allotment:
    """Return the allotments of several queues as one. `is_cut`: there is one more queue that may be served."""
    moments = [part.free_at for part in parts if part.free_at]
    return Allotment(
        branches=[branch for part in parts for branch in part.branches],
        limits={queue: limit for part in parts for queue, limit in part.limits.items()},
        free_at=min(moments, default=None),
        is_cut=is_cut or any(part.is_cut for part in parts),
        yielding=frozenset().union(*(part.yielding for part in parts)),
    )


def _must_decide(route: QueuedRoute, own: RouteCapacity) -> bool:
    parsed = parse_route(route.name)
    if parsed.is_cut:
        return False
    return not own.accounts.can_carry or retry_policy.must_decide(
        parsed.failure_classes, may_wait=own.free_at is not None
    )
