"""Django's PostgreSQL backend with bounds for every statement: for a lock, for its time, for a server's silence.

The bounds travel with the first statement of a transaction, as SET LOCAL in the same message, and end with it. So they
cost no round trip, may differ from thread to thread, and leave nothing behind in a session that pgbouncer lends to
others. Options at the start of a session, which pgbouncer refuses, would do neither.
"""

import math
import re
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import psycopg2.extensions
from django.db import OperationalError
from django.db.backends.postgresql import base
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from mercury.lib.database.database_bounds import Bounds, waits

LEAST_TO_CONNECT = 1.0  # seconds
LAST_WORD = 0.5  # seconds for COMMIT and ROLLBACK, also where a request has no time left

# What PostgreSQL refuses together with other statements; nothing but commands uses it.
_ALONE = re.compile(
    r"\s*(VACUUM|ALTER\s+SYSTEM|(CREATE|DROP|ALTER)\s+(DATABASE|TABLESPACE)|(CREATE|DROP|REINDEX)\b.*\bCONCURRENTLY)",
    re.IGNORECASE | re.DOTALL,
)


@lru_cache(maxsize=64)
def _build_prefix(bounds: Bounds) -> str:
    """Return the statements that set the bounds in PostgreSQL; always the same text for the same kind of work."""
    limits = {"lock_timeout": bounds.lock, "statement_timeout": bounds.statement}
    settings = [f"{name} = {round(seconds * 1000)}" for name, seconds in limits.items() if seconds < math.inf]
    if bounds.reads_by_index:
        # Without statistics of a table that has just grown, it would read all of it, at each pass. A plan that cannot do
        # without a whole table counts as so dear that it would be compiled first.
        settings += ["enable_seqscan = off", "jit = off"]
    return "".join(f"SET LOCAL {setting}; " for setting in settings)


class Cursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    """A cursor whose statements have bounds."""

    def execute(self, query: Any, parameters: Any = None) -> None:
        """Execute one statement within the bounds of what this thread does."""
        with _LimitedStatement(self.connection):
            super().execute(self._add_bounds(query), parameters)

    def executemany(self, query: Any, parameters: Any) -> None:
        """Execute one statement for each of the parameters; a bound is one for all of them."""
        with _LimitedStatement(self.connection):
            super().executemany(self._add_bounds(query), parameters)

    def _add_bounds(self, query: Any) -> Any:
        if self.name or self.connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            return query  # its transaction has them
        text = (
            query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string(self)
        )
        return text if _ALONE.match(text) else _build_prefix(waits.bounds) + text


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that waits for nothing longer than it may."""

    def get_connection_params(self) -> dict[str, Any]:
        """Return Django's parameters, with the cursor that has bounds."""
        parameters: dict[str, Any] = super().get_connection_params()
        return parameters | {"cursor_factory": Cursor}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open a connection; libpq bounds that by `connect_timeout`, whole seconds and 2 at least.

        Raises OperationalError at once where a request has no second left: it could not end the wait for a silent server.
        """
        wait = waits.begin()
        left = waits.seconds_left
        try:
            if left < LEAST_TO_CONNECT:
                raise OperationalError("The database used all the time of this request.")
            if left < math.inf:
                longest = conn_params.get("connect_timeout", math.inf)
                conn_params = conn_params | {"connect_timeout": min(longest, max(2, int(left)))}
            return super().get_new_connection(conn_params)
        finally:
            waits.finish(wait)

    def _commit(self) -> None:
        if self.connection is not None:
            with self.wrap_database_errors, _LimitedStatement(self.connection, least=LAST_WORD):
                super()._commit()  # type: ignore[misc]

    def _rollback(self) -> None:
        if self.connection is not None:
            with self.wrap_database_errors, _LimitedStatement(self.connection, least=LAST_WORD):
                super()._rollback()  # type: ignore[misc]


class _LimitedStatement:
    """Around the wait for an answer; an error of a wait whose time was over says so."""

    __slots__ = ("_connection", "_least", "_wait")

    def __init__(self, connection: Any, *, least: float = 0.0) -> None:
        self._connection = connection
        self._least = least

    def __enter__(self) -> None:
        self._wait = waits.begin(_close_if_broken(self._connection), least=self._least)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        waits.finish(self._wait)
        if isinstance(error, Exception) and self._wait.ended:
            raise psycopg2.OperationalError(self._wait.ended) from error


def _close_if_broken(connection: Any) -> Callable[[], None]:
    """Return what ends a wait for this connection, from another thread: libpq reads the end of the stream."""

    def close() -> None:
        if connection.closed:
            return
        stream = socket.socket(
            fileno=connection.fileno()
        )  # no copy, which a process without descriptors could not have
        try:
            stream.shutdown(socket.SHUT_RDWR)
        finally:
            stream.detach()

    return close
