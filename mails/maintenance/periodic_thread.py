"""A thread for work that follows a heartbeat, so that neither the heartbeat nor anything else waits for that work."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import close_old_connections, connections

from mercury.lib.database import database_bounds

log = structlog.get_logger(__name__)

FRESH = 1.0  # seconds; work does not begin with an older heartbeat: this process may have stood still since
LAST_SECONDS = 1.0  # that a stop waits for work in progress, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A heartbeat after which this process may judge others. `at`: when it ended, by the monotonic clock."""

    worker: str
    at: float


class PeriodicThread:
    """A thread with a database connection of its own that works after each heartbeat, and skips those during its work.

    It never keeps a process from ending: the database undoes the transaction in progress.
    """

    def __init__(self, name: str, work: Callable[[Beat], object]) -> None:
        self.name = name
        self._work = work
        self._beat: Beat | None = None
        self._stopping = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to follow heartbeats."""
        self._thread.start()

    def note_heartbeat(self, worker: str) -> None:
        """Have the work done soon. Returns at once, so that an event loop may call it."""
        self._beat = Beat(worker=worker, at=time.monotonic())
        self._changed.set()

    def ask_to_stop(self) -> None:
        """Begin no more work."""
        self._stopping = True
        self._changed.set()

    def stop(self) -> bool:
        """Begin no more work, and return whether the work in progress ended within a second."""
        self.ask_to_stop()
        self._thread.join(LAST_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._changed.wait()
                self._changed.clear()
                beat = self._beat
                if beat is not None and not self._stopping and time.monotonic() - beat.at <= FRESH:
                    self._do(beat)
        finally:
            connections.close_all()

    def _do(self, beat: Beat) -> None:
        try:
            with database_bounds.limit_work(database_bounds.MAINTENANCE):
                close_old_connections()
                self._work(beat)
        except Exception:  # whatever it was, the next heartbeat is another chance
            log.exception("periodic_work_failed", thread=self.name)
