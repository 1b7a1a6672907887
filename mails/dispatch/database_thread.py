"""A thread with a database connection of its own, for the work that would block an event loop."""

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from django.db import Error, close_old_connections, connection, connections

from mercury.lib.database import database_bounds
from mercury.lib.database.database_errors import RETRIED_AT_ONCE, get_sqlstate

CONNECTION_TRUST = 1.0  # seconds after its last answer before the connection is looked at again
Answer = TypeVar("Answer")


class DatabaseThread:
    """A thread that does one piece of work after the other."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._answered_at = float("-inf")  # monotonic clock: the database's last good answer

    async def run(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        """Do the work over a connection that is not known to be broken; deadlocks are tried three times. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run_bounded, work, *arguments)

    async def end(self) -> None:
        """Close the connection and the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, connections.close_all)
        self._thread.shutdown()

    def _run_bounded(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        with database_bounds.limit_work(database_bounds.DISPATCH):
            return self._run_with_retries(work, *arguments)

    def _run_with_retries(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        for tries_left in (2, 1, 0):
            if time.monotonic() - self._answered_at > CONNECTION_TRUST:
                close_old_connections()
            try:
                answer = work(*arguments)
            except Error as error:
                self._answered_at = float("-inf")
                if not tries_left or get_sqlstate(error) not in RETRIED_AT_ONCE:
                    raise
                time.sleep(random.uniform(0.01, 0.05))  # noqa: S311
            else:
                self._answered_at = time.monotonic()
                return answer
        raise AssertionError("the last try returns or raises")


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """The database threads of one dispatcher."""

    claim: DatabaseThread
    record: DatabaseThread
    heartbeat: DatabaseThread  # of its own everywhere: neither a claim nor a result may delay it, nor it them

    @classmethod
    def start(cls) -> "Threads":
        """Return the threads; on SQLite, which has one writer at a time, claims and results share one."""
        claim = DatabaseThread("mercury-claim")
        record = DatabaseThread("mercury-record") if connection.vendor == "postgresql" else claim
        return cls(claim=claim, record=record, heartbeat=DatabaseThread("mercury-heartbeat"))

    async def end(self) -> None:
        """Close the connections and the threads."""
        for thread in {self.claim, self.record, self.heartbeat}:
            await thread.end()
