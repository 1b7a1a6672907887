"""Django's SQLite backend, with a queue before the write lock for the threads of this process.

SQLite has no queue of its own: a thread that finds the file locked sleeps, up to 100 ms a time, and tries again. So the
thread that writes most keeps the lock, and the others wait for as long as luck will have it. Other processes still compete so.
"""

import sqlite3
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base

from mercury.lib.database.database_bounds import waits
from mercury.lib.database.fair_sqlite.capitals import CAPITALS, list_capitals
from mercury.lib.runtime import private_files, process_state

LOOK_EVERY = 50_000  # of SQLite's instructions, some 2 ms, between two looks at the time
SHORTEST = 0.1  # seconds that are left to wait for another process, after a wait for threads of this one


class _Turn:
    """A place in the line. The event is also set when the waiting thread's time is over."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.granted = False


class Turns:
    """A lock that is given to threads in the order in which they asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_held = False
        self._waiting: deque[_Turn] = deque()

    def take(self, seconds: float) -> bool:
        """Wait for one's turn; False if it did not come in time."""
        with self._lock:
            if not self._is_held:
                self._is_held = True
                return True
            turn = _Turn()
            self._waiting.append(turn)
        try:
            waits.wait_for(turn.called, seconds)
        finally:
            with self._lock:
                if not turn.granted:
                    self._waiting.remove(turn)
        return turn.granted

    def pass_on(self) -> None:
        """Give the lock to the next in line."""
        with self._lock:
            if self._waiting:
                turn = self._waiting.popleft()
                turn.granted = True
                turn.called.set()
            else:
                self._is_held = False


class TurnsOfFiles(dict[str, Turns]):
    """The lock of each database file, for the threads of this process."""


class Cursor(base.SQLiteCursorWrapper):
    """A cursor whose statements are ended when the time of a request is over."""

    connection: "Connection"

    def execute(self, query: str, params: Any = None) -> Any:
        """Execute one statement."""
        bounds = waits.bounds
        self.connection.may_run_until = time.monotonic() + bounds.statement
        self.connection.wait_for_others(bounds.silence)
        return super().execute(query, params)


class Connection(sqlite3.Connection):
    """SQLite asks it from time to time whether to go on."""

    may_run_until = 0.0  # monotonic clock
    most = 5.0  # seconds, by the settings, that it waits for another process
    _waits = -1.0  # seconds, as SQLite was set last

    def wait_for_others(self, seconds: float) -> None:
        """Let the file's lock be waited for no longer than this, nor than the settings say."""
        seconds = min(seconds, self.most)
        if seconds != self._waits:
            self.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
            self._waits = seconds

    def is_over_time(self) -> bool:
        """Return whether a request has waited long enough; what is sent piece by piece, and commands, may take longer."""
        return waits.bounds.is_request and time.monotonic() > self.may_run_until


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose transactions wait for their turn before BEGIN IMMEDIATE, and pass it on when they end.

    A request, or the dispatcher, waits for a turn and for other processes no longer than its bounds say.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turns: Turns | None = None  # held while a transaction runs

    def get_connection_params(self) -> dict[str, Any]:
        """Return Django's parameters, with the connection that can be asked for the time."""
        parameters: dict[str, Any] = super().get_connection_params()
        return parameters | {"factory": Connection}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open the file; a new one is its owner's alone, and so are those that SQLite creates next to it."""
        name = str(conn_params["database"])
        if not name.startswith(("file:", ":memory:")) and Path(name).parent.is_dir() and not Path(name).exists():
            private_files.touch(Path(name))
        connection = super().get_new_connection(conn_params)
        connection.create_function(CAPITALS, 1, list_capitals, deterministic=True)
        connection.most = self.settings_dict["OPTIONS"].get("timeout", connection.most)
        connection.set_progress_handler(connection.is_over_time, LOOK_EVERY)
        return connection

    def create_cursor(self, name: str | None = None) -> Any:
        """Return a cursor with bounds."""
        assert self.connection is not None  # noqa: S101 (Django has connected)
        return self.connection.cursor(factory=Cursor)

    def _start_transaction_under_autocommit(self) -> None:
        turns = process_state.get(TurnsOfFiles).setdefault(str(self.settings_dict["NAME"]), Turns())
        assert self.connection is not None  # noqa: S101 (a transaction begins)
        seconds = min(self.connection.most, waits.bounds.silence)
        ends = time.monotonic() + seconds
        if not turns.take(seconds):
            raise OperationalError("database is locked: another thread of this process holds it")
        self._turns = turns
        wait = waits.begin(least=SHORTEST)
        try:
            left = ends - time.monotonic()
            self.connection.wait_for_others(seconds if left > seconds - SHORTEST else max(SHORTEST, left))
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._end_turn()
            raise
        finally:
            waits.finish(wait)

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]
        if autocommit:
            self._end_turn()

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]
        self._end_turn()

    def _rollback(self) -> None:
        super()._rollback()  # type: ignore[misc]
        self._end_turn()

    def _close(self) -> None:
        super()._close()  # type: ignore[misc]
        self._end_turn()

    def _end_turn(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.pass_on()
