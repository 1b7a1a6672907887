"""Leases that were lost, slots that stay busy, and email that workers crashed on."""

import asyncio
import math
import uuid

import pytest
from django.db import DataError, connection

from mails.actions import apply
from mails.dispatch.claimer import Claimer
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.heartbeat import Heartbeat
from mails.dispatch.steps.transitions import Result
from mails.lifecycle import writer
from mails.lifecycle.action_requests import ActionRequest
from mails.message import mime
from mails.models import Mail
from mails.states import Action, AttemptState, HoldReason, Status
from mails.tests.builders import NOT_CALLED, a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted
from providers.transports.sender import Sender

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_dispatcher_that_lost_its_lease_records_its_result_as_late(olympus, monkeypatch):
    mail = a_mail()

    async def send(self, account, message):
        await asyncio.get_running_loop().run_in_executor(None, _take_over, mail.pk)
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)

    dispatch()

    assert reloaded(mail).status == Status.SENDING
    assert event_names(mail)[-2:] == ["LATE RESULT", "REQUESTED"]  # no other call follows the one under way
    assert mail.attempts.get().state == AttemptState.ACCEPTED


def _take_over(mail_id):
    Mail.objects.filter(pk=mail_id).update(lease=uuid.uuid4(), worker="another")


def test_one_mail_that_cannot_be_stored_does_not_spoil_its_group(olympus, monkeypatch):
    good, bad = a_mail(subject="good"), a_mail(subject="bad")
    record = writer.record

    def picky(steps):
        if any(step.mail_id == bad.pk and step.opened for step in steps):
            raise DataError("no such value")
        return record(steps)

    monkeypatch.setattr(writer, "record", picky)

    dispatch()

    assert reloaded(good).status == Status.DONE
    assert (reloaded(bad).status, reloaded(bad).reason_code) == (Status.HELD, HoldReason.POISON)


@pytest.mark.full
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite stores any number")
def test_a_claim_that_the_database_refuses_is_repeated_email_by_email(olympus):
    good, bad = a_mail(subject="good"), a_mail(subject="bad")
    Mail.objects.filter(pk=bad.pk).update(attempt_count=32767)  # the most that the column holds
    runner = Dispatcher(["text"], concurrency=4)

    [call] = runner.claimer.claim(4).calls
    assert runner.claimer.claim(4).calls == []  # what was refused once may have a cause that passes

    assert runner.claimer.planner.unconfirmed == []  # what was refused was surely not committed
    assert (call.mail.id, reloaded(good).status, reloaded(bad).status) == (good.pk, Status.SENDING, Status.HELD)
    assert good.attempts.count() == 1


def test_a_mail_that_no_message_can_be_made_of_ends_no_other_call(olympus, monkeypatch):
    good, bad = a_mail(subject="good"), a_mail(subject="bad")
    build = mime.build_message

    def picky(mail_id, message, **more):
        if mail_id == bad.pk:
            raise RuntimeError("no such charset")
        return build(mail_id, message, **more)

    monkeypatch.setattr(mime, "build_message", picky)

    dispatch()

    assert (reloaded(good).status, reloaded(bad).status) == (Status.DONE, Status.HELD)
    assert (reloaded(bad).tried, reloaded(bad).reason_code) == ([], HoldReason.POISON)
    assert "made no request" in bad.events.get(event="HELD").blob
    assert olympus.breaker.window_failures == 0
    monkeypatch.setattr(mime, "build_message", build)
    apply.apply_action(bad.pk, ActionRequest(action=Action.RELEASE, by="user:hermes"))
    assert dispatch() == 1


def test_what_a_mail_says_is_not_shown_where_the_dispatcher_writes_about_it(olympus):
    a_mail(subject="You made my day")
    [call] = Dispatcher(["text"], concurrency=1).claimer.claim(1).calls

    assert "You made my day" not in f"{call!r}"


def test_a_call_is_not_made_when_the_heartbeat_is_stale_and_the_lease_is_gone(olympus, monkeypatch):
    mail = a_mail()
    open_the_attempt = Claimer.claim

    def claim_and_freeze(self, *free):
        claimed = open_the_attempt(self, *free)
        _take_over(mail.pk)
        return claimed

    monkeypatch.setattr(Claimer, "claim", claim_and_freeze)
    monkeypatch.setattr(Heartbeat, "is_trusted", lambda self: False)

    dispatch()

    assert olympus.inbox() == []
    assert mail.attempts.get().reason_code == "not-called"


def test_a_mail_whose_call_was_not_made_is_due_at_once_and_has_tried_nobody(olympus):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls

    assert runner.recorder.record([Result(call=call, outcome=NOT_CALLED, latency=0.0)]).calls == []

    after = reloaded(mail)
    assert (after.status, after.tried, after.failure_classes, after.possible_duplicate) == (
        Status.QUEUED,
        [],
        [],
        False,
    )
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]
    assert dispatch() == 1


def test_mails_are_claimed_ahead_but_no_more_calls_made_than_there_are_slots(olympus, monkeypatch):
    for number in range(10):
        a_mail(subject=f"mail {number}")
    runner = Dispatcher(["text"], concurrency=8)
    runner.heartbeat._trusted_until = math.inf
    assert runner.caller.count_soon_free() == 0
    calls = runner.claimer.claim(10).calls
    at_once, most = set(), []

    async def send(self, account, message):
        at_once.add(message.subject)
        most.append(len(at_once))
        await asyncio.sleep(0)
        at_once.discard(message.subject)
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)

    async def make_them():
        async with Sender(deadline=1.0, connect_timeout=1.0, concurrency=8) as runner.caller.sender:
            return await asyncio.gather(*map(runner.caller._make, calls))

    results = event_loop.run(make_them())

    assert max(most) == 8
    assert {result.outcome for result in results} == {Accepted(provider_message_id="1", status_code=202)}
    assert runner.caller.count_soon_free() == 2  # a quarter of the slots at most


