"""Emails that are sent at another time."""

import datetime as dt
import json

import pytest

from mails.actions import apply, bulk
from mails.actions.errors import ActionNotAllowed, TimesNotAllowed
from mails.actions.rules import plan_times
from mails.lifecycle.action_requests import ActionRequest
from mails.models import BulkAction, Mail
from mails.states import Action, Status
from mails.tests.actions.builders import process
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.moments import format_iso

pytestmark = pytest.mark.django_db(transaction=True)


def at(**ahead):
    return database_clock.now().replace(microsecond=0) + dt.timedelta(**ahead)


def reschedule(mail, send_at, expires_at=None, note=""):
    times = plan_times(send_at, expires_at)
    return apply.apply_action(
        mail.pk, ActionRequest(action=Action.RESCHEDULE, by="user:hermes", note=note, times=times)
    )


def ask(mail, action):
    return apply.apply_action(mail.pk, ActionRequest(action=action, by="user:hermes"))


def test_an_email_is_sent_at_the_new_time_and_says_who_asked(olympus):
    before, after = at(days=1), at(days=2)
    mail = a_mail(send_at=before.isoformat())

    report = reschedule(mail, after, note="The shop opens later.")

    changed = reloaded(mail)
    assert (changed.status, changed.send_at, changed.next_attempt_at) == (Status.QUEUED, after, after)
    assert changed.expires_at == after + dt.timedelta(days=3)
    event = changed.events.order_by("-id")[0]
    assert (event.event, event.created_by) == ("RESCHEDULED", "user:hermes")
    assert json.loads(event.blob) == {
        "before": format_iso(before),
        "send_at": format_iso(after),
        "expires": format_iso(changed.expires_at),
        "note": "The shop opens later.",
    }
    assert (
        report.describe(Action.RESCHEDULE)
        == f"The email is sent at {after:%Y-%m-%d %H:%M}{f':{after:%S}' if after.second else ''} UTC."
    )


def test_an_email_can_be_sent_now_instead(olympus):
    mail = a_mail(send_at=at(days=1).isoformat())

    reschedule(mail, None)

    assert dispatch() == 1


def test_an_email_that_waits_to_retry_keeps_its_round(olympus):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(
        status=Status.WAITING, round=3, tried=["olympus"], failure_classes=["provider"], next_attempt_at=at(hours=1)
    )

    reschedule(mail, at(days=1))

    changed = reloaded(mail)
    assert (changed.status, changed.round, changed.tried) == (Status.QUEUED, 3, ["olympus"])


def test_the_quarantine_of_an_email_stays():
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(claims=1)

    reschedule(mail, at(days=1))

    assert reloaded(mail).claims == 1


@pytest.mark.parametrize("status", [Status.DONE, Status.HELD, Status.CANCELLED])
def test_a_held_or_final_email_is_refused_with_what_is_possible(status):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(status=status, next_attempt_at=None, finished_at=at())

    with pytest.raises(ActionNotAllowed, match="cannot be rescheduled"):
        reschedule(mail, at(days=1))


def test_a_time_that_is_past_is_refused():
    with pytest.raises(TimesNotAllowed, match="send_at: 2016-11-06 18:00 UTC is past"):
        plan_times(dt.datetime(2016, 11, 6, 18, tzinfo=dt.UTC), None)


def test_a_scheduled_email_that_is_held_and_released_still_waits_for_its_time(olympus):
    send_at = at(days=1)
    mail = a_mail(send_at=send_at.isoformat())

    ask(mail, Action.HOLD)
    report = ask(mail, Action.RELEASE)

    released = reloaded(mail)
    assert (released.status, released.next_attempt_at) == (Status.QUEUED, send_at)
    assert report.describe(Action.RELEASE).startswith("The email is released and is sent at ")
    assert dispatch() == 0


def test_a_reprocess_of_a_held_email_keeps_its_time():
    send_at = at(days=1)
    mail = a_mail(send_at=send_at.isoformat())

    ask(mail, Action.HOLD)
    ask(mail, Action.REPROCESS)

    assert reloaded(mail).next_attempt_at == send_at


def test_a_scheduled_email_can_be_cancelled():
    mail = a_mail(send_at=at(days=1).isoformat())

    ask(mail, Action.CANCEL)

    assert reloaded(mail).status == Status.CANCELLED
    assert event_names(mail)[-1] == "CANCELLED"


def test_many_are_rescheduled_in_the_background():
    mails = [a_mail(send_at=at(days=1).isoformat()), a_mail()]
    times = plan_times(at(days=5), None)
    request = ActionRequest(action=Action.RESCHEDULE, by="user:hermes", times=times)

    process(bulk.create_bulk_action(request, [mail.pk for mail in mails], at=at(seconds=1), description="both"))

    assert BulkAction.objects.get().done == 2
    assert {reloaded(mail).next_attempt_at for mail in mails} == {times.send_at}
