"""The routes with due emails, as the claim thread of one dispatcher knows them: which to claim from next."""

import datetime as dt
import time
from collections import Counter
from collections.abc import Collection, Sequence

from mails.dispatch.due import routes
from mails.dispatch.due.allotment import Allotment
from mails.dispatch.due.claim import ClaimedMail
from mails.dispatch.due.routes import QueuedRoute

FRESH = 0.1  # seconds that what was read is used for, while claims find enough
ROUTES_PER_LOOK = 512
FEW_ROUTES = 32  # a look at no more of them is cheap enough to be repeated at once …
SECONDS_PER_ROUTE = 0.0002  # … and else follows after this time for each, so that looks take a twentieth of it at most

Key = tuple[str, str]  # queue and route


class DueRoutes:
    """The routes with due emails. Read again by each pass that would otherwise find nothing, else ten times a second."""

    def __init__(self, queues: Sequence[str]) -> None:
        self.seen_at: dt.datetime | None = None  # `now` of the pass that read them last
        self.without_fit: set[str] = set()  # those of which no email is fit for a probe: then any may probe
        self._queues = queues
        self._known: dict[Key, dt.datetime] = {}  # when the first email of each is due
        self._served: Counter[Key] = Counter()  # claims that asked for each
        self._last: dict[str, str] = {}  # by queue: the last route that was read, where more follow
        self._read_at = float("-inf")  # monotonic clock
        self._read = 0
        self._is_exhausted = False

    @property
    def is_stale(self) -> bool:
        """Return True if a pass should read them first."""
        age = time.monotonic() - self._read_at
        return (age > FRESH or self._is_exhausted) and age >= self._rest

    @property
    def seconds_until_look(self) -> float:
        """Return the seconds until they may be read again; 0 unless there are many."""
        return max(0.0, self._read_at + self._rest - time.monotonic())

    @property
    def _rest(self) -> float:
        return 0.0 if self._read <= FEW_ROUTES else self._read * SECONDS_PER_ROUTE

    @property
    def has_more(self) -> bool:
        """Return True if there were too many routes for one look, and the next one goes on behind them."""
        return bool(self._last)

    def look(self, now: dt.datetime) -> None:
        """Read them. Those that claims took from last stay, if not all were read: they may have more."""
        starts = self._last or dict.fromkeys(self._queues, "")
        found = routes.find_routes(starts, limit=ROUTES_PER_LOOK)
        in_use = {key: due_at for key, due_at in self._known.items() if self._served[key]} if self.has_more else {}
        self._last = {route.queue: route.name for route in found} if len(found) == ROUTES_PER_LOOK else {}
        self._known = in_use | {(route.queue, route.name): route.due_at for route in found}
        self._served = Counter({key: times for key, times in self._served.items() if key in self._known})
        self._read_at, self._read, self.seen_at, self._is_exhausted = time.monotonic(), len(found), now, False

    def list_due(self, now: dt.datetime) -> list[QueuedRoute]:
        """Return those with due emails: first the ones that fewer claims asked for, of these those due first."""
        due = [QueuedRoute(*key, due_at) for key, due_at in self._known.items() if due_at <= now]
        return sorted(due, key=lambda route: (self._served[route.queue, route.name], route.due_at))

    def find_next(self, now: dt.datetime) -> dt.datetime | None:
        """Return when the first email of the routes without due ones is due; None if there is none, as far as is known."""
        return min((due_at for due_at in self._known.values() if due_at > now), default=None)

    def note_claimed(self, allotment: Allotment, mails: Collection[ClaimedMail]) -> bool:
        """Note what a claim found, and return True if there may be more: forget the routes that it emptied."""
        found = Counter((mail.queue, mail.route_name) for mail in mails if not mail.is_quarantined)
        of_queues = Counter(mail.queue for mail in mails)
        full = {queue for queue, limit in allotment.limits.items() if of_queues[queue] >= limit}
        is_more = allotment.is_cut or bool(full)
        for branch in allotment.branches:
            key, is_full = (branch.queue, branch.route), branch.queue in full
            if branch.fit_for_probe and not found[key] and not is_full:
                self.without_fit.add(branch.route)
                is_more = True
            elif found[key] < branch.limit and not is_full:
                self._known.pop(key, None)
                self.without_fit.discard(branch.route)
            else:
                is_more = True
            self._served[key] += 1
        self._is_exhausted = not is_more
        return is_more
