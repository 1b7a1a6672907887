"""What all tests share: the databases as production uses them, a data folder of their own, and the cast."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.sqlite3.base import DatabaseOperations  # of operations, which needs base loaded first

from mails import jobs
from mercury.lib import database_clock
from providers.tests.builders import SandboxAccount, sandbox_account

guards = import_module("mails.migrations.0002_append_only_events")


def _flush_past_the_guards(self: Any, *arguments: Any, **options: Any) -> list[str]:
    """SQLite's flush is a DELETE, which the guard of the events refuses; PostgreSQL's is a TRUNCATE."""
    return [*guards.SQLITE_BACK, *_flush(self, *arguments, **options), *guards.SQLITE]


_flush = DatabaseOperations.sql_flush
DatabaseOperations.sql_flush = _flush_past_the_guards  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def a_house_of_its_own(settings: Any, tmp_path: Path) -> None:
    """No test sees another's sandbox mail, accounts of the tester's environment, or a clock of a database gone."""
    settings.MERCURY_DATA = tmp_path
    settings.MERCURY_ENVIRONMENT = {}
    database_clock.forget()
    jobs.forget_redis()


@pytest.fixture
def olympus(db: None) -> SandboxAccount:
    """One of the two accounts; it behaves until it is told otherwise."""
    return sandbox_account("olympus")


@pytest.fixture
def hades(db: None) -> SandboxAccount:
    """The other account."""
    return sandbox_account("hades")
