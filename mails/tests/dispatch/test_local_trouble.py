"""Trouble of this machine blames nobody: the email is due again soon, and the worker slows down."""

import datetime as dt
import errno

import pytest

from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.local_trouble import LocalTrouble, build_outcome
from mails.dispatch.steps.transitions import Result
from mails.message import mime
from mails.models import Mail, Rollup, Worker
from mails.states import AttemptState, Counted, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers import classify
from providers.models import BreakerState
from providers.outcomes import Accepted, FailureClass, Refused
from providers.transports.sender import Sender

NO_DESCRIPTORS = build_outcome(OSError(errno.EMFILE, "Too many open files"))
FULL = Refused(
    failure_class=FailureClass.RATE,
    reason_code="smtp-421",
    reason="Too many connections.",
    status_code=421,
    at_capacity=True,
)


def test_a_burst_halves_what_is_under_way_once_and_pauses_claims():
    trouble = LocalTrouble(concurrency=256)

    assert trouble.meet("no descriptors", in_progress=100, now=0.0)
    assert not trouble.meet("no descriptors", in_progress=99, now=0.5)

    assert (trouble.calls_at_once(), trouble.seconds_until_claims(0.5), trouble.wait) == (49, 0.5, 1.0)


def test_while_nothing_goes_out_the_worker_waits_longer_each_time_up_to_a_bound():
    trouble, now, waits = LocalTrouble(concurrency=8), 0.0, []
    for _ in range(8):
        trouble.meet("no resolver", in_progress=1, now=now)
        waits.append(trouble.wait)
        now += trouble.wait

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert trouble.calls_at_once() == 1


def test_good_calls_bring_the_slots_back_fast_at_first_and_then_one_a_row():
    trouble = LocalTrouble(concurrency=16)
    trouble.meet("no descriptors", in_progress=16, now=0.0)
    trouble.meet("no descriptors", in_progress=8, now=10.0)
    assert trouble.calls_at_once() == 4
    for _ in range(4):
        trouble.pass_by()
    assert trouble.calls_at_once() == 5
    for _ in range(500):
        trouble.pass_by()

    assert (trouble.calls_at_once(), trouble.limit, trouble.wait) == (16, None, 1.0)


def test_a_good_call_between_two_bursts_keeps_the_wait_short():
    trouble = LocalTrouble(concurrency=16)
    trouble.meet("no descriptors", in_progress=16, now=0.0)
    trouble.pass_by()
    trouble.meet("no descriptors", in_progress=8, now=2.0)

    assert trouble.wait == 1.0


def test_one_host_that_cannot_be_reached_slows_nobody_while_others_are():
    trouble = LocalTrouble(concurrency=16)
    for second in range(5):
        trouble.pass_by()
        assert trouble.meet("no resolver", in_progress=8, now=second + 0.1, may_be_one_host=True) == (second == 0)
        assert not trouble.meet("no resolver", in_progress=8, now=second + 0.9, may_be_one_host=True)

    assert (trouble.limit, trouble.seconds_until_claims(5.0), trouble.shown(5.0)) == (None, 0.0, "no resolver")


def test_a_resolver_that_answers_for_nobody_slows_the_worker_within_a_second():
    fresh, running = LocalTrouble(concurrency=16), LocalTrouble(concurrency=16)
    running.pass_by()

    assert fresh.meet("no resolver", in_progress=8, now=0.0, may_be_one_host=True)
    running.meet("no resolver", in_progress=8, now=0.0, may_be_one_host=True)
    running.meet("no resolver", in_progress=8, now=1.0, may_be_one_host=True)

    assert fresh.calls_at_once() == running.calls_at_once() == 4


@pytest.mark.django_db(transaction=True)
def test_an_account_whose_host_cannot_be_looked_up_keeps_no_other_waiting(olympus, hades, monkeypatch):
    for number in range(60):
        a_mail(subject=f"mail {number}")
    most = []

    async def send(self, account, message):
        most.append(runner.trouble.calls_at_once())
        return (
            Accepted(provider_message_id="1", status_code=250)
            if account.name == "olympus"
            else classify.judge_connect_error(classify.NO_RESOLVER)
        )

    monkeypatch.setattr(Sender, "send", send)
    runner = Dispatcher(["text"], concurrency=8)
    runner.trouble.pass_by()  # it has been at work

    done = event_loop.run(runner.run(until_idle=True))

    # Of the last few, which are due again a second later, all may be at hades at once: then nothing goes out.
    assert set(most[:60]) == {8}
    assert done == Mail.objects.filter(status=Status.DONE).count() > 0


