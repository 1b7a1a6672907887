"""Django's `migrate` behind a lock. Two at once would apply the same migrations, and one would crash."""

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

LOCK = 0x4D_45_52_43_55_52_59  # "MERCURY": any number, but the same in every release
SUFFIX = ".migrating"  # of SQLite's lock file


class Command(migrate.Command):
    """Migrate; wait for a running `migrate` first, then apply what is left."""

    def handle(self, *args: Any, **options: Any) -> Any:
        """Migrate while holding a lock of the database."""
        reads_only = options["check_unapplied"] or options["plan"]
        database = connections[options.get("database") or DEFAULT_DB_ALIAS]
        if reads_only:
            return super().handle(*args, **options)
        with self._lock(database, quiet=options["verbosity"] == 0):
            return super().handle(*args, **options)

    @contextmanager
    def _lock(self, database: BaseDatabaseWrapper, *, quiet: bool) -> Iterator[None]:
        def notify() -> None:
            if not quiet:
                self.stderr.write("Another migrate is running; waiting for it to finish.")

        lock = _lock_postgresql if database.vendor == "postgresql" else _lock_sqlite
        with lock(database, notify):
            yield


@contextmanager
def _lock_postgresql(database: BaseDatabaseWrapper, notify: Any) -> Iterator[None]:
    """Hold an advisory lock in a transaction of another connection, which pgbouncer assigns to no other client."""
    with closing(database.copy()) as other:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(
                "SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_try_advisory_xact_lock(%s)", [LOCK]
            )
            if not cursor.fetchone()[0]:
                notify()
                cursor.execute("SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(%s)", [LOCK])
            yield
        other.rollback()


@contextmanager
def _lock_sqlite(database: BaseDatabaseWrapper, notify: Any) -> Iterator[None]:
    """Hold the lock of a file next to the SQLite file; a database in memory has no other users."""
    name = str(database.settings_dict["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        yield
        return
    with Path(name + SUFFIX).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
