"""Whose turn it is: which queues a claim pass serves, and how many slots each may fill. Pure.

Queues with a share of 100 percent are urgent: each pass serves all of them, and an eighth of the slots is kept free for them.
One of the others is served along with them, a few emails at a time, so that nothing urgent that arrives waits for a long pass: the
one that fills least of its share, so that none of them can starve another.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from mails.queues import QueueName
from providers.routing.capacity import UNLIMITED

WHOLE = 100  # percent
PARTS = (
    8  # a pass claims a part of the slots at most for a queue that is not urgent; as many are kept free for urgent ones
)

_ORDER = {name: place for place, name in enumerate(QueueName.values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimit:
    """Limits of one queue. `permits`: emails that its rate limit grants now; if none, it does `until` then."""

    share: int = WHOLE  # percent of the slots that it may fill while other queues have due email
    permits: int = UNLIMITED
    until: dt.datetime | None = None

    @property
    def is_urgent(self) -> bool:
        """Return True if slots, connections and permits are kept free for it."""
        return self.share >= WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A queue that may be served now, with the slots that it may fill."""

    queue: str
    room: int
    is_urgent: bool = True


NO_LIMIT = QueueLimit()


def list_turns(
    due: Collection[str],
    in_progress: Mapping[str, int],
    limits: Mapping[str, QueueLimit],
    *,
    slots: int,
    free: int,
) -> list[Turn]:
    """Return the queues that may be served now: all urgent ones, then the others, of which a pass serves the first that can be.

    `due`: queues with due email. `in_progress`: calls of each queue. `limits`: of each queue that this dispatcher serves;
    one that is not in it has none. `slots`: of this dispatcher; `free`: those that are free, or will be soon.
    """
    urgent = sorted((queue for queue in due if limits.get(queue, NO_LIMIT).is_urgent), key=_ORDER.__getitem__)
    others = [
        Turn(queue=queue, room=room, is_urgent=False)
        for queue in sorted(set(due).difference(urgent), key=lambda queue: _rank(queue, in_progress, limits))
        if (room := _count_room(queue, in_progress, limits, slots=slots, free=free, alone=len(due) == 1))
    ]
    if urgent and others:
        others = [replace(turn, room=min(turn.room, free // 2)) for turn in others if free > 1]
    left = free - max((turn.room for turn in others), default=0)
    rooms = {queue: min(max(1, left // len(urgent)), limits.get(queue, NO_LIMIT).permits) for queue in urgent}
    return [*(Turn(queue=queue, room=room) for queue, room in rooms.items() if room > 0), *others]


def _rank(queue: str, in_progress: Mapping[str, int], limits: Mapping[str, QueueLimit]) -> tuple[float, int]:
    return in_progress.get(queue, 0) / limits[queue].share, _ORDER[queue]


def _count_room(
    queue: str,
    in_progress: Mapping[str, int],
    limits: Mapping[str, QueueLimit],
    *,
    slots: int,
    free: int,
    alone: bool,
) -> int:
    """Return the slots that a queue may fill that is not urgent; 0 as long as a pass would not be worth its transaction."""
    limit, used = limits[queue], in_progress.get(queue, 0)
    if len(limits) == 1:  # a dispatcher of its own
        return min(free, limit.permits)
    urgent = [name for name, other in limits.items() if other.is_urgent]
    reserve = slots // PARTS if urgent else 0
    kept = max(0, reserve - sum(in_progress.get(name, 0) for name in urgent))
    most = max(1, slots * limit.share // WHOLE)
    quantum = max(1, slots // PARTS)
    room = min(free - kept, quantum, quantum if alone else most - used)
    worth = min(quantum, max(1, most // 2)) if used else 1
    return min(room, limit.permits) if room >= worth else 0
