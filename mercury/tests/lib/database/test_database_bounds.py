import threading
import time
from contextlib import contextmanager

import psycopg2
import pytest
from django.conf import settings
from django.db import Error, OperationalError, connection, transaction
from django.db.backends.postgresql import base

from mails.models import PeriodicTask
from mercury.lib.database import database_bounds, database_errors
from mercury.lib.database.bounded_postgresql import base as bounded_postgresql
from mercury.lib.database.database_bounds import COMMAND, DISPATCH, Bounds, Waits
from providers.tests.support.limits_of_this_process import no_descriptor_left

full = pytest.mark.skipif(not settings.REDIS_URL, reason="PostgreSQL's")
SOON = Bounds(lock=0.1, statement=0.2, silence=0.4)


@contextmanager
def psql():
    """Somebody else's session."""
    parameters = connection.get_connection_params()
    other = psycopg2.connect(
        **{name: parameters[name] for name in ("dbname", "user", "host", "port") if name in parameters}
    )
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


def ask(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


@full
@pytest.mark.django_db(transaction=True)
def test_a_locked_row_is_waited_for_no_longer_than_the_bound():
    PeriodicTask.objects.create(name="sweep")
    with psql() as other, database_bounds.limit_work(SOON):
        other.execute("SELECT * FROM mails_periodictask FOR UPDATE")
        with pytest.raises(OperationalError) as raised:
            PeriodicTask.objects.update(leader="zeus")

    assert database_errors.is_locked(raised.value)


@full
@pytest.mark.django_db(transaction=True)
def test_a_locked_table_is_waited_for_no_longer_than_the_bound_inside_a_transaction_too():
    with psql() as other, database_bounds.limit_work(SOON), transaction.atomic():
        ask("SELECT 1")
        other.execute("LOCK TABLE mails_periodictask")
        with pytest.raises(OperationalError) as raised, transaction.atomic():
            PeriodicTask.objects.exists()

        assert database_errors.is_locked(raised.value)
        assert ask("SELECT 1") == (1,)  # the transaction around goes on, and is ended as usual


@full
@pytest.mark.django_db(transaction=True)
def test_a_statement_runs_no_longer_than_the_bound():
    with database_bounds.limit_work(SOON), pytest.raises(OperationalError) as raised:
        ask("SELECT pg_sleep(30)")

    assert database_errors.get_sqlstate(raised.value) == "57014"


@full
@pytest.mark.django_db(transaction=True)
def test_bounds_leave_nothing_behind_in_a_session_that_is_lent_to_others():
    with database_bounds.limit_work(SOON):
        inside = ask("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        with transaction.atomic():
            ask("SELECT 1")
            in_transaction = ask("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")

    with psycopg2_session() as outside:
        assert inside == in_transaction == ("100ms", "200ms")
        assert outside == ("0", "0")


@contextmanager
def psycopg2_session():
    """What the session itself has, past our cursor."""
    with psycopg2.extensions.cursor(connection.connection) as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        yield cursor.fetchone()


@full
@pytest.mark.django_db(transaction=True)
def test_a_command_may_run_what_postgresql_runs_on_its_own_only():
    with connection.cursor() as cursor:
        cursor.execute("VACUUM mails_periodictask")
        cursor.execute("CREATE INDEX CONCURRENTLY nowhere ON mails_periodictask (leader)")
        cursor.execute("DROP INDEX CONCURRENTLY nowhere")


@full
@pytest.mark.django_db(transaction=True)
def test_a_silent_server_is_left_and_the_next_question_finds_another_connection():
    silent = Bounds(lock=60, statement=60, silence=0.3)  # as if the server forgot its own bounds
    began = time.monotonic()
    with database_bounds.limit_work(silent), pytest.raises(OperationalError, match="did not answer within") as raised:
        ask("SELECT pg_sleep(2)")
    connection.close_if_unusable_or_obsolete()

    assert time.monotonic() - began < 10
    assert database_errors.is_temporary(raised.value)
    assert ask("SELECT 1") == (1,)


@full
@pytest.mark.parametrize(("altogether", "seconds"), [(60.0, 3), (2.6, 2), (1.0, 2)])
def test_a_request_waits_for_a_connection_no_longer_than_it_may(altogether, seconds, monkeypatch):
    asked = []
    monkeypatch.setattr(base.DatabaseWrapper, "get_new_connection", lambda self, parameters: asked.append(parameters))

    with database_bounds.limit_work(Bounds(lock=1, altogether=altogether)):
        connection.get_new_connection(connection.get_connection_params())

    assert [parameters["connect_timeout"] for parameters in asked] == [seconds]


@full
def test_a_request_without_a_second_left_opens_no_connection():
    with (
        database_bounds.limit_work(Bounds(lock=1, altogether=0.9)),
        pytest.raises(OperationalError, match="all the time"),
    ):
        connection.get_new_connection(connection.get_connection_params())


@pytest.mark.django_db
def test_a_request_has_a_bound_for_all_its_questions_together():
    with database_bounds.limit_work(Bounds(lock=1, altogether=0.0)), pytest.raises(Error, match="all the time"):
        database_bounds.waits.begin()


def test_work_inside_other_work_has_bounds_of_its_own():
    waits = Waits()
    with waits.limit(DISPATCH):
        with waits.limit(SOON):
            assert waits.bounds is SOON
        assert waits.bounds is DISPATCH
    assert waits.bounds is COMMAND


def request(**bounds):
    return Bounds(lock=1, is_request=True, **bounds)


def test_more_requests_than_may_wait_long_are_ended_and_new_ones_refused():
    waits, ended = Waits(), []
    waits.most = 2
    with waits.limit(request()):
        begun = [waits.begin(lambda number=number: ended.append(number)) for number in range(4)]
        waits.look(begun[-1].began + 2 * database_bounds.CROWDED_AFTER)
        for wait in begun:
            wait.began -= 2 * database_bounds.CROWDED_AFTER
        with pytest.raises(OperationalError, match="too many requests"):
            waits.begin()

    assert ended == [2, 3]


def test_requests_that_wait_for_a_moment_are_refused_nothing():
    waits = Waits()
    waits.most = 1
    with waits.limit(request()):
        begun = [waits.begin(pytest.fail) for _ in range(8)]
        waits.look(begun[-1].began)

    assert [wait.ended for wait in begun] == [""] * 8


def test_the_dispatcher_counts_as_no_request():
    waits = Waits()
    waits.most = 1
    with waits.limit(DISPATCH):
        for _ in range(3):
            waits.begin().began -= 5
    with waits.limit(request()):
        waits.finish(waits.begin())


def test_who_waits_for_another_thread_is_called_when_the_time_is_over():
    waits, event = Waits(), threading.Event()
    with waits.limit(request(silence=0.05)):
        waits.wait_for(event)

    assert event.is_set()


def test_a_last_word_is_never_refused():
    waits = Waits()
    with waits.limit(request(altogether=0.0)):
        waits.finish(waits.begin(least=0.5))


def test_a_wait_that_cannot_be_ended_is_tried_again_and_keeps_no_other_waiting():
    waits, ended, failures = Waits(), [], iter([OSError("not connected")])

    def end():
        for failure in failures:
            raise failure
        ended.append("first")

    with waits.limit(request(silence=0.1)):
        first, _ = waits.begin(end), waits.begin(lambda: ended.append("second"))
        waits.look(first.began + 1)
        assert (ended, first.ended) == (["second"], "")
        waits.look(first.began + 2)

    assert ended == ["second", "first"]
    assert "did not answer" in first.ended


@full
@pytest.mark.django_db(transaction=True)
def test_a_silent_server_is_given_up_by_a_process_without_a_descriptor():
    ask("SELECT 1")
    with no_descriptor_left():
        bounded_postgresql._close_if_broken(connection.connection)()

    with pytest.raises(Error):
        ask("SELECT 1")
    connection.close()
