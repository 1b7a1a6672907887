"""What all tests share: the databases as production uses them, a data folder of their own, and the cast."""

from pathlib import Path
from typing import Any

import pytest
import structlog
from django.conf import settings as django_settings
from django.db.backends.postgresql.base import DatabaseOperations as PostgresqlOperations
from django.db.backends.sqlite3.base import DatabaseOperations as SqliteOperations  # operations needs base first
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from mails.access import rate_limits
from mails.dispatch import wake
from mails.migrations import _database
from mercury.lib.database import database_clock
from providers.tests.support.builders import SandboxAccount, sandbox_account

settings.register_profile("long", max_examples=1000, deadline=None)  # pytest --hypothesis-profile=long

TOGETHER = ("chaos/tests/", "mercury/tests/test_stories.py")


def _flush_sqlite(self: Any, *arguments: Any, **options: Any) -> list[str]:
    """SQLite's flush is a DELETE, which the guard of the events refuses."""
    return [*_database.CHANGEABLE_SQLITE, *_sqlite_flush(self, *arguments, **options), *_database.APPEND_ONLY_SQLITE]


def _flush_postgresql(self: Any, style: Any, tables: list[str], **options: Any) -> list[str]:
    """A DELETE of a few rows takes a tenth of the time that TRUNCATE takes to make all files anew."""
    guard = "ALTER TABLE mails_event {} TRIGGER mails_event_append_only"
    rows = [f'DELETE FROM "{table}"' for table in tables]
    return [guard.format("DISABLE"), *rows, "SET CONSTRAINTS ALL IMMEDIATE", guard.format("ENABLE")] if rows else []


_sqlite_flush = SqliteOperations.sql_flush
SqliteOperations.sql_flush = _flush_sqlite  # type: ignore[method-assign]
PostgresqlOperations.sql_flush = _flush_postgresql  # type: ignore[method-assign]


class Together(LoadScopeScheduling):
    """Shares the tests between processes one by one; those that strike at one rig stay in one process, and come first.

    xdist's own loadgroup does not see its groups under pytest 9.2 (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is the same on both legs takes its time once."""
    if item.get_closest_marker("one_leg") and django_settings.REDIS_URL:
        pytest.skip("the same on both legs: the embedded one runs it")


@pytest.fixture(autouse=True)
def a_house_of_its_own(settings: Any, tmp_path: Path) -> None:
    """No test sees another's sandbox mail, accounts of the tester's environment, a clock of a database gone, or a request's id.

    Passwords are hashed quickly: nearly every page test makes a person, and the slow hash took most of its time.
    """
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MERCURY_DATA = tmp_path
    settings.MERCURY_ENVIRONMENT = {}
    database_clock.forget()
    wake.forget_redis()
    rate_limits.reset()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def olympus(db: None) -> SandboxAccount:
    """One of the two accounts; it behaves until it is told otherwise."""
    return sandbox_account("olympus")


@pytest.fixture
def hades(db: None) -> SandboxAccount:
    """The other account."""
    return sandbox_account("hades")
