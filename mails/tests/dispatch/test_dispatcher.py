"""The dispatcher on real rows, with sandbox accounts that behave or do not."""

import asyncio
import datetime as dt
import math
import uuid
from contextlib import contextmanager

import pytest
from django.db import DataError, OperationalError, connection

from mails.actions import apply
from mails.dispatch import claim, transitions
from mails.dispatch.claimer import Claimer
from mails.dispatch.dispatcher import Dispatcher, Progress
from mails.dispatch.heartbeat import Heartbeat
from mails.dispatch.transitions import NO_SLOT, NOT_CALLED, Result
from mails.lifecycle import writer
from mails.lifecycle.action_requests import ActionRequest
from mails.maintenance import sweeper
from mails.message import mime
from mails.models import Attempt, Mail, Worker
from mails.states import Action, AttemptState, HoldReason, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.health import breaker_store
from providers.models import Breaker, BreakerMode, BreakerState
from providers.outcomes import Accepted, FailureClass, RecipientRefusal, Refused
from providers.transports.sender import Sender

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_mail_goes_out_and_every_step_is_recorded(olympus):
    mail = a_mail()

    assert dispatch() == 1

    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE", "DEQUEUE", "READY TO SEND", "SEND", "DONE"]
    sent = reloaded(mail)
    assert (sent.status, sent.provider, sent.attempt_count, sent.lease) == (Status.DONE, "olympus", 1, None)
    assert [recipient.state for recipient in sent.recipients.all()] == [RecipientState.ACCEPTED]
    [kept] = olympus.inbox()
    assert kept.mail_id == str(mail.pk)


def test_a_refused_mail_goes_to_the_other_account_at_once(olympus, hades):
    olympus.refuse(503)
    mails = [a_mail(subject=f"mail {number}") for number in range(12)]

    assert dispatch() == 12

    assert {reloaded(mail).status for mail in mails} == {Status.DONE}
    assert len(hades.inbox()) == 12
    failed_over = [mail for mail in mails if reloaded(mail).attempt_count == 2]
    assert failed_over
    assert event_names(failed_over[0])[5:] == ["SEND", "FAILURE", "RETRY", "READY TO SEND", "SEND", "DONE"]


def test_progress_is_reported_as_calls_begin_and_as_their_results_are_written(olympus):
    for number in range(3):
        a_mail(subject=f"mail {number}")
    reports = []

    event_loop.run(Dispatcher(["text"], concurrency=8, on_progress=reports.append).run(until_idle=True))

    assert reports[0] == Progress(in_flight=3, closed=0, done=0)
    assert reports[-1] == Progress(in_flight=0, closed=3, done=3)


def test_five_failures_open_the_breaker_and_the_others_pass_it_by(olympus, hades):
    olympus.refuse(503)
    for number in range(40):
        a_mail(subject=f"mail {number}")

    dispatch(concurrency=4)

    assert olympus.breaker.state == BreakerState.OPEN
    assert Attempt.objects.filter(account="olympus").count() < 20
    assert hades.breaker.state == BreakerState.CLOSED


def test_during_an_outage_nothing_is_claimed(olympus):
    olympus.refuse(503)
    for number in range(20):
        a_mail(subject=f"mail {number}")

    dispatch(concurrency=5)

    touched = Mail.objects.exclude(attempt_count=0).count()
    assert olympus.breaker.state == BreakerState.OPEN
    assert 5 <= touched < 20
    assert Mail.objects.filter(status=Status.QUEUED, attempt_count=0).count() == 20 - touched


def test_a_lost_answer_is_held_and_not_sent_again_at_most_once(olympus, hades):
    olympus.lose_answer()
    hades.disable()
    mail = a_mail(delivery_guarantee="at-most-once")

    dispatch()

    held = reloaded(mail)
    assert (held.status, held.reason_code, held.possible_duplicate) == (Status.HELD, HoldReason.UNKNOWN, True)
    assert event_names(mail)[-2:] == ["UNKNOWN", "HELD"]
    assert len(olympus.inbox()) == 1
    assert hades.inbox() == []


def test_a_lost_answer_goes_on_to_the_next_account_at_least_once(olympus, hades):
    olympus.lose_answer()
    mails = [a_mail(subject=f"mail {number}") for number in range(8)]

    dispatch()

    possible_duplicate = [mail for mail in mails if reloaded(mail).possible_duplicate]
    assert possible_duplicate
    assert {reloaded(mail).status for mail in mails} == {Status.DONE}
    assert '"possible_duplicate": true' in possible_duplicate[0].events.get(event="DONE").blob


def send_again(mail):
    """What happens at the next try, some time later."""
    Mail.objects.update(next_attempt_at=database_clock.now())
    dispatch()
    return reloaded(mail).status


