"""Database errors that mean "not now": the same statement may succeed later, and nothing is wrong with what was asked.

A client that meets one gets a 503 with Retry-After, a dispatcher waits and goes on. docs/operations.md shows the list.
"""

from django.db import DatabaseError, Error, InterfaceError, OperationalError

# SQLSTATEs of PostgreSQL, and of what speaks its protocol, such as pgbouncer. Two characters are a whole class.
NOT_NOW = {
    "08": "the connection was lost, or could not be opened",
    "25006": "read-only, as a standby is after a failover",
    "25P03": "a transaction was idle for too long",
    "25P04": "a transaction took too long",
    "40001": "another transaction was first (serialization failure)",
    "40003": "whether the statement was completed is not known",
    "40P01": "two transactions waited for each other (deadlock)",
    "53": "out of connections, memory or disk",
    "55006": "the object is in use",
    "55P03": "another transaction holds the lock (lock timeout)",
    "57": "the statement took too long or was cancelled; the server stops, starts or recovers",
    "58": "the server's disk or operating system failed",
}
# Primary result codes of SQLite; the longer ones, such as SQLITE_IOERR_FSYNC, begin with them.
NOT_NOW_SQLITE = {
    "SQLITE_BUSY": "another process holds the file's lock",
    "SQLITE_LOCKED": "another connection holds the table's lock",
    "SQLITE_READONLY": "the file, its folder or its disk may only be read",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk failed",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_NOMEM": "out of memory",
    "SQLITE_PROTOCOL": "the file's lock could not be had",
    "SQLITE_INTERRUPT": "the statement took too long",
}
RETRIED_AT_ONCE = frozenset({"40001", "40P01"})  # their transaction was rolled back, and the next try may well succeed
LOCK_NOT_AVAILABLE = "55P03"


def is_temporary(error: BaseException | None) -> bool:
    """Return whether this is a database error that means "not now"."""
    if not isinstance(error, Error):
        return False
    name = getattr(error.__cause__, "sqlite_errorname", None)
    if name:
        return str(name).startswith(tuple(NOT_NOW_SQLITE))
    code = get_sqlstate(error)
    if code:
        return code in NOT_NOW or code[:2] in NOT_NOW
    # A lost connection has no code, and neither have our own bounds. psycopg2 has a bare DatabaseError for some losses.
    return isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError


def is_lost(error: Error) -> bool:
    """Return whether the connection is of no more use, so that another one may serve at once."""
    if getattr(error.__cause__, "sqlite_errorname", None):
        return False
    code = get_sqlstate(error)
    return code.startswith(("08", "57P")) if code else is_temporary(error)


def is_rolled_back(error: Error) -> bool:
    """Return whether the transaction surely did not happen, since the server itself said so.

    Where the connection was lost, or the server stopped, nobody knows.
    """
    if getattr(error.__cause__, "sqlite_errorname", None):
        return False
    code = get_sqlstate(error)
    return code is not None and not code.startswith(("08", "57P", "40003"))


def is_locked(error: BaseException | None) -> bool:
    """Return whether PostgreSQL gave up to wait for a lock of another transaction."""
    return isinstance(error, Error) and get_sqlstate(error) == LOCK_NOT_AVAILABLE


def get_sqlstate(error: Error) -> str | None:
    """Return PostgreSQL's code of the error, None where there is none."""
    return getattr(error.__cause__, "pgcode", None)


def classify(error: Error) -> str:
    """Return what a database error is, without the statement's values."""
    code = get_sqlstate(error) or getattr(error.__cause__, "sqlite_errorname", None)
    return " ".join(filter(None, (type(error).__name__, code)))