def test_operators_see_it_for_a_minute():
    trouble = LocalTrouble(concurrency=16)
    trouble.meet("no descriptors", in_progress=16, now=0.0)

    assert (trouble.shown(59.0), trouble.shown(61.0)) == ("no descriptors", "")


@pytest.mark.django_db(transaction=True)
def test_it_counts_against_no_account_and_the_mail_is_due_again_soon(olympus, monkeypatch):
    mails = [a_mail(subject=f"mail {number}") for number in range(20)]

    async def send(self, account, message):
        return NO_DESCRIPTORS

    monkeypatch.setattr(Sender, "send", send)

    dispatch(concurrency=8)

    assert (olympus.breaker.state, olympus.breaker.window_failures) == (BreakerState.CLOSED, 0)
    assert set(Rollup.objects.filter(kind=Counted.CALL).values_list("failure_class", flat=True)) == {"local"}
    tried = [reloaded(mail) for mail in mails if reloaded(mail).attempt_count]
    assert 1 <= len(tried) <= 8
    for mail in tried:
        assert (mail.status, mail.failure_class, mail.round, mail.tried, mail.failure_classes) == (
            Status.WAITING,
            "local",
            1,
            [],
            [],
        )
        assert mail.next_attempt_at - database_clock.now() < dt.timedelta(seconds=2)
        assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]
        assert mail.attempts.get().state == AttemptState.REFUSED


@pytest.mark.django_db(transaction=True)
def test_a_worker_in_trouble_says_so_in_its_row_and_claims_less(olympus):
    for number in range(8):
        a_mail(subject=f"mail {number}")
    runner = Dispatcher(["text"], concurrency=8)
    calls = runner.claimer.claim(8).calls
    runner.caller.expected = len(calls)

    runner.caller._note_trouble(NO_DESCRIPTORS)
    runner.heartbeat.write()

    assert "Too many open files" in Worker.objects.get(id=runner.worker).trouble
    assert runner.claims._count_free_slots() == 0
    assert runner.recorder.record([Result(call=calls[0], outcome=NO_DESCRIPTORS, latency=0.1, put_off=4.0)]).calls == []
    [put_off] = Mail.objects.filter(status=Status.WAITING)
    assert put_off.next_attempt_at > database_clock.now() + dt.timedelta(seconds=3)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outcome", [NO_DESCRIPTORS, FULL], ids=["no descriptors", "no connection"])
@pytest.mark.parametrize(("attempts", "rarely"), [(3, False), (999, True)])
def test_an_email_that_no_call_is_made_of_for_long_is_tried_rarely(olympus, outcome, attempts, rarely):
    mail = a_mail()
    Mail.objects.update(attempt_count=attempts)
    runner = Dispatcher(["text"], concurrency=8)
    [call] = runner.claimer.claim(8).calls

    assert runner.recorder.record([Result(call=call, outcome=outcome, latency=0.1)]).calls == []

    after = reloaded(mail)
    assert (after.tried, after.failure_classes, after.attempt_count) == ([], [], attempts + 1)
    assert (after.next_attempt_at - database_clock.now() > dt.timedelta(minutes=59)) == rarely


def test_what_is_left_under_way_after_a_burst_is_what_this_machine_can_do():
    trouble = LocalTrouble(concurrency=256)
    for under_way in range(256, 45, -1):
        trouble.meet("no descriptors", in_progress=under_way, now=0.1)

    assert trouble.calls_at_once() == 23


def test_slots_that_are_about_to_be_free_do_not_count_while_there_is_trouble(monkeypatch):
    runner = Dispatcher(["text"], concurrency=64)
    runner.trouble.limit = 20
    monkeypatch.setattr(runner.caller, "count_soon_free", lambda: 20)

    assert runner.claims._count_free_slots() == 20


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_a_message_that_this_machine_cannot_make_is_no_poison(error, olympus, monkeypatch):
    mail = a_mail()

    def build(*arguments, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(mime, "build_message", build)
        dispatch()
    assert (reloaded(mail).status, reloaded(mail).failure_class) == (Status.WAITING, "local")
    Mail.objects.update(next_attempt_at=database_clock.now())

    assert dispatch() == 1


@pytest.mark.django_db(transaction=True)
def test_the_next_good_call_shows_that_it_is_over(olympus, monkeypatch):
    for number in range(3):
        a_mail(subject=f"mail {number}")
    answers = [NO_DESCRIPTORS]

    async def send(self, account, message):
        return answers.pop() if answers else Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)
    dispatch(concurrency=2)
    Mail.objects.exclude(status=Status.DONE).update(next_attempt_at=database_clock.now())
    dispatch(concurrency=2)

    assert {mail.status for mail in Mail.objects.all()} == {Status.DONE}