def test_an_account_that_never_answers_in_time_takes_two_copies_and_then_the_mail_is_held(olympus):
    olympus.lose_answer()
    mail = a_mail()
    dispatch()

    assert send_again(mail) == Status.HELD
    assert send_again(mail) == Status.HELD

    held = reloaded(mail)
    assert (held.reason_code, len(olympus.inbox())) == (HoldReason.UNKNOWN, 2)
    assert event_names(mail)[-3:] == ["SEND", "UNKNOWN", "HELD"]
    assert '"next": "held"' in mail.events.filter(event="UNKNOWN").last().blob
    apply.apply_action(mail.pk, ActionRequest(action=Action.SENT, by="hermes"))
    assert '"possible_duplicate": true' in mail.events.get(event="DONE").blob


def test_an_email_resolved_as_not_sent_may_be_unknown_once_more(olympus):
    olympus.lose_answer()
    mail = a_mail()
    dispatch()
    assert send_again(mail) == Status.HELD

    apply.apply_action(mail.pk, ActionRequest(action=Action.NOT_SENT, by="hermes"))

    assert reloaded(mail).tried == ["olympus"]
    assert [send_again(mail) for _ in range(3)] == [Status.WAITING, Status.WAITING, Status.HELD]
    assert len(olympus.inbox()) == 4


def test_the_second_copy_goes_to_another_account_if_one_can_take_it(olympus, hades):
    hades.disable()
    olympus.lose_answer()
    mails = [a_mail(subject=f"mail {number}") for number in range(6)]
    dispatch()
    olympus.behave()
    hades.enable()

    assert {send_again(mail) for mail in mails} == {Status.DONE}

    assert (len(olympus.inbox()), len(hades.inbox())) == (6, 6)
    assert (
        "its last outcome is unknown: other accounts go first"
        in mails[0].events.filter(event="READY TO SEND").last().blob
    )


def test_an_answer_that_is_missing_and_then_refusals_are_tried_on_until_the_mail_expires(olympus, hades):
    for account in ("olympus", "hades"):
        breaker_store.force(account, BreakerMode.CLOSED, by="test")
    olympus.lose_answer()
    hades.refuse(503)
    mail = a_mail()
    dispatch()
    olympus.refuse(503)

    assert [send_again(mail) for _ in range(8)] == [Status.WAITING] * 8

    assert reloaded(mail).possible_duplicate
    assert len(olympus.inbox()) <= 1


def test_when_all_refuse_the_mail_waits_for_the_next_round(olympus):
    olympus.refuse(503)
    mail = a_mail()

    dispatch()

    waiting = reloaded(mail)
    assert (waiting.status, waiting.round, waiting.tried) == (Status.WAITING, 2, [])
    assert waiting.next_attempt_at > database_clock.now()
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]


def test_a_deferred_mail_is_tried_again_at_growing_intervals_until_it_expires(olympus):
    olympus.refuse(503)
    breaker_store.force("olympus", BreakerMode.CLOSED, by="test")
    mail = a_mail()
    waits = []
    for _ in range(12):
        dispatch()
        waiting = reloaded(mail)
        assert (waiting.status, event_names(mail)[-1]) == (Status.WAITING, "RETRY")
        waits.append((waiting.next_attempt_at - database_clock.now()).total_seconds())
        Mail.objects.update(next_attempt_at=database_clock.now())

    assert waits[0] < 40
    assert waits[-1] > 5000
    assert sorted(waits[:5]) == waits[:5]
    Mail.objects.update(expires_at=database_clock.now())
    dispatch()
    assert (reloaded(mail).status, event_names(mail)[-1]) == (Status.EXPIRED, "EXPIRED")


def test_the_last_try_comes_just_before_the_mail_expires(olympus):
    olympus.refuse(503)
    mail = a_mail()
    Mail.objects.update(expires_at=database_clock.now() + dt.timedelta(seconds=125), round=9)

    dispatch()

    left = reloaded(mail).expires_at - reloaded(mail).next_attempt_at
    assert 59 <= left.total_seconds() <= 61


def test_a_mail_that_every_account_refuses_for_its_own_sake_is_discarded_at_once(olympus, hades):
    olympus.refuse(400)
    hades.refuse(400)
    mail = a_mail()

    dispatch()

    assert reloaded(mail).status == Status.DISCARDED
    assert reloaded(mail).failure_class == "message"
    assert (olympus.breaker.state, hades.breaker.state) == (BreakerState.CLOSED, BreakerState.CLOSED)


def test_a_mail_past_its_time_expires_instead_of_being_sent(olympus, settings):
    settings.MERCURY_EXPIRY = dt.timedelta(microseconds=1)
    mail = a_mail()

    dispatch()

    assert reloaded(mail).status == Status.EXPIRED
    assert olympus.inbox() == []


