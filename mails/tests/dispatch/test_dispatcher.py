"""The dispatcher on real rows, with sandbox accounts that behave or do not."""

import datetime as dt

import pytest

from mails.actions import apply
from mails.dispatch.dispatcher import Dispatcher, Progress
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Attempt, Mail
from mails.states import Action, HoldReason, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.health import breaker_store
from providers.models import BreakerMode, BreakerState
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