def test_a_mail_claimed_ahead_whose_slot_stays_busy_is_given_back(olympus, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=1)
    [call] = runner.claimer.claim(1).calls
    monkeypatch.setattr("mails.dispatch.calls.PATIENCE", 0.001)

    async def wait():
        async with runner.caller._slots:
            return await runner.caller._make(call)

    assert runner.recorder.record([event_loop.run(wait())]).calls == []

    assert (reloaded(mail).status, reloaded(mail).tried) == (Status.QUEUED, [])
    assert "returned the email to the queue" in mail.attempts.get().reason
    assert dispatch() == 1


def test_a_stop_begins_no_call_of_a_mail_that_waits_for_a_slot(olympus):
    first, second = a_mail(subject="first"), a_mail(subject="second")
    runner = Dispatcher(["text"], concurrency=1)
    calls = runner.claimer.claim(2).calls
    reports = []

    async def stop_before_the_place_is_free():
        async with runner.caller._slots:
            waiting = asyncio.create_task(runner.caller._make(calls[1]))
            await asyncio.sleep(0)
            runner.caller.expected = 2
            reports.append(runner._describe(database_clock.now())["in_flight"])
            runner.stop()
        return await waiting

    results = [
        Result(call=calls[0], outcome=Accepted(provider_message_id="1", status_code=202), latency=0.1),
        event_loop.run(stop_before_the_place_is_free()),
    ]
    runner.recorder.record(results)

    assert [reloaded(mail).status for mail in (first, second)] == [Status.DONE, Status.QUEUED]
    assert reports == [1]  # calls under way, and not the mails that wait
    assert not runner.caller._slots.locked()


def test_a_hold_asked_for_during_a_call_that_was_not_made_is_carried_out(olympus):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls
    apply.apply_action(mail.pk, ActionRequest(action=Action.HOLD, by="minos"))

    runner.recorder.record([Result(call=call, outcome=NOT_CALLED, latency=0.0)])

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.OPERATOR)


def test_two_dispatchers_share_a_queue_without_sharing_an_email(olympus):
    for number in range(30):
        a_mail(subject=f"mail {number}")
    one, two = Dispatcher(["text"], concurrency=20), Dispatcher(["text"], concurrency=20)

    first, second = one.claimer.claim(20).calls, two.claimer.claim(20).calls

    assert len(first) == 20
    assert len(second) == 10
    assert not {call.mail.id for call in first} & {call.mail.id for call in second}


def test_mails_that_a_worker_died_with_are_handed_over_one_at_a_time(olympus, monkeypatch):
    for number in range(3):
        a_mail(subject=f"quarantined email {number}")
    Mail.objects.update(claims=1)
    for number in range(5):
        a_mail(subject=f"other {number}")
    at_once, most = set(), 0

    async def send(self, account, message):
        nonlocal most
        at_once.add(message.subject)
        most = max(most, sum(subject.startswith("quarantined email") for subject in at_once))
        await asyncio.sleep(0)
        at_once.discard(message.subject)
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)

    assert dispatch() == 8

    assert most == 1
    assert set(Mail.objects.values_list("claims", flat=True)) == {0}


def test_suspects_that_come_back_well_are_followed_by_more_of_them_at_once(olympus, monkeypatch):
    monkeypatch.setattr("mails.dispatch.quarantine.CLEARED_PER_DOUBLING", 8)
    monkeypatch.setattr("mails.dispatch.quarantine.MOST_IN_FLIGHT", 4)
    for number in range(40):
        a_mail(subject=f"quarantined email {number}")
    Mail.objects.update(claims=1)
    at_once, most, handed = set(), [], set()

    def read_claims(subject):
        try:
            return Mail.objects.get(subject=subject).claims
        finally:
            connection.close()  # of this thread, which outlives the test

    async def send(self, account, message):
        at_once.add(message.subject)
        most.append(len(at_once))
        number = int(message.subject.removeprefix("quarantined email "))
        handed.add((number < 8, await asyncio.to_thread(read_claims, message.subject)))
        at_once.discard(message.subject)
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)

    assert dispatch() == 40

    assert max(most[:8]) == 1
    assert 2 <= max(most) <= 4
    assert {claims for first, claims in handed if first} == {2}
    assert 1 in {claims for first, claims in handed if not first}
    assert set(Mail.objects.values_list("claims", flat=True)) == {0}


def test_suspects_that_no_account_is_left_for_do_not_keep_each_other_waiting(olympus):
    for number in range(3):
        a_mail(subject=f"quarantined email {number}")
    Mail.objects.update(claims=1, tried=["olympus"], failure_classes=["provider"])
    runner = Dispatcher(["text"], concurrency=4)

    assert [runner.claimer.claim(4).more for _ in range(4)] == [True, True, True, False]

    assert set(Mail.objects.values_list("status", "claims")) == {(Status.WAITING, 1)}


def test_a_mail_refused_by_all_is_not_counted_as_one_that_workers_die_with(olympus):
    mail = a_mail()
    Mail.objects.update(claims=1)
    olympus.refuse(503)

    dispatch()

    assert (reloaded(mail).status, reloaded(mail).claims) == (Status.WAITING, 0)


def test_waiting_without_a_call_does_not_clear_a_mail_of_suspicion(olympus):
    mail = a_mail()
    Mail.objects.update(claims=1, tried=["olympus"], failure_classes=["provider"])

    dispatch()

    assert (reloaded(mail).status, reloaded(mail).claims) == (Status.WAITING, 1)