def test_without_any_usable_account_nothing_is_claimed(olympus):
    olympus.disable()
    mail = a_mail()

    dispatch()

    assert reloaded(mail).status == Status.QUEUED


def test_a_provider_that_takes_some_recipients_is_asked_again_for_none_of_them(olympus, hades, monkeypatch):
    asked = []

    async def send(self, account, message):
        asked.append((account.name, list(message.to)))
        if len(asked) == 1:
            return Accepted(
                provider_message_id="1",
                status_code=250,
                refused=(RecipientRefusal(address=IRIS, reason="451 greylisted", permanent=False),),
            )
        return Accepted(provider_message_id="2", status_code=250)

    monkeypatch.setattr(Sender, "send", send)
    mail = a_mail(recipient=f"{HERA}, {IRIS}")

    dispatch()

    assert [to for _, to in asked] == [[HERA, IRIS], [IRIS]]
    assert asked[0][0] != asked[1][0]
    assert reloaded(mail).status == Status.DONE
    assert event_names(mail).count("DONE") == 1
    assert [recipient.state for recipient in mail.recipients.all()] == [RecipientState.ACCEPTED] * 2


def test_a_recipient_refused_for_good_does_not_keep_the_mail_from_being_done(olympus, monkeypatch):
    async def send(self, account, message):
        return Accepted(
            provider_message_id="1",
            status_code=250,
            refused=(RecipientRefusal(address=IRIS, reason="550 no such user", permanent=True),),
        )

    monkeypatch.setattr(Sender, "send", send)
    mail = a_mail(recipient=f"{HERA}, {IRIS}")

    dispatch()

    assert reloaded(mail).status == Status.DONE
    assert [recipient.state for recipient in mail.recipients.all()] == [RecipientState.ACCEPTED, RecipientState.REFUSED]
    assert "550 no such user" in mail.events.get(event="DONE").blob


def test_a_rate_limit_leaves_the_account_alone_without_opening_its_breaker(olympus, hades, monkeypatch):
    async def send(self, account, message):
        if account.name == "olympus":
            return Refused(
                failure_class=FailureClass.RATE,
                reason_code="http-429",
                reason="slow down",
                status_code=429,
                retry_after=600,
            )
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)
    for number in range(20):
        a_mail(subject=f"mail {number}")

    assert dispatch(concurrency=4) == 20

    breaker = olympus.breaker
    assert breaker.state == BreakerState.CLOSED
    assert breaker.limited_until > database_clock.now() + dt.timedelta(minutes=9)


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

    def picky(mail_id, **more):
        if mail_id == bad.pk:
            raise RuntimeError("no such charset")
        return build(mail_id, **more)

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

    def claim_and_freeze(self, free):
        claimed = open_the_attempt(self, free)
        _take_over(mail.pk)
        return claimed

    monkeypatch.setattr(Claimer, "claim", claim_and_freeze)
    monkeypatch.setattr(Heartbeat, "_is_trusted", lambda self: False)

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


def test_a_batch_is_bounded_in_bytes_but_never_empty(olympus, monkeypatch):
    mails = [a_mail(subject=f"mail {number}", content="x" * 100) for number in range(3)]
    now = database_clock.now()
    monkeypatch.setattr(claim, "MOST_BYTES", 1)
    with claim.lock_claims():
        assert [mail.id for mail in claim.select_due(["text"], limit=10, now=now)] == [mails[0].pk]
    monkeypatch.setattr(claim, "MOST_BYTES", 110)

    with claim.lock_claims():
        assert [mail.id for mail in claim.select_due(["text"], limit=10, now=now)] == [mails[0].pk, mails[1].pk]


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
    monkeypatch.setattr("mails.dispatch.quarantine.CLEARED_PER_SLOT", 8)
    for number in range(40):
        a_mail(subject=f"quarantined email {number}")
    Mail.objects.update(claims=1)
    at_once, most, handed = set(), [], set()

    async def send(self, account, message):
        at_once.add(message.subject)
        most.append(len(at_once))
        number = int(message.subject.removeprefix("quarantined email "))
        handed.add((number < 16, await asyncio.to_thread(lambda: Mail.objects.get(subject=message.subject).claims)))
        at_once.discard(message.subject)
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Sender, "send", send)

    assert dispatch() == 40

    assert max(most[:16]) == 1
    assert 2 <= max(most) <= 5
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
        return Refused(
            failure_class=FailureClass.MESSAGE, reason_code="unsupported", reason="cannot be said", asked=False
        )

    monkeypatch.setattr(Sender, "send", send)

    dispatch()

    assert olympus.breaker.state == BreakerState.HALF_OPEN


def test_a_probe_that_finds_no_place_leaves_it_to_the_next_mail(olympus):
    due_for_a_probe()
    a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls

    runner.recorder.record([Result(call=call, outcome=NO_SLOT, latency=0.0)])

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
