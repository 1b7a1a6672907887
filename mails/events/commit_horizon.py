"""The commit horizon: the event up to which every event has committed, or never will.

An event has its id before its transaction commits, so that a later id may be visible first: a reader of "everything after
the last id that I have" loses the late one. Every transaction that writes events holds a RowExclusiveLock on their table
from before it draws its first id until it ends. So once all transactions that held one when the last id was read have
ended, everything up to that id is there, or will never be. Transactions that write no event, of other databases or
read-only, delay nothing, as they would with the horizon of a snapshot.
"""

import threading
import time
from collections import deque

from django.db import connection

_WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation = 'mails_event'::regclass
"""
_LAST_ID = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"
_LAST_ID_SQLITE = "SELECT seq FROM sqlite_sequence WHERE name = 'mails_event'"
MOST_LOOKS = 64  # that wait for their writers; more would only be finer
LOOK_AGAIN = 0.01  # seconds between two looks of a reader that waits: most transactions are shorter


class CommitHorizon:
    """The horizon as this process knows it. Fit for several threads, each with its own connection."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._looks: deque[tuple[int, frozenset[str]]] = deque()  # the last id then, and who was writing then
        self._lock = threading.Lock()
        self._sequence = ""

    def advance(self) -> int | None:
        """Return the id of the horizon, None if it is not known yet: two small queries, one on SQLite.

        It lags behind the newest event by the transactions in progress. Call it in no transaction: its own event must not
        lie within the horizon before it commits.
        """
        last = self.read_last_id()  # before the writers: one that begins in between draws a later id
        if connection.vendor != "postgresql":
            return last  # one writer at a time: ids commit in order
        writers = _read_writers()
        with self._lock:
            if self._last is not None and last < self._last:  # another server took over without the last commits
                self._last = None
                self._looks.clear()
            if len(self._looks) < MOST_LOOKS:
                self._looks.append((last, writers))
            while self._looks and not self._looks[0][1] & writers:
                self._last = max(self._last or 0, self._looks.popleft()[0])
            return self._last

    def advance_to(self, event_id: int, *, within: float) -> int | None:
        """Advance until the horizon has reached this event, for these seconds at most; return it as `advance` does.

        For readers that look rarely: they would know only which transactions had ended when they looked last.
        """
        ends = time.monotonic() + within
        while True:
            reached = self.advance()
            if (reached is not None and reached >= event_id) or time.monotonic() > ends:
                return reached
            time.sleep(LOOK_AGAIN)

    def read_last_id(self) -> int:
        """Return the last id that an event was given, committed or not; 0 before the first."""
        with connection.cursor() as cursor:
            if connection.vendor != "postgresql":
                cursor.execute(_LAST_ID_SQLITE)
                found = cursor.fetchone()
                return int(found[0]) if found else 0
            if not self._sequence:
                cursor.execute("SELECT pg_get_serial_sequence('mails_event', 'id')")
                self._sequence = cursor.fetchone()[0]
            cursor.execute(_LAST_ID.format(sequence=self._sequence))  # a name from the catalog, quoted by it
            return int(cursor.fetchone()[0])


def _read_writers() -> frozenset[str]:
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS)
        return frozenset(row[0] for row in cursor.fetchall())
