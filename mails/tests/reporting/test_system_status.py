"""Queues, workers and accounts of the system status, read from real rows."""

import datetime as dt

import pytest

from mails import pauses
from mails.actions import apply
from mails.dispatch import wake
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Mail, Worker
from mails.queues import QueueName
from mails.reporting import system_status
from mails.states import WORKER_SILENCE, Action, HoldReason, Status
from mails.tests.builders import a_mail, dispatch
from mercury.lib.database import database_clock
from providers.health import breaker_store
from providers.models import BreakerMode, BreakerState

pytestmark = pytest.mark.django_db(transaction=True)


def state(mail, status, **more):
    Mail.objects.filter(pk=mail.pk).update(status=status, **more)


def test_a_queue_tells_its_depth_its_oldest_and_its_back_off(olympus):
    now = database_clock.now()
    first, _, later = a_mail(), a_mail(), a_mail()
    Mail.objects.filter(pk=first.pk).update(next_attempt_at=now - dt.timedelta(minutes=5))
    state(later, Status.WAITING, next_attempt_at=now + dt.timedelta(minutes=10))

    text = system_status.read_queue_status("text", database_clock.now())

    assert (text.due, text.deferred) == (2, 1)
    assert 300 <= text.oldest < 310
    assert text.next_at == text.last_at == now + dt.timedelta(minutes=10)
    assert system_status.read_queue_status("bulk", now) == system_status.QueueStatus(
        queue="bulk", due=0, oldest=None, deferred=0, next_at=None, last_at=None
    )


def test_a_queue_tells_its_pause():
    pauses.pause(QueueName.BULK, by="user:hermes", note="wrong template")

    text, _, _, _, bulk = system_status.read_system_status().queues

    assert (bulk.paused_by, bulk.paused_note) == ("hermes", "wrong template")
    assert (bulk.paused_at, text.paused_at) == (pauses.load_active().queues["bulk"].paused_at, None)


def test_a_depth_is_counted_up_to_a_bound(olympus, monkeypatch):
    monkeypatch.setattr(system_status, "COUNTED_AT_MOST", 2)
    for number in range(4):
        a_mail(subject=f"mail {number}")

    assert system_status.read_queue_status("text", database_clock.now()).due == 2


def test_held_emails_are_counted_by_reason():
    for reason in (HoldReason.UNKNOWN, HoldReason.UNKNOWN, HoldReason.POISON, HoldReason.OPERATOR):
        state(a_mail(), Status.HELD, reason_code=reason, next_attempt_at=None)

    assert system_status.count_held() == system_status.HeldCounts(unknown=2, poison=1, operator=1)


def test_a_worker_is_alive_until_it_was_silent_for_too_long():
    now, too_long = database_clock.now(), WORKER_SILENCE.total_seconds()
    for name, age in (("one", 4), ("two", too_long + 1)):
        seen = now - dt.timedelta(seconds=age)
        Worker.objects.create(id=name, started_at=seen, seen_at=seen, in_flight=3, polled_at=seen)

    found = system_status.read_system_status(now)

    assert [(worker.id, worker.alive, worker.in_flight) for worker in found.workers] == [
        ("one", True, 3),
        ("two", False, 3),
    ]
    assert found.poll_age == 4.0


def test_a_dispatcher_reports_in_its_heartbeat_what_it_does(olympus, monkeypatch):
    seen = []
    monkeypatch.setattr("mails.dispatch.heartbeat.HEARTBEAT", 0.01)
    monkeypatch.setattr("mails.dispatch.heartbeat.Heartbeat.remove", lambda self: seen.extend(Worker.objects.all()))
    for number in range(20):
        a_mail(subject=f"mail {number}")

    dispatch("text", concurrency=4)

    [row] = seen
    assert (row.queues, row.concurrency) == (["text"], 4)
    assert row.polled_at is not None


def test_an_account_tells_its_breaker(olympus, hades):
    breaker_store.force("hades", BreakerMode.OPEN, by="hermes")

    found = {account.name: account for account in system_status.read_system_status().accounts}

    assert (found["olympus"].state, found["olympus"].words) == (BreakerState.CLOSED, "no recent errors")
    assert (found["hades"].mode, found["hades"].words) == (BreakerMode.OPEN, "Forced open")


def test_the_oldest_unsent_email_may_be_deferred(olympus):
    now = database_clock.now()
    mail = a_mail()
    past = now - dt.timedelta(hours=2)
    state(mail, Status.WAITING, created_at=past, next_attempt_at=now + dt.timedelta(hours=1))

    assert system_status.read_system_status(now).oldest_unsent == 7200


def test_recently_expired_emails_are_counted_until_they_are_reprocessed(olympus):
    now = database_clock.now()
    recent, reprocessed, before = a_mail(), a_mail(), a_mail()
    for mail in (recent, reprocessed):
        state(mail, Status.EXPIRED, finished_at=now - dt.timedelta(hours=23))
    state(before, Status.EXPIRED, finished_at=now - dt.timedelta(hours=25))
    apply.apply_action(reprocessed.pk, ActionRequest(action=Action.REPROCESS, by="user:hermes"))

    assert system_status.read_system_status(now).expired == 1


def test_the_situation_costs_the_same_number_of_queries_whatever_waits(olympus, django_assert_max_num_queries):
    for number in range(30):
        a_mail(subject=f"mail {number}")

    with django_assert_max_num_queries(36):
        system_status.read_system_status()


def test_without_a_data_folder_the_disk_of_its_parent_is_measured(settings, tmp_path):
    settings.MERCURY_DATA = tmp_path / "never" / "made"

    assert 0 < system_status.read_system_status().disk_free <= 1


def test_redis_that_is_not_used_is_shown_so(settings):
    settings.REDIS_URL = ""

    assert wake.check_redis() == "not used"


def test_redis_that_does_not_answer_is_away(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert wake.check_redis() == "away"


def test_discarded_and_rejected_emails_are_counted_with_their_causes(olympus):
    now = database_clock.now()
    for _ in range(3):
        state(a_mail(), Status.DISCARDED, provider="olympus", reason_code="smtp-550", finished_at=now)
    state(a_mail(), Status.DISCARDED, provider="", reason_code="no-account", finished_at=now - dt.timedelta(hours=1))
    state(a_mail(), Status.REJECTED, reason_code="invalid", finished_at=now)

    found = system_status.read_system_status(now).failures

    assert (found.discarded.emails, found.discarded.recent) == (4, 3)
    assert (found.discarded.since, found.discarded.last) == (now - dt.timedelta(hours=1), now)
    assert [(cause.account, cause.reason, cause.emails) for cause in found.discarded.causes] == [
        ("olympus", "smtp-550", 3),
        ("", "no-account", 1),
    ]
    assert found.rejected.emails == 1


def test_refusals_because_of_the_account_count_until_it_accepts_again(olympus, hades):
    hades.disable()
    olympus.refuse(401)
    for _ in range(3):
        a_mail()
    dispatch()

    [trouble] = system_status.read_system_status().failures.repeated_failures

    assert (trouble.account, trouble.failure_class, trouble.attempts) == ("olympus", "account", 3)
    assert trouble.is_ongoing


def test_the_status_says_who_forced_a_breaker_and_when(olympus):
    breaker_store.force("olympus", BreakerMode.CLOSED, by="hermes", why="the probe is too slow")

    [account] = system_status.read_system_status().accounts

    assert account.by == "hermes"
    assert account.since == account.changed_at is not None
