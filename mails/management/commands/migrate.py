"""Django's `migrate`, one at a time: two at once would both find the same migrations missing, and one would crash."""

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

LOCK = 0x4D_45_52_43_55_52_59  # "MERCURY": any number, if it is the same in every release
BESIDE = ".migrating"  # what the name of SQLite's lock file ends with


class Command(migrate.Command):
    """Migrate; wait for a `migrate` that runs already, and then do what is left, if anything is."""

    def handle(self, *args: Any, **options: Any) -> Any:
        """Migrate behind a lock of the database's."""
        reads_only = options["check_unapplied"] or options["plan"]
        database = connections[options.get("database") or DEFAULT_DB_ALIAS]
        if reads_only:
            return super().handle(*args, **options)
        with self._alone(database, quiet=options["verbosity"] == 0):
            return super().handle(*args, **options)

    @contextmanager
    def _alone(self, database: BaseDatabaseWrapper, *, quiet: bool) -> Iterator[None]:
        def tell() -> None:
            if not quiet:
                self.stderr.write("Another migrate is running; this one waits for its end.")

        lock = _in_postgresql if database.vendor == "postgresql" else _beside_the_file
        with lock(database, tell):
            yield


@contextmanager
def _in_postgresql(database: BaseDatabaseWrapper, tell: Any) -> Iterator[None]:
    """Hold an advisory lock in a transaction of another connection, which pgbouncer lends to nobody else meanwhile."""
    with closing(database.copy()) as other:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(
                "SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_try_advisory_xact_lock(%s)", [LOCK]
            )
            if not cursor.fetchone()[0]:
                tell()
                cursor.execute("SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(%s)", [LOCK])
            yield
        other.rollback()


@contextmanager
def _beside_the_file(database: BaseDatabaseWrapper, tell: Any) -> Iterator[None]:
    """Hold the lock of a file beside SQLite's; a database in memory is nobody else's."""
    name = str(database.settings_dict["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        yield
        return
    with Path(name + BESIDE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
