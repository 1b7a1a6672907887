"""The commit horizon is an event up to which nothing can commit any more."""

import pytest
from django.db import transaction

from mails.events.commit_horizon import CommitHorizon
from mails.models import Event
from mails.tests.builders import a_mail
from mails.tests.events.overlaps import needs_overlaps, uncommitted

pytestmark = pytest.mark.django_db(transaction=True)


def _append(mail, name: str) -> Event:
    return Event.objects.create(mail=mail, created_at=1, created_by="test", event=name)


def test_without_writers_the_horizon_is_the_last_event():
    event = _append(a_mail(), "seen")

    assert CommitHorizon().advance() == event.pk


@needs_overlaps
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


@needs_overlaps
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


@needs_overlaps
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


@needs_overlaps
def test_a_reader_that_looks_rarely_waits_for_the_transactions_in_progress():
    mail, horizon = a_mail(), CommitHorizon()

    with uncommitted(lambda: _append(mail, "late")) as commit:
        wanted = _append(mail, "seen").pk
        in_vain = horizon.advance_to(wanted, within=0)
        commit.set()
        reached = horizon.advance_to(wanted, within=10)

    assert in_vain is None
    assert reached == wanted == horizon.read_last_id()
