"""A dispatcher that stops, commits that are not confirmed, and probes of open breakers."""

import datetime as dt
from contextlib import contextmanager

import pytest
from django.db import OperationalError

from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import claim
from mails.dispatch.steps import transitions
from mails.dispatch.steps.transitions import Result
from mails.lifecycle import writer
from mails.maintenance import sweeper
from mails.models import Worker
from mails.states import HoldReason, Status
from mails.tests.builders import NOT_CALLED, a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.models import Breaker, BreakerState
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Refused
from providers.transports.sender import Sender

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_dispatcher_says_goodbye(olympus):
    a_mail()

    dispatch()

    assert not Worker.objects.exists()


def test_a_stopped_dispatcher_ends_its_calls_and_claims_nothing_more(olympus, monkeypatch):
    first, second = a_mail(subject="first"), a_mail(subject="second")
    runner = Dispatcher(["text"], concurrency=1)

    async def send(self, account, message):
        runner.stop()
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)

    assert event_loop.run(runner.run()) == 1

    assert reloaded(first).status == Status.DONE
    assert reloaded(second).status == Status.QUEUED


def test_a_stopping_dispatcher_hands_a_refused_mail_back_instead_of_calling_again(olympus, hades, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=4)

    async def send(self, account, message):
        runner.stop()
        return Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="503", status_code=503)

    monkeypatch.setattr(Sender, "send", send)

    event_loop.run(runner.run())

    assert (reloaded(mail).status, reloaded(mail).attempt_count) == (Status.QUEUED, 1)
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]


def test_a_mail_that_cannot_be_planned_is_held_and_stops_nobody(olympus, monkeypatch):
    bad, good = a_mail(subject="bad"), a_mail(subject="good")
    dequeued = transitions.dequeue

    def picky(mail, **options):
        if mail.id == bad.pk:
            raise ValueError("a bug")
        return dequeued(mail, **options)

    monkeypatch.setattr(transitions, "dequeue", picky)

    assert dispatch() == 1

    assert reloaded(good).status == Status.DONE
    assert (reloaded(bad).status, reloaded(bad).reason_code) == (Status.HELD, HoldReason.POISON)
    assert event_names(bad)[-1] == "HELD"


def lost_after(function):
    """The function, with a connection that breaks after the database has committed."""

    def broken(*arguments):
        function(*arguments)
        raise OperationalError("the connection is gone")

    return broken


def test_a_hand_over_that_was_not_committed_leaves_no_trace(olympus, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=4)

    def lost_before(steps):
        raise OperationalError("the connection is gone")

    with monkeypatch.context() as patched:
        patched.setattr(writer, "record", lost_before)
        with pytest.raises(OperationalError):
            runner.claimer.claim(4)
    assert reloaded(mail).status == Status.QUEUED

    [call] = runner.claimer.claim(4).calls

    assert (call.mail.id, call.attempt.number) == (mail.pk, 1)


def test_a_hand_over_whose_commit_was_not_confirmed_is_undone_without_a_possible_duplicate(olympus, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    turn = claim.lock_claims

    @contextmanager
    def turn_without_an_answer():
        with turn():
            yield
        raise OperationalError("the connection is gone")

    with monkeypatch.context() as patched:
        patched.setattr(claim, "lock_claims", turn_without_an_answer)
        with pytest.raises(OperationalError):
            runner.claimer.claim(4)
    assert reloaded(mail).status == Status.SENDING

    [call] = runner.claimer.claim(4).calls

    assert (call.mail.id, call.attempt.number) == (mail.pk, 2)
    assert not reloaded(mail).possible_duplicate
    assert [attempt.reason_code for attempt in mail.attempts.all()] == ["not-called", ""]
    assert event_names(mail)[3:] == ["DEQUEUE", "READY TO SEND", "SEND", "RETRY", "DEQUEUE", "READY TO SEND", "SEND"]


def test_a_result_whose_commit_was_not_confirmed_is_recorded_once(olympus, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls
    result = Result(call=call, outcome=Accepted(provider_message_id="1", status_code=202), latency=0.1)
    with monkeypatch.context() as patched:
        patched.setattr(writer, "record_each", lost_after(writer.record_each))
        with pytest.raises(OperationalError):
            runner.recorder.record([result])

    runner.recorder.record([result])

    assert reloaded(mail).status == Status.DONE
    assert event_names(mail)[-2:] == ["SEND", "DONE"]


def test_a_refusal_whose_commit_was_not_confirmed_goes_to_the_next_account(olympus, hades, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls
    result = Result(
        call=call,
        outcome=Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="503", status_code=503),
        latency=0.1,
    )
    with monkeypatch.context() as patched:
        patched.setattr(writer, "record_each", lost_after(writer.record_each))
        with pytest.raises(OperationalError):
            runner.recorder.record([result])

    assert runner.recorder.record([result]).calls == []
    assert dispatch() == 1

    assert not reloaded(mail).possible_duplicate
    assert [attempt.reason_code for attempt in mail.attempts.all()] == ["http-503", "not-called", ""]


def due_for_a_probe():
    past = database_clock.now() - dt.timedelta(seconds=1)
    Breaker.objects.update(state=BreakerState.OPEN, open_until=past, epoch=1, trips=1)


def test_a_good_probe_closes_the_breaker_and_the_others_follow(olympus):
    due_for_a_probe()
    mails = [a_mail(subject=f"mail {number}") for number in range(5)]

    assert dispatch() == 5

    assert olympus.breaker.state == BreakerState.CLOSED
    assert {reloaded(mail).status for mail in mails} == {Status.DONE}


def test_a_failed_probe_opens_the_breaker_for_longer(olympus):
    due_for_a_probe()
    olympus.refuse(503)
    mails = [a_mail(subject=f"mail {number}") for number in range(5)]

    dispatch()

    assert (olympus.breaker.state, olympus.breaker.trips) == (BreakerState.OPEN, 2)
    assert sorted(reloaded(mail).attempt_count for mail in mails) == [0, 0, 0, 0, 1]


def test_a_probe_that_never_called_does_not_close_the_breaker(olympus, monkeypatch):
    due_for_a_probe()
    a_mail()

    async def send(self, account, message):
        return NotAttempted(cause=Cause.MESSAGE, reason_code="unsupported", reason="cannot be said")

    monkeypatch.setattr(Sender, "send", send)

    dispatch()

    assert olympus.breaker.state == BreakerState.HALF_OPEN


def test_a_probe_that_finds_no_place_leaves_it_to_the_next_mail(olympus):
    due_for_a_probe()
    a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls

    runner.recorder.record([Result(call=call, outcome=NOT_CALLED, latency=0.0)])

    assert olympus.breaker.state == BreakerState.HALF_OPEN
    assert dispatch() == 1
    assert olympus.breaker.state == BreakerState.CLOSED


def test_an_error_of_our_own_in_a_call_ends_the_run_instead_of_hanging_it(olympus, monkeypatch):
    mail = a_mail()

    async def broken(*arguments, **options):
        raise ValueError("a bug")

    monkeypatch.setattr(Sender, "send", broken)

    with pytest.raises(ExceptionGroup):
        dispatch()

    assert reloaded(mail).status == Status.SENDING
    assert sweeper.sweep() == {"queued again: outcome unknown": 1}
