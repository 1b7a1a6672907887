"""Two `migrate` at once, as two containers of a new release begin them."""

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import psycopg2
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from mercury.management.commands.migrate import LOCK, _lock_postgresql, _lock_sqlite
from mercury.tests.instance import ROOT, Instance, create_database

FULL = bool(settings.REDIS_URL)


@contextmanager
def an_empty_database(folder):
    if not FULL:
        yield f"sqlite:///{folder}/mercury.sqlite3"
        return
    with create_database(settings.MERCURY_TEST_DATABASE_URL) as url:
        yield url


def applied(url):
    connect = psycopg2.connect if FULL else lambda url: sqlite3.connect(urlsplit(url).path)
    with closing(connect(url)) as database, closing(database.cursor()) as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        migrations = cursor.fetchall()
        cursor.execute("SELECT content_type_id, codename FROM auth_permission")
        return migrations, cursor.fetchall()


def test_both_succeed_and_nothing_is_recorded_twice(tmp_path):
    with an_empty_database(tmp_path) as url:
        instance = Instance(tmp_path, database_url=url, redis_url="")
        both = [
            subprocess.Popen(
                [sys.executable, "manage.py", "migrate"],
                env=instance.environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        outputs = [process.communicate(timeout=300) for process in both]

        assert [process.returncode for process in both] == [0, 0], outputs
        for rows in applied(url):
            assert len(rows) == len(set(rows)) > 0


@pytest.mark.django_db(transaction=True)
def test_who_comes_second_says_that_it_waits():
    lock = _lock_postgresql if connection.vendor == "postgresql" else _lock_sqlite
    outputs = []
    with lock(connection, pytest.fail):

        def tell():
            outputs.append("waits")
            raise InterruptedError  # in the place of an endless wait

        with pytest.raises(InterruptedError), lock(connection, tell):
            pytest.fail("both were alone")

    assert outputs == ["waits"]
    with lock(connection, pytest.fail):  # it is free again
        pass


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not FULL, reason="a lock of PostgreSQL's")
def test_what_only_looks_waits_for_nobody(capsys):
    with connection.copy().cursor() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        call_command("migrate", "--check", verbosity=0)
        call_command("migrate", "--plan", verbosity=0)
        other.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        other.connection.close()
