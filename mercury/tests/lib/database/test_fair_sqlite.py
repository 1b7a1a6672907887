import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from mails.models import Worker
from mercury.lib.database.fair_sqlite import base
from mercury.lib.database.fair_sqlite.base import Turns
from mercury.lib.runtime import process_state


def test_turns_come_in_the_order_of_asking():
    turns, order = Turns(), []
    turns.take(0)

    def in_turn(name):
        assert turns.take(10)
        order.append(name)
        turns.pass_on()

    with ThreadPoolExecutor(5) as pool:
        for number in range(5):
            pool.submit(in_turn, number)
            while len(turns._waiting) <= number:
                pass
        turns.pass_on()

    assert order == [0, 1, 2, 3, 4]


def test_who_gives_up_waiting_leaves_the_line():
    turns = Turns()
    turns.take(0)

    assert not turns.take(0.01)

    turns.pass_on()
    assert turns.take(0)


only_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL locks rows, and fairly")


@only_sqlite
@pytest.mark.django_db(transaction=True)
def test_a_request_waits_for_one_transaction_of_a_thread_that_writes_without_a_pause():
    stop, began, written = threading.Event(), threading.Event(), []

    def busy():
        while not stop.is_set():
            with transaction.atomic():
                written.append(0)
                began.set()
                _beat()
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(busy)
        began.wait(10)
        passed = []
        for _ in range(20):
            before = len(written)
            with transaction.atomic():
                passed.append(len(written) - before)
        stop.set()

    # One may be counted late: this thread can lose the processor between its count and its place in the line.
    assert sorted(passed)[-2] <= 2


@only_sqlite
@pytest.mark.django_db(transaction=True)
def test_every_end_of_a_transaction_passes_the_turn_on():
    with transaction.atomic():
        assert _is_held()
    assert not _is_held()

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        1 / 0  # noqa: B018
    assert not _is_held()

    with pytest.raises(DatabaseError):
        _hang_up_in_between()
    assert not _is_held()


@only_sqlite
@pytest.mark.django_db(transaction=True)
def test_who_cannot_begin_holds_no_turn(monkeypatch):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.05)
    held = _turns()
    held.take(0)

    with pytest.raises(OperationalError, match="another thread"), transaction.atomic():
        pass

    held.pass_on()
    assert not _is_held()


def _turns():
    return process_state.get(base.TurnsOfFiles).setdefault(str(connection.settings_dict["NAME"]), Turns())


def _is_held():
    return _turns()._is_held


def _beat():
    Worker.objects.create(id=str(Worker.objects.count()), started_at="2026-11-24T12:00Z", seen_at="2026-11-24T12:00Z")


@transaction.atomic
def _hang_up_in_between():
    connection.close()
    _beat()
