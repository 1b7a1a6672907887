"""Emails of lost workers return to the queue; where an outcome is unknown, it is on record."""

import datetime as dt
import time

import pytest
from django.db import OperationalError
from django.db.models import F

from mails import pauses
from mails.dispatch.dispatcher import Dispatcher
from mails.maintenance import sweeper
from mails.models import Attempt, Mail, PeriodicTask, Worker
from mails.states import WORKER_SILENCE, AttemptState, HoldReason, RecipientState, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mails.tests.lifecycle.support import read_last_blob
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop

pytestmark = pytest.mark.django_db(transaction=True)


def sending_by_a_lost_worker():
    """The dispatcher dies between the commit of the attempts and the calls."""
    return Dispatcher(["text"], concurrency=8, worker="lost").claimer.claim(8).calls


def test_a_call_without_an_end_is_unknown_and_goes_on_at_least_once(olympus, hades):
    mail = a_mail()
    sending_by_a_lost_worker()

    assert sweeper.sweep() == {"queued again: outcome unknown": 1}

    assert mail.attempts.get().state == AttemptState.UNKNOWN
    assert event_names(mail)[-2:] == ["UNKNOWN", "RETRY"]
    assert dispatch() == 1
    assert reloaded(mail).possible_duplicate
    assert len({attempt.account for attempt in mail.attempts.all()}) == 2


def test_a_sweep_that_looked_before_the_mail_was_handed_on_changes_nothing(olympus, hades, monkeypatch):
    mail = a_mail()
    [call] = sending_by_a_lost_worker()
    seen = sweeper.find_lost(database_clock.now())
    handed_on = Attempt(mail=mail, number=2, account="hades", lease=call.attempt.lease, opened_at=database_clock.now())
    Mail.objects.filter(pk=mail.pk).update(attempt_count=2)
    handed_on.save(force_insert=True)
    monkeypatch.setattr(sweeper, "find_lost", lambda now: seen)

    assert not sweeper.sweep()

    assert reloaded(mail).status == Status.SENDING
    assert event_names(mail)[-1] == "SEND"


def test_a_sweep_during_which_the_database_stood_still_judges_nobody(olympus):
    mail = a_mail()
    sending_by_a_lost_worker()

    assert not sweeper.sweep_if_leader("olympian", until=time.monotonic() - 1)

    assert reloaded(mail).status == Status.SENDING
    assert sweeper.sweep_if_leader("olympian")
    assert reloaded(mail).status == Status.QUEUED


def test_a_heartbeat_during_which_the_database_stood_still_lets_others_beat_first(olympus, monkeypatch):
    runner = Dispatcher(["text"], concurrency=8)
    monkeypatch.setattr("mails.dispatch.heartbeat.HEARTBEAT", -1.0)

    runner.heartbeat.beat()

    assert not runner.heartbeat.may_judge_others()
    assert runner.heartbeat._judges_from > time.monotonic() + WORKER_SILENCE.total_seconds() / 2


def test_a_process_that_begins_as_the_database_is_back_lets_others_beat_for_as_long_as_any_other(olympus):
    runner = Dispatcher(["text"], concurrency=8)
    runner.heartbeat.judge_nobody_until_all_could_beat()

    runner.heartbeat.beat()

    assert runner.heartbeat._judges_from > time.monotonic() + 0.8 * WORKER_SILENCE.total_seconds()


def test_a_process_that_cannot_begin_since_the_database_is_away_judges_as_late_as_others(olympus, monkeypatch):
    runner = Dispatcher(["text"], concurrency=8)
    begin = pauses.pause_at_start

    def fail_once():
        monkeypatch.setattr(pauses, "pause_at_start", begin)
        raise OperationalError("could not connect to server")

    monkeypatch.setattr(pauses, "pause_at_start", fail_once)

    event_loop.run(runner.run(until_idle=True))

    assert runner.heartbeat._judges_from > time.monotonic() + 0.7 * WORKER_SILENCE.total_seconds()


def test_a_mail_of_which_some_recipients_were_accepted_before_ends_as_done_in_part(olympus):
    mail = a_mail(recipient="hera@olimpus.com, iris@olimpus.com")
    sending_by_a_lost_worker()
    mail.recipients.filter(address="hera@olimpus.com").update(state=RecipientState.ACCEPTED)
    sweeper.sweep()
    Mail.objects.update(expires_at=database_clock.now())

    dispatch()

    assert reloaded(mail).status == Status.DONE
    assert [recipient.state for recipient in mail.recipients.all()] == [RecipientState.ACCEPTED, RecipientState.REFUSED]


def test_a_mail_that_was_accepted_in_part_ends_though_no_account_can_take_it(olympus):
    mail = a_mail(recipient="hera@olimpus.com, iris@olimpus.com")
    mail.recipients.filter(address="hera@olimpus.com").update(state=RecipientState.ACCEPTED)
    olympus.disable()
    Mail.objects.update(expires_at=database_clock.now())
    assert dispatch() == 0

    assert sweeper.sweep() == {"done in part": 1}

    assert reloaded(mail).status == Status.DONE
    assert [(recipient.state, recipient.reason) for recipient in mail.recipients.all()] == [
        (RecipientState.ACCEPTED, ""),
        (RecipientState.REFUSED, "It expired before an account accepted it."),
    ]
    assert read_last_blob(mail)["accepted"] == ["hera@olimpus.com"]
    assert not sweeper.sweep()


