"""Sending is paused: email is accepted and kept, also across restarts and restored back-ups."""

import asyncio
import datetime as dt

import pytest

from mails import pauses
from mails.actions import pausing
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import claim
from mails.maintenance import sweeper
from mails.models import Pause
from mails.states import Action, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mails.tests.lifecycle.support import (
    REFUSED,
    CallsInProgress,
    request_action,
)
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def test_while_sending_is_paused_emails_are_accepted_and_nothing_is_sent(olympus):
    assert pausing.pause_sending(by="hermes", note="restore")
    mail = a_mail()

    assert dispatch() == 0
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert not pausing.pause_sending(by="hermes")

    assert pausing.resume_sending(by="hermes")
    assert not pausing.resume_sending(by="hermes")
    assert dispatch() == 1


def test_an_email_found_before_sending_was_paused_stays_where_it_is(olympus, monkeypatch):
    mail = a_mail()
    due = claim.select_due

    def then_pause(*arguments, **options):
        found = due(*arguments, **options)
        pauses.pause(by="hermes")
        return found

    monkeypatch.setattr(claim, "select_due", then_pause)

    assert CallsInProgress().calls == []

    assert (reloaded(mail).status, mail.attempts.count()) == (Status.QUEUED, 0)


def test_an_email_refused_while_sending_is_paused_is_not_handed_on(olympus, hades):
    mail = a_mail()
    handed = CallsInProgress()
    pauses.pause(by="hermes")

    handed.answer(REFUSED)

    assert (handed.calls, reloaded(mail).status) == ([], Status.QUEUED)
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]
    pauses.resume(by="hermes")
    assert dispatch() == 1
    assert mail.attempts.count() == 2


def test_an_instance_that_starts_paused_sends_nothing_until_it_is_resumed(olympus, settings):
    settings.MERCURY_START_PAUSED = True
    mail = a_mail()

    assert dispatch() == 0
    assert dispatch() == 0
    assert pauses.load_active().all_sending.at_start

    pausing.resume_sending(by="command line")
    Pause.objects.update(resumed_at=database_clock.now() - dt.timedelta(days=1))
    sweeper.sweep_if_leader("w")
    sweeper.sweep_if_leader("w")  # it lives, so the next start is a restart

    assert dispatch() == 1
    assert reloaded(mail).status == Status.DONE


def test_a_restored_instance_is_paused_again(olympus, settings):
    settings.MERCURY_START_PAUSED = True
    pauses.pause_at_start()
    pauses.resume(by="command line")
    pauses.pause_at_start()
    assert pauses.load_active().all_sending is None
    Pause.objects.update(resumed_at=database_clock.now() - dt.timedelta(days=1))

    pauses.pause_at_start()

    assert pauses.load_active().all_sending is not None


def test_a_dispatcher_in_its_loop_holds_what_it_was_asked_to(olympus, hades):
    olympus.refuse(503)
    hades.refuse(503)
    mail = a_mail()
    asyncio.run(Dispatcher(["text"], concurrency=8).run(until_idle=True))
    assert reloaded(mail).status == Status.WAITING

    request_action(mail, Action.REPROCESS)

    assert (reloaded(mail).status, reloaded(mail).round, reloaded(mail).tried) == (Status.QUEUED, 1, [])
