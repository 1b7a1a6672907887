"""Bounds on waiting for the database, different for a request, the dispatcher, maintenance and a command.

PostgreSQL itself ends a statement that waits for a lock, or runs, for too long (`lock`, `statement`). A server that is
silent, such as a stopped one whose kernel still answers, ends nothing: a thread of this process looks ten times a
second at who waits, and closes the connection of those whose time is over (`silence`, `altogether`).
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import structlog
from django.db import OperationalError

log = structlog.get_logger(__name__)

TICK = 0.1  # seconds between two looks at who waits
CROWDED_AFTER = 1.0  # seconds; who waits longer counts for the bound of `Waits.most`


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds that one kind of work waits for the database; infinite where there is no bound."""

    lock: float  # of a statement for another transaction's lock
    statement: float = math.inf  # of a statement
    silence: float = math.inf  # for an answer to one statement, also of a server that does nothing any more
    altogether: float = math.inf  # for all answers that one request needs
    is_request: bool = False  # many of them may come at once, so that their number is bounded too
    reads_by_index: bool = (
        False  # all its statements find few rows: PostgreSQL reads no whole table, whatever it estimates
    )


def get_request_bounds(statement: float) -> Bounds:
    """Return the bounds of a web request: it is answered within 5 s where a statement may take 3."""
    return Bounds(
        lock=min(2.0, statement),
        statement=statement,
        silence=statement + 0.5,
        altogether=statement + 0.5,
        is_request=True,
    )


STREAM = Bounds(lock=2.0, statement=30.0, silence=32.0)  # of an answer that is being sent piece by piece
DISPATCH = Bounds(lock=1.0, statement=5.0, silence=6.0, reads_by_index=True)  # less than a heartbeat may be late
MAINTENANCE = Bounds(lock=1.0, statement=30.0, silence=32.0)
COMMAND = Bounds(lock=10.0)  # a migration rewrites tables for hours, but must not queue before all others for long


class _Work(threading.local):
    """The work of this thread."""

    bounds: Bounds | None = None  # None: the process's own
    waited: float = 0.0  # seconds, since it began


class DatabaseWait:
    """One thread that waits for one answer. `ended`: why it was ended, empty while it was not."""

    __slots__ = ("_end", "began", "ended", "is_request", "until")

    def __init__(self, *, began: float, until: float, is_request: bool, end: Callable[[], None] | None) -> None:
        self.began = began
        self.until = until
        self.is_request = is_request
        self.ended = ""
        self._end = end

    def give_up(self, why: str) -> None:
        """End it, if it can be ended from outside. If that fails, the next look tries again: others wait, too."""
        if self.ended or self._end is None:
            return
        self.ended = why
        try:
            self._end()
        except Exception as error:  # noqa: BLE001 (the one thread that looks must not end)
            self.ended = ""
            log.warning("wait_not_ended", error=type(error).__name__)


class Waits:
    """The threads of this process that wait for the database.

    `most`: requests that may wait for longer than a second; any more are refused at once, so that some threads of a web
    process stay free, and a client that comes later has not to wait for those before it. None: no bound.
    """

    def __init__(self) -> None:
        self.most: int | None = None
        self.default = COMMAND
        self._lock = threading.Lock()
        self._waiting: set[DatabaseWait] = set()
        self._watch: threading.Thread | None = None
        self._pid = 0
        self._somebody = threading.Event()
        self._work = _Work()

    @property
    def bounds(self) -> Bounds:
        """Return the bounds of what this thread does."""
        return self._work.bounds or self.default

    @property
    def seconds_left(self) -> float:
        """Seconds that what this thread does may still wait; infinite where it has no bound."""
        return self.bounds.altogether - self._work.waited

    @contextmanager
    def limit(self, bounds: Bounds) -> Iterator[None]:
        """Bound what this thread does inside."""
        before, waited = self._work.bounds, self._work.waited
        self._work.bounds, self._work.waited = bounds, 0.0
        try:
            yield
        finally:
            self._work.bounds, self._work.waited = before, waited

    def begin(self, end: Callable[[], None] | None = None, *, least: float = 0.0) -> DatabaseWait:
        """Begin to wait; `finish` must follow. `end` is called in another thread once the time is over.

        Raises OperationalError at once if this request has no time left, or if too many wait already. What must be said
        all the same, such as ROLLBACK, has `least` seconds in any case.
        """
        bounds, now = self.bounds, time.monotonic()
        left = max(least, min(bounds.silence, self.seconds_left))
        if left <= 0:
            raise OperationalError("The database used all the time of this request.")
        if bounds.is_request and not least and self._is_crowded(now):
            raise OperationalError("The database is slow, and too many requests already wait for it.")
        wait = DatabaseWait(began=now, until=now + left, is_request=bounds.is_request, end=end)
        with self._lock:
            self._waiting.add(wait)
        if left < math.inf:
            self._keep_watch()
        return wait

    def finish(self, wait: DatabaseWait) -> None:
        """End the wait: the answer has arrived, or never will."""
        with self._lock:  # so that nobody closes a connection that has just been given another task
            self._waiting.discard(wait)
        self._work.waited += time.monotonic() - wait.began

    def wait_for(self, event: threading.Event, seconds: float = math.inf) -> None:
        """Wait until the event is set or the time is over, as if for an answer of the database.

        The event may also be set because this request's time is over: ask its owner what happened.
        """
        wait = self.begin(event.set)
        try:
            event.wait(None if seconds == math.inf else seconds)
        finally:
            self.finish(wait)

    def _is_crowded(self, now: float) -> bool:
        if self.most is None:
            return False
        with self._lock:
            return sum(wait.is_request and now - wait.began > CROWDED_AFTER for wait in self._waiting) >= self.most

    def _keep_watch(self) -> None:
        if self._watch is None or self._pid != os.getpid():  # a child of this process has no threads of its parent
            self._pid = os.getpid()
            self._watch = threading.Thread(target=self._keep_looking, name="mercury-database-bounds", daemon=True)
            self._watch.start()
        if not self._somebody.is_set():
            self._somebody.set()

    def _keep_looking(self) -> None:
        while self._somebody.wait():
            time.sleep(TICK)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """End the waits whose time is over, and those that are too many."""
        with self._lock:
            waiting = sorted(self._waiting, key=lambda wait: wait.began)
            if not waiting:
                self._somebody.clear()
                return
            long = [wait for wait in waiting if wait.is_request and now - wait.began > CROWDED_AFTER]
            surplus = set() if self.most is None else set(long[self.most :])
            for wait in waiting:
                if now >= wait.until:
                    wait.give_up(f"The database did not answer within {now - wait.began:.1f} s.")
                elif wait in surplus:
                    wait.give_up("The database is slow, and too many requests already wait for it.")


waits = Waits()


def limit_work(bounds: Bounds) -> AbstractContextManager[None]:
    """Bound what this thread asks the database inside."""
    return waits.limit(bounds)
