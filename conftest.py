"""Shared by all tests: the databases as production uses them, a data folder per test, and the cast."""

import gc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.apps import apps
from django.conf import settings as django_settings
from django.core.management.color import no_style
from django.db import connection
from django.db.backends.postgresql.base import DatabaseOperations as PostgresqlOperations
from django.db.backends.sqlite3.base import DatabaseOperations as SqliteOperations  # operations needs base first
from django.test import TransactionTestCase
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from mails.migrations import _database
from providers.tests.support.builders import SandboxAccount, sandbox_account

settings.register_profile("long", max_examples=1000, deadline=None)  # pytest --hypothesis-profile=long

IN_ONE_PROCESS = ("chaos/tests/", "mercury/tests/test_stories.py")
# Without a database fixture, these tests reach neither database nor Redis: both legs would run the same code.
SAME_ON_BOTH_LEGS = (
    *("providers/tests/", "mercury/tests/lib/", "mercury/tests/management/test_common_options.py"),
    *("mails/tests/conditions/", "mails/tests/intake/", "mails/tests/message/", "mails/tests/reporting/"),
    *(
        "mails/tests/suppression/",
        "mails/tests/dispatch/test_retry_policy.py",
        "mails/tests/dispatch/test_queue_turns.py",
    ),
)
DIFFERENT_ON_EACH_LEG = "mercury/tests/lib/database/"
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup"}


def _flush_sqlite(self: Any, *arguments: Any, **options: Any) -> list[str]:
    """Lift the guard of the events around SQLite's flush, which is a DELETE."""
    return [*_database.CHANGEABLE_SQLITE, *_sqlite_flush(self, *arguments, **options), *_database.APPEND_ONLY_SQLITE]


def _flush_postgresql(self: Any, style: Any, tables: list[str], **options: Any) -> list[str]:
    """Delete the rows: with few of them, that is ten times faster than TRUNCATE, which creates all files again."""
    guard = "ALTER TABLE mails_event {} TRIGGER mails_event_append_only"
    rows = [f'DELETE FROM "{table}"' for table in tables]
    return [guard.format("DISABLE"), *rows, "SET CONSTRAINTS ALL IMMEDIATE", guard.format("ENABLE")] if rows else []


_sqlite_flush = SqliteOperations.sql_flush
SqliteOperations.sql_flush = _flush_sqlite  # type: ignore[method-assign]
PostgresqlOperations.sql_flush = _flush_postgresql  # type: ignore[method-assign]


@cache
def _list_tables() -> list[str]:
    """Return the tables that tests fill: all but those of content types and permissions, which belong to the schema."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return [table for table in tables if table not in {"django_content_type", "auth_permission"}]


def _empty_tables(self: TransactionTestCase) -> None:
    """Empty the tables after a test that has committed.

    Django's own way runs `manage.py flush`, which deletes content types and permissions too, and makes all of them again.
    """
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), _list_tables()))


TransactionTestCase._fixture_teardown = _empty_tables  # type: ignore[attr-defined]
if connection.vendor == "sqlite":  # no test pulls the plug: a commit need not wait for the disk
    connection.settings_dict["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"


class OneByOneScheduling(LoadScopeScheduling):
    """Distributes the tests one by one; tests that share a testbed stay in one process, and come first.

    xdist's own loadgroup does not see its groups under pytest 9.2 (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in IN_ONE_PROCESS if nodeid.startswith(folder)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneByOneScheduling:
    return OneByOneScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Collect no garbage while the tests are imported: nearly all of it stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave out of garbage collection what is imported by now: to look through half a million objects takes half a second."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests that are the same on both legs out of the full leg: the embedded leg runs them."""
    if not django_settings.REDIS_URL:
        return
    left_out = {item for item in items if item.get_closest_marker("one_leg") or _is_same_on_both_legs(item)}
    config.hook.pytest_deselected(items=[*left_out])
    items[:] = [item for item in items if item not in left_out]


def _is_same_on_both_legs(item: pytest.Item) -> bool:
    """Return True if the test is in one of these folders and uses no database, so that no leg can change its result."""
    is_listed = item.nodeid.startswith(SAME_ON_BOTH_LEGS) and not item.nodeid.startswith(DIFFERENT_ON_EACH_LEG)
    needs_database = (
        item.get_closest_marker("django_db") is not None
        or item.get_closest_marker("full") is not None
        or not DATABASE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or issubclass(getattr(item, "cls", None) or object, TransactionTestCase)
    )
    return is_listed and not needs_database


def begin_process() -> None:
    """Forget what this process knows and has counted, as another process does that begins."""
    apps.get_app_config("mercury").begin_process()  # type: ignore[attr-defined]


@pytest.fixture(name="begin_process")
def begin_process_again() -> Callable[[], None]:
    """Return a function after which this process knows as little as one that begins."""
    return begin_process


@pytest.fixture(autouse=True)
def isolate_instance(settings: Any, tmp_path: Path) -> None:
    """Hide other tests' sandbox mail, the tester's own accounts, the state of the process and request ids.

    Passwords are hashed fast: nearly every page test creates a user, and the slow hash took most of its time.
    """
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MERCURY_DATA = tmp_path
    settings.MERCURY_ENVIRONMENT = {}
    begin_process()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def olympus(db: None) -> SandboxAccount:
    """One of the two accounts; it accepts email until a test makes it fail."""
    return sandbox_account("olympus")


@pytest.fixture
def hades(db: None) -> SandboxAccount:
    """The other account."""
    return sandbox_account("hades")
