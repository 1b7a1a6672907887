"""Somebody's psql holds locks while emails are sent: what it holds waits, and nothing else does."""

import datetime as dt
import threading
from contextlib import contextmanager

import psycopg2
import pytest
from django.conf import settings
from django.db import connection, transaction

from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import claim
from mails.lifecycle.values import read_state
from mails.maintenance import sweeper
from mails.models import Attempt, Mail, Worker
from mails.states import WORKER_SILENCE, AttemptState, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.transports.sender import Sender

pytestmark = pytest.mark.django_db(transaction=True)
full = pytest.mark.skipif(not settings.REDIS_URL, reason="nobody can lock a row of SQLite")
LOCKS = {
    "the email": "SELECT id FROM mails_mail WHERE id = %s FOR UPDATE",
    "its attempt": "SELECT id FROM mails_attempt WHERE mail_id = %s FOR UPDATE",
    "its recipient": "SELECT id FROM mails_recipient WHERE mail_id = %s FOR UPDATE",
}


@contextmanager
def psql():
    """A session of somebody who begins a transaction and goes for coffee."""
    parameters = connection.get_connection_params()
    names = ("dbname", "user", "host", "port")
    session = psycopg2.connect(**{name: parameters[name] for name in names if name in parameters})
    try:
        yield session
    finally:
        session.rollback()  # which is answered, unlike the end of a session
        session.close()


@full
def test_a_claim_that_is_committed_after_its_worker_gave_up_waiting_is_undone(olympus, monkeypatch):
    """As when PostgreSQL stood still during the commit: it goes on with it later, over a connection that nobody reads."""
    mail = a_mail(delivery_guarantee="at-most-once")
    runner, opened, given_up = Dispatcher(["text"], concurrency=8), threading.Event(), threading.Event()
    planner, plans = runner.claimer.planner, []
    record = planner.record

    def note(selection, recorded, **more):
        plans[:] = recorded
        return record(selection, recorded, **more)

    def commit_late():
        try:
            with transaction.atomic():
                runner.claimer.claim(8)
                opened.set()
                given_up.wait(10)
        finally:
            connection.close()

    monkeypatch.setattr(planner, "record", note)
    late = threading.Thread(target=commit_late)
    late.start()
    assert opened.wait(10)
    planner.unconfirmed += plans
    runner.claimer.undo_unconfirmed()
    given_up.set()
    late.join(10)
    assert reloaded(mail).status == Status.SENDING

    runner.claimer.undo_unconfirmed()

    assert planner.unconfirmed == []
    assert reloaded(mail).status == Status.QUEUED
    assert (mail.attempts.get().state, mail.attempts.get().reason_code) == (AttemptState.REFUSED, "not-called")
    assert dispatch() == 1


@full
@pytest.mark.parametrize("what", LOCKS)
def test_a_locked_row_waits_alone_and_the_results_of_the_others_are_written(olympus, monkeypatch, what):
    mails = [a_mail(subject=f"mail {number}") for number in range(5)]
    written = []
    send = Sender.send

    with psql() as session, session.cursor() as other:

        async def send_under_lock(self, account, message):
            other.execute(LOCKS[what], [mails[0].pk])
            return await send(self, account, message)

        def release_once_the_others_are_done(progress):
            written.append(progress.done)
            if progress.done == len(mails) - 1:
                other.execute("SELECT status FROM mails_mail WHERE id = %s", [mails[0].pk])
                written.append(other.fetchone()[0])
                session.rollback()

        monkeypatch.setattr(Sender, "send", send_under_lock)
        dispatcher = Dispatcher(["text"], concurrency=8, on_progress=release_once_the_others_are_done)
        assert event_loop.run(dispatcher.run(until_idle=True)) == 5

    assert Status.SENDING in written
    assert all(event_names(mail)[-3:] == ["READY TO SEND", "SEND", "DONE"] for mail in mails)
    assert len(olympus.inbox()) == 5


