"""Pauses of a queue and of all sending on real rows: emails are accepted and kept, whatever came before, and leave after."""

import pytest
from django.db import IntegrityError

from mails import pauses
from mails.actions import apply, pausing, preview
from mails.dispatch import wake
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import claim
from mails.dispatch.steps.transitions import Result
from mails.lifecycle import writer
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Mail, Pause
from mails.pauses import ALL_QUEUES, QueueNotFound
from mails.queues import QueueName
from mails.states import Action, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from providers.outcomes import Accepted, FailureClass, Refused

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPTED = Accepted(provider_message_id="id-1", status_code=250)
REFUSED = Refused(
    failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="Come back later.", status_code=503
)


def in_queue(queue):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(queue=queue)
    return mail


def answer(dispatch, calls, outcome):
    return dispatch.recorder.record([Result(call=call, outcome=outcome, latency=0.1) for call in calls]).calls


def test_emails_of_a_paused_queue_are_accepted_and_leave_when_it_is_resumed(olympus):
    assert pausing.pause_sending(QueueName.TEXT, by="user:hermes", note="wrong template")
    mail = a_mail()

    assert dispatch() == 0
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert olympus.inbox() == []

    assert pausing.resume_sending(QueueName.TEXT, by="user:hermes")
    assert dispatch() == 1
    assert reloaded(mail).status == Status.DONE


def test_other_queues_go_on(olympus):
    stays, goes = in_queue("bulk"), in_queue("html")
    pausing.pause_sending(QueueName.BULK, by="hermes")

    assert dispatch("bulk", "html", "text") == 1

    assert [reloaded(mail).status for mail in (stays, goes)] == [Status.QUEUED, Status.DONE]


def test_a_pause_keeps_who_when_and_why_and_so_does_its_end():
    assert pausing.pause_sending(QueueName.BULK, by="user:hermes", note="wrong template")
    assert not pausing.pause_sending(QueueName.BULK, by="user:zeus")
    pause = pauses.load_active().queues["bulk"]
    assert (pause.who, pause.note, str(pause)) == ("hermes", "wrong template", "bulk paused by user:hermes")

    assert pausing.resume_sending(QueueName.BULK, by="user:zeus")
    assert not pausing.resume_sending(QueueName.BULK, by="user:hermes")

    [row] = Pause.objects.all()
    assert (row.resumed_by, row.resumed_at >= row.paused_at) == ("user:zeus", True)
    assert not pauses.load_active()


def test_resuming_a_queue_wakes_its_workers(monkeypatch):
    woken = []
    monkeypatch.setattr(wake, "wake_workers", woken.append)
    pausing.pause_sending(QueueName.BULK, by="hermes")
    assert woken == []

    pausing.resume_sending(QueueName.BULK, by="hermes")
    pausing.resume_sending(QueueName.TEXT, by="hermes")

    assert woken == ["bulk"]


def test_an_email_found_before_the_queue_was_paused_stays_where_it_is(olympus, monkeypatch):
    mail = a_mail()
    due = claim.select_due

    def then_pause(*arguments, **options):
        found = due(*arguments, **options)
        pauses.pause(QueueName.TEXT, by="hermes")
        return found

    monkeypatch.setattr(claim, "select_due", then_pause)

    assert Dispatcher(["text"], concurrency=8).claimer.claim(8).calls == []

    assert (reloaded(mail).status, mail.attempts.count()) == (Status.QUEUED, 0)


@pytest.mark.parametrize("queue", [QueueName.TEXT, ALL_QUEUES], ids=["queue", "all sending"])
def test_an_email_that_a_short_pause_kept_back_is_not_quarantined(queue, olympus, monkeypatch):
    mail = a_mail()
    record = writer.record

    def in_between(steps):
        pauses.pause(queue, by="hermes")
        won = record(steps)
        pauses.resume(queue, by="hermes")
        return won

    with monkeypatch.context() as patched:
        patched.setattr(writer, "record", in_between)
        assert Dispatcher(["text"], concurrency=8).claimer.claim(8).calls == []

    assert reloaded(mail).status == Status.QUEUED
    assert dispatch() == 1


def test_a_call_in_progress_ends_and_is_recorded(olympus):
    mail = a_mail()
    dispatch = Dispatcher(["text"], concurrency=8)
    calls = dispatch.claimer.claim(8).calls
    pauses.pause(QueueName.TEXT, by="hermes")

    answer(dispatch, calls, ACCEPTED)

    assert (reloaded(mail).status, event_names(mail)[-1]) == (Status.DONE, "DONE")


def test_an_email_refused_while_its_queue_is_paused_waits_for_the_next_account(olympus, hades):
    mail = a_mail()
    running = Dispatcher(["text"], concurrency=8)
    calls = running.claimer.claim(8).calls
    pauses.pause(QueueName.TEXT, by="hermes")

    assert answer(running, calls, REFUSED) == []

    assert reloaded(mail).status == Status.QUEUED
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]
    pauses.resume(QueueName.TEXT, by="hermes")
    assert dispatch() == 1
    assert mail.attempts.count() == 2


def test_a_mail_at_its_last_chance_waits_too(olympus):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(claims=1)
    pauses.pause(QueueName.TEXT, by="hermes")

    assert dispatch() == 0

    assert reloaded(mail).status == Status.QUEUED


def test_an_action_says_that_its_email_waits_for_the_queue(olympus):
    mail = a_mail()
    apply.apply_action(mail.pk, ActionRequest(action=Action.HOLD, by="hermes"))
    pauses.pause(QueueName.TEXT, by="hermes")
    held = reloaded(mail)

    [group] = preview.preview_action(Action.RELEASE, Mail.objects.all()).groups

    assert group.forecast == "waits until queue text is resumed"
    assert "Queue text is paused: the email waits until the queue is resumed." in preview.describe_effect(
        held, Action.RELEASE
    )


def test_a_pause_and_its_end_say_how_many_emails_they_concern(olympus):
    assert (
        pausing.describe_pause_effect(QueueName.TEXT)
        == "0 emails queued (they will wait); 0 requests in progress (they will finish)."
    )
    a_mail(subject="first")
    Dispatcher(["text"], concurrency=8).claimer.claim(8)
    a_mail(subject="second")

    assert (
        pausing.describe_pause_effect(QueueName.TEXT)
        == "1 email queued (it will wait); 1 request in progress (it will finish)."
    )
    assert pausing.describe_resume_effect(QueueName.TEXT) == "1 queued email will be sent when due."
    assert pausing.describe_resume_effect(QueueName.BULK) == "No emails are queued."


def test_an_unknown_queue_is_named_with_the_known_ones():
    with pytest.raises(
        QueueNotFound, match=r"There is no queue 'parcel'\. Known: text, html, attachment, large, bulk\."
    ):
        pauses.find_queue("parcel")


def test_one_pause_of_each_kind_is_active_at_a_time_and_the_two_are_independent():
    assert pauses.pause(by="hermes")
    assert not pauses.pause(by="zeus")
    assert pauses.pause(QueueName.TEXT, by="zeus")

    active = pauses.load_active()
    assert (active.get(ALL_QUEUES).who, active.get("text").who, active.get("bulk")) == ("hermes", "zeus", None)
    assert str(active.all_sending) == "all sending paused by hermes"
    with pytest.raises(IntegrityError):
        Pause.objects.create(paused_at=database_clock.now(), paused_by="hera")

    assert pauses.resume(by="hermes")
    assert pauses.load_active().queues.keys() == {"text"}