def test_a_call_without_an_end_is_held_at_most_once(olympus):
    mail = a_mail(delivery_guarantee="at-most-once")
    sending_by_a_lost_worker()

    assert sweeper.sweep() == {"held: outcome unknown": 1}

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.UNKNOWN)
    assert event_names(mail)[-2:] == ["UNKNOWN", "HELD"]
    assert dispatch() == 0


def test_a_mail_that_two_workers_died_of_is_poison(olympus):
    mail = a_mail()
    for _ in range(2):
        Mail.objects.update(next_attempt_at=database_clock.now(), tried=[])
        sending_by_a_lost_worker()
        sweeper.sweep()

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.POISON)
    assert dispatch() == 0


def test_a_worker_lost_after_an_answer_was_is_one_unknown_outcome_too_many(olympus):
    mail = a_mail()
    olympus.lose_answer()
    dispatch()
    olympus.behave()
    Mail.objects.update(next_attempt_at=database_clock.now())
    sending_by_a_lost_worker()

    assert sweeper.sweep() == {"held: outcome unknown": 1}

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.UNKNOWN)
    assert "by two requests" in mail.events.last().blob


def test_a_worker_that_beats_keeps_its_mails(olympus):
    mail = a_mail()
    now = database_clock.now()
    Worker.objects.create(id="lost", started_at=now, seen_at=now)
    sending_by_a_lost_worker()

    assert not sweeper.sweep()

    assert reloaded(mail).status == Status.SENDING


def test_a_worker_silent_for_10_seconds_is_lost_long_before_its_lease_ends(olympus):
    mail = a_mail()
    now = database_clock.now()
    Worker.objects.create(id="lost", started_at=now, seen_at=now - dt.timedelta(seconds=11))
    sending_by_a_lost_worker()

    sweeper.sweep()

    assert reloaded(mail).status == Status.QUEUED


def test_an_email_whose_lease_is_over_is_recovered_even_if_the_worker_beats(olympus):
    mail = a_mail()
    now = database_clock.now()
    Worker.objects.create(id="lost", started_at=now, seen_at=now)
    sending_by_a_lost_worker()
    Mail.objects.update(lease_expires_at=F("lease_expires_at") - dt.timedelta(minutes=2))

    sweeper.sweep()

    assert reloaded(mail).status == Status.QUEUED


def test_a_mail_past_its_time_expires(olympus):
    mail = a_mail()
    Mail.objects.update(expires_at=database_clock.now() - dt.timedelta(seconds=1))

    assert sweeper.sweep() == {"expired": 1}

    assert reloaded(mail).status == Status.EXPIRED
    assert event_names(mail)[-1] == "EXPIRED"


def test_a_dry_run_counts_and_changes_nothing(olympus):
    mail = a_mail()
    sending_by_a_lost_worker()

    assert sweeper.sweep(dry_run=True) == {"queued again: outcome unknown": 1}

    assert reloaded(mail).status == Status.SENDING


def test_only_the_leader_sweeps(olympus):
    sweeper.sweep_if_leader("one")
    sweeper.sweep_if_leader("one")
    mail = a_mail()
    sending_by_a_lost_worker()

    sweeper.sweep_if_leader("two")
    assert reloaded(mail).status == Status.SENDING
    PeriodicTask.objects.update(expires_at=database_clock.now() - dt.timedelta(seconds=1))
    sweeper.sweep_if_leader("two")

    assert reloaded(mail).status == Status.QUEUED
    assert PeriodicTask.objects.get().leader == "two"


def test_the_task_of_a_lost_worker_is_free_when_its_mails_are(olympus):
    sweeper.sweep_if_leader("lost")
    mail = a_mail()
    sending_by_a_lost_worker()
    PeriodicTask.objects.update(expires_at=F("expires_at") - WORKER_SILENCE)

    assert sweeper.sweep_if_leader("alive")

    assert reloaded(mail).status == Status.QUEUED
    assert not sweeper.sweep_if_leader("alive")


@pytest.mark.parametrize(("lost", "left"), [(5, 0), (9, 1)])
def test_what_many_lost_workers_held_is_recovered_at_one_heartbeat_up_to_a_bound(olympus, monkeypatch, lost, left):
    monkeypatch.setattr(sweeper, "BATCH", 2)
    PeriodicTask.objects.create(name=sweeper.TASK)
    for number in range(lost):
        a_mail(subject=f"mail {number}")
    dying = Dispatcher(["text"], concurrency=16, worker="lost")
    while dying.claimer.claim(16).calls:
        pass

    assert sweeper.sweep_if_leader("alive")

    assert Mail.objects.filter(status=Status.SENDING).count() == left