@full
def test_a_locked_lost_email_stops_the_sweep_of_no_other(olympus):
    mails = [a_mail(subject=f"mail {number}") for number in range(3)]
    sent_by("lost")
    with psql() as session, session.cursor() as other:
        other.execute(LOCKS["the email"], [mails[0].pk])
        assert sweeper.sweep() == {"queued again: outcome unknown": 2}
        assert reloaded(mails[0]).status == Status.SENDING

    assert sweeper.sweep() == {"queued again: outcome unknown": 1}


def sent_by(worker):
    """A worker has calls under way."""
    dispatcher = Dispatcher(["text"], concurrency=8, worker=worker)
    dispatcher._open_calls |= {call.attempt.id: call for call in dispatcher.claimer.claim(8).calls}
    return dispatcher


def test_no_lease_ends_under_a_live_heartbeat(olympus):
    mail = a_mail()
    slow = sent_by("slow")
    later = database_clock.now() + settings.MERCURY_LEASE
    Mail.objects.update(lease_expires_at=later - settings.MERCURY_LEASE)
    [call] = slow._open_calls.values()
    state = call.mail.state._replace(lease_expires_at=database_clock.now() + dt.timedelta(seconds=5))
    slow._open_calls[call.attempt.id] = call._replace(mail=call.mail._replace(state=state))
    slow.heartbeat.write()

    assert Worker.objects.get().leases_kept == [str(mail.pk)]
    assert not sweeper.sweep()

    Worker.objects.update(seen_at=database_clock.now() - 2 * WORKER_SILENCE)
    assert sweeper.sweep() == {"queued again: outcome unknown": 1}


def test_a_worker_of_the_version_before_keeps_none(olympus):
    a_mail()
    sent_by("old")
    Worker.objects.create(id="old", started_at=database_clock.now(), seen_at=database_clock.now(), leases_kept=None)
    Mail.objects.update(lease_expires_at=database_clock.now() - dt.timedelta(seconds=1))

    assert sweeper.sweep() == {"queued again: outcome unknown": 1}


def test_fresh_leases_are_not_written_again(olympus):
    a_mail()
    worker = sent_by("busy")
    worker.heartbeat.write()

    assert Worker.objects.get().leases_kept == []


def test_what_nobody_has_locked_is_free(olympus):
    mail = a_mail()
    [call] = sent_by("busy")._open_calls.values()

    assert claim.find_unlocked({mail.pk: call.attempt}) == {mail.pk}


@full
def test_a_lock_surely_undid_the_step_so_that_nothing_has_to_be_undone(olympus, hades):
    olympus.refuse(503)
    hades.refuse(503)
    mail = a_mail()
    dispatcher = sent_by("busy")
    [call] = dispatcher._open_calls.values()
    refused = event_loop.run(outcome_of(call))
    with psql() as session, session.cursor() as other:
        other.execute(LOCKS["the email"], [mail.pk])
        with pytest.raises(Exception, match="lock timeout"):
            event_loop.run(dispatcher.threads.record.run(dispatcher.recorder.record, [refused]))
        assert dispatcher.recorder.planner.unconfirmed == []

    dispatcher.recorder.record([refused])
    assert Attempt.objects.filter(mail=mail, state=AttemptState.OPEN).count() == 1
    event_loop.run(dispatcher.threads.end())


async def outcome_of(call):
    from mails.dispatch.steps.transitions import Result
    from providers.outcomes import FailureClass, Refused

    return Result(
        call=call,
        outcome=Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="no"),
        latency=0.1,
    )


def test_a_database_that_cannot_serve_poisons_no_email(olympus, monkeypatch):
    from django.db import InternalError

    mail = a_mail()

    def read_only(*_, **__):
        error = InternalError("cannot execute UPDATE in a read-only transaction")
        error.__cause__ = ReadOnly()
        raise error

    dispatcher = Dispatcher(["text"], concurrency=8)
    with monkeypatch.context() as refused:
        refused.setattr("mails.dispatch.accounts.account_selection.AccountSelection.choose", read_only)
        with pytest.raises(InternalError):
            dispatcher.claimer.claim(8)

    assert reloaded(mail).status == Status.QUEUED
    assert read_state(reloaded(mail)).claims == 0


class ReadOnly(psycopg2.InternalError):  # type: ignore[misc]
    pgcode = "25006"
