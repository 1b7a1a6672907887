"""The commit horizon is an event up to which nothing can commit any more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from mails.events.commit_horizon import CommitHorizon
from mails.models import Event
from mails.tests.builders import a_mail

pytestmark = pytest.mark.django_db(transaction=True)


def _append(mail, name: str) -> Event:
    return Event.objects.create(mail=mail, created_at=1, created_by="test", event=name)


@contextmanager
def uncommitted(work: Callable[[], object]) -> Iterator[threading.Event]:
    """Do the work in a transaction of another thread, which commits when the event is set, or at the end."""
    done, commit = threading.Event(), threading.Event()

    def run() -> None:
        try:
            with transaction.atomic():
                work()
                done.set()
                commit.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert done.wait(10)
    try:
        yield commit
    finally:
        commit.set()
        thread.join(10)


def test_without_writers_the_horizon_is_the_last_event():
    event = _append(a_mail(), "seen")

    assert CommitHorizon().advance() == event.pk


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_an_event_that_commits_late_holds_back_those_behind_it():
    mail, horizon = a_mail(), CommitHorizon()
    before = horizon.advance()

    with uncommitted(lambda: _append(mail, "late")) as commit:
        early = _append(mail, "early")
        while_open = horizon.advance()
        commit.set()
    after = horizon.advance()

    assert while_open == before
    assert after == early.pk
    late = Event.objects.get(event="late")
    assert before < late.pk < early.pk


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_a_writer_that_began_later_holds_back_only_its_own():
    mail, horizon = a_mail(), CommitHorizon()
    with uncommitted(lambda: _append(mail, "first")) as commit:
        horizon.advance()
        with uncommitted(lambda: _append(mail, "second")):
            commit.set()
            while not Event.objects.filter(event="first").exists():
                pass
            reached = horizon.advance()

    assert reached == Event.objects.get(event="first").pk


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_a_writer_of_something_else_holds_back_nothing():
    mail = a_mail()
    event = _append(mail, "seen")

    with uncommitted(lambda: type(mail).objects.filter(pk=mail.pk).update(subject="changed")):
        assert CommitHorizon().advance() == event.pk


def test_rolled_back_events_leave_a_gap_that_holds_back_nothing():
    mail = a_mail()
    with transaction.atomic():
        _append(mail, "never")
        transaction.set_rollback(True)
    event = _append(mail, "seen")

    assert CommitHorizon().advance() == event.pk
