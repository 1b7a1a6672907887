import re
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import psycopg2
import pytest
from django.conf import settings
from django.db import DatabaseError, Error, IntegrityError, InterfaceError, InternalError, OperationalError, connection
from django.test import Client

from mercury.lib.database import database_errors
from mercury.lib.database.database_errors import NOT_NOW, NOT_NOW_SQLITE

# Each code of the list, and one of each class.
CODES = [code if len(code) == 5 else f"{code}000" for code in NOT_NOW]
ASKED_FOR = {
    "read-only": "25006",
    "lock timeout": "55P03",
    "statement timeout": "57014",
    "too many connections": "53300",
    "shutdown": "57P01",
    "crash": "57P02",
    "recovery": "57P03",
    "serialization": "40001",
    "deadlock": "40P01",
    "disk full": "53100",
    "connection lost": "08006",
}
FAULTS_OF_WHAT_WAS_ASKED = ("22001", "23505", "42P01", "42601", "22P02", "25P02", "XX000")


def raised_by_postgresql(code):
    with pytest.raises(Error) as raised, connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
    return raised.value


def of_sqlite(name, kind=OperationalError):
    cause = sqlite3.OperationalError("no")
    cause.sqlite_errorname = name
    error = kind("no")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("code", [*CODES, *ASKED_FOR.values()])
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not settings.REDIS_URL, reason="SQLSTATEs are PostgreSQL's")
def test_what_postgresql_cannot_do_now_is_not_now_whatever_django_calls_it(code):
    assert database_errors.is_temporary(raised_by_postgresql(code))


@pytest.mark.parametrize("code", FAULTS_OF_WHAT_WAS_ASKED)
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not settings.REDIS_URL, reason="SQLSTATEs are PostgreSQL's")
def test_what_is_wrong_with_a_statement_stays_wrong(code):
    assert not database_errors.is_temporary(raised_by_postgresql(code))


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not settings.REDIS_URL, reason="read-only sessions are PostgreSQL's")
def test_a_read_only_postgresql_is_not_now():
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        try:
            with pytest.raises(InternalError) as raised:
                cursor.execute("CREATE TABLE nowhere (id int)")
        finally:
            cursor.execute("SET default_transaction_read_only = off")

    assert database_errors.is_temporary(raised.value)
    assert database_errors.classify(raised.value) == "InternalError 25006"


@pytest.mark.parametrize(
    "name", [*NOT_NOW_SQLITE, "SQLITE_BUSY_SNAPSHOT", "SQLITE_IOERR_FSYNC", "SQLITE_READONLY_DBMOVED"]
)
def test_what_sqlite_cannot_do_now_is_not_now(name):
    assert database_errors.is_temporary(of_sqlite(name))


@pytest.mark.parametrize(
    "name", ["SQLITE_ERROR", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_MISUSE"]
)
def test_sql_that_is_wrong_or_a_broken_file_is_no_matter_of_time(name):
    assert not database_errors.is_temporary(of_sqlite(name))
    assert not database_errors.is_temporary(of_sqlite(name, DatabaseError))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("gone"), True),
        (InterfaceError("connection already closed"), True),
        (DatabaseError("error with status PGRES_TUPLES_OK and no message from the libpq"), True),
        (IntegrityError("twice"), False),
        (InternalError("what?"), False),
        (ValueError("no"), False),
        (None, False),
    ],
)
def test_a_loss_without_a_code_is_not_now_and_no_other_error_is(error, expected):
    assert database_errors.is_temporary(error) is expected


@pytest.mark.parametrize(
    ("code", "lost"), [("57P01", True), ("08006", True), (None, True), ("55P03", False), ("25006", False)]
)
def test_only_a_lost_connection_is_worth_another_one(code, lost):
    error = OperationalError("no")
    error.__cause__ = SimpleCause(code)

    assert database_errors.is_lost(error) is lost


class SimpleCause(psycopg2.OperationalError):  # type: ignore[misc]
    pgcode = None

    def __init__(self, code):
        self.pgcode = code


def test_a_lock_that_was_not_given_is_known_as_one():
    error = OperationalError("no")
    error.__cause__ = SimpleCause("55P03")

    assert database_errors.is_locked(error)
    assert not database_errors.is_locked(OperationalError("gone"))
    assert not database_errors.is_locked(SimpleNamespace(__cause__=SimpleCause("55P03")))


@pytest.mark.parametrize("path", ["/api/v1.0/mails/", "/health/ready", "/login/", "/", "/admin/"])
@pytest.mark.parametrize("code", ["25006", "57014", "55P03"])
@pytest.mark.django_db
def test_every_door_answers_503_with_retry_after(monkeypatch, path, code):
    from django.db.backends.utils import CursorWrapper

    def refuse(self, *_arguments, **_options):
        error = InternalError("no")
        error.__cause__ = SimpleCause(code)
        raise error

    monkeypatch.setattr(CursorWrapper, "execute", refuse)
    post = path == "/login/"
    client = Client(raise_request_exception=False)
    key = f"Bearer mk_{'a' * 8}_{'b' * 43}"
    client.cookies["sessionid"] = "a" * 32
    answer = (
        client.post(path, {"username": "zeus", "password": "x"})
        if post
        else client.get(path, headers={"Authorization": key})
    )

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_the_documented_list_is_the_list():
    page = Path(settings.BASE_DIR, "docs/operations.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", page, re.MULTILINE)

    assert {
        code: words for code, words in rows if code in NOT_NOW or code in NOT_NOW_SQLITE
    } == NOT_NOW | NOT_NOW_SQLITE
