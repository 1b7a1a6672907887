"""Small configuration tables, such as rules, as values that every thread of a process reads without a query.

Each process asks for the versions of all of them with one query every FRESH seconds at most, and reads a table again
only when its version has changed. A change takes effect within that time in every process, and at once in the process that
made it. What was never configured costs no further query.
"""

import time
import uuid
from threading import Lock
from typing import ClassVar, Generic, TypeVar

from django.db import transaction

from mails.models import ConfigurationVersion
from mercury.lib.database import database_clock
from mercury.lib.runtime import process_state

FRESH = 2.0  # seconds for which a process uses what it read

Value = TypeVar("Value")


class Configuration(Generic[Value]):
    """One kind of configuration. A subclass names it, says what it is before anybody configured it, and loads it.

    One object for a process: `process_state.get(RoutingRules).read()`.
    """

    name: ClassVar[str]
    empty: Value  # before the first change

    def __init__(self) -> None:
        self._kept: tuple[uuid.UUID | None, Value] = (None, self.empty)

    def load(self) -> Value:
        """Read the tables. Called by `read` alone, and only when they have changed."""
        raise NotImplementedError

    def read(self) -> Value:
        """Return the configuration as it is, or was FRESH seconds ago at most. Uses the caller's database connection."""
        version = process_state.get(_Versions).get(self.name)
        known, value = self._kept
        if version != known:
            # The version was read first: if the table changes in between, the next look finds a newer version.
            value = self.load() if version is not None else self.empty
            self._kept = (version, value)
        return value


class _Versions:
    """The current versions, as this process knows them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._versions: dict[str, uuid.UUID] = {}
        self._read_at: float | None = None  # monotonic clock; None: read them again, whatever the time
        self._forgotten = 0

    def get(self, name: str) -> uuid.UUID | None:
        if not self._is_fresh:
            self._refresh()
        return self._versions.get(name)

    @property
    def _is_fresh(self) -> bool:
        read_at = self._read_at
        return read_at is not None and time.monotonic() - read_at <= FRESH

    def forget(self) -> None:
        """Read the versions again at the next look."""
        self._forgotten += 1
        self._read_at = None

    def _refresh(self) -> None:
        # While one thread asks, the others use what is known, unless that was forgotten.
        if not self._lock.acquire(blocking=self._read_at is None):
            return
        try:
            if self._is_fresh:  # another thread has just asked
                return
            forgotten, now = self._forgotten, time.monotonic()
            self._versions = dict(ConfigurationVersion.objects.values_list("name", "version"))
            self._read_at = now
            if forgotten != self._forgotten:  # somebody changed one while this was on its way
                self._read_at = None
        finally:
            self._lock.release()


def mark_changed(configuration: type[Configuration[Value]]) -> None:
    """Make a new version of this configuration, in the transaction that changes it."""
    ConfigurationVersion.objects.update_or_create(
        name=configuration.name, defaults={"version": uuid.uuid4(), "changed_at": database_clock.now()}
    )
    forget()
    transaction.on_commit(forget)  # what another thread read in between was the version before


def forget() -> None:
    """Let this process ask for the versions again before it uses what it knows."""
    process_state.get(_Versions).forget()
