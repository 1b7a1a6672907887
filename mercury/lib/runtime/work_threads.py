"""Threads of this process that do database work, pass after pass, until they are asked to stop."""

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog
from django.db import Error, close_old_connections, connections

from mercury.lib.database import database_bounds
from mercury.lib.database.database_errors import classify, is_temporary

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


class WorkThreads:
    """One thread for each piece of work, with database connections of its own. None keeps the process from ending."""

    def __init__(self, work: Mapping[str, Callable[[], object]], *, last_seconds: float) -> None:
        """`work`: by the name of its thread; it returns soon once `stopping` is set. `last_seconds`: that a stop waits for each."""
        self.stopping = threading.Event()
        self._last_seconds = last_seconds
        self._threads = [
            threading.Thread(target=_run, args=(own,), name=name, daemon=True) for name, own in work.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing more."""
        self.stopping.set()

    def stop(self) -> None:
        """Begin nothing more, and wait for what is in progress."""
        self.ask_to_stop()
        for thread in self._threads:
            thread.join(self._last_seconds)
            if thread.is_alive():
                log.warning("thread_not_stopped", thread=thread.name)


def _run(work: Callable[[], object]) -> None:
    try:
        work()
    finally:
        connections.close_all()


def attempt(work: Callable[[], Result], failed: str, **names: str) -> Result | None:
    """Return what the work returns; None if it failed, whatever it was: the next pass is another chance.

    Its waits for the database are bounded as those of maintenance. `failed`: the event that is logged then, with `names`.
    """
    try:
        with database_bounds.limit_work(database_bounds.MAINTENANCE):
            close_old_connections()
            return work()
    except Exception as error:
        if isinstance(error, Error) and is_temporary(error):
            log.warning(failed, **names, error=classify(error))
        else:
            log.exception(failed, **names)
        return None
