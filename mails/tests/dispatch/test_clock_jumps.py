"""The database's clock jumps: nobody is considered dead because of it, nothing waits for it, no timeline goes back."""

import datetime as dt

import pytest

from mails.actions import apply
from mails.intake import copies
from mails.intake.accept import accept
from mails.lifecycle import writer
from mails.lifecycle.action_requests import ActionRequest
from mails.lifecycle.values import EventDraft
from mails.maintenance import leadership, sweeper
from mails.models import Mail, PeriodicTask, Worker
from mails.states import WORKER_SILENCE, Action, Status
from mails.tests.builders import COMMAND, a_mail, dispatch, event_names, reloaded
from mails.tests.dispatch.test_locked_rows import sent_by
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def jump(db, monkeypatch):
    """The clock jumps by so much, for this process at once."""
    look = database_clock._look
    leadership.acquire(sweeper.TASK, "judge")  # which makes the row, and is it for nobody yet

    def jumps(by):
        moved = int(by.total_seconds() * 1e9)

        def shifted():
            reading = look()
            return database_clock._Reading(reading.epoch_ns + moved, reading.monotonic_ns)

        now_ns = database_clock.now_ns if database_clock.connection.vendor == "postgresql" else None
        database_clock.look()
        monkeypatch.setattr(database_clock, "_look", shifted)
        if now_ns is None:  # SQLite's clock is the machine's, which is read at each question
            monkeypatch.setattr(database_clock, "now_ns", lambda: shifted().epoch_ns)

    return jumps


def later(monkeypatch):
    """More time has passed since the jump than anybody needs for a heartbeat."""
    monkeypatch.setattr(database_clock, "has_jumped_within", lambda seconds: False)


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_worker_that_lives_is_not_considered_dead_right_after_a_jump(olympus, jump, monkeypatch, by):
    a_mail()
    worker = sent_by("alive")
    worker.heartbeat.write()
    jump(by)

    assert not sweeper.sweep_if_leader("judge")
    assert Mail.objects.get().status == Status.SENDING

    later(monkeypatch)
    worker.heartbeat.write()  # by the new clock; and it keeps the lease that the new clock says is over
    assert not sweeper.sweep_if_leader("judge")
    assert Mail.objects.get().status == Status.SENDING


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_worker_that_beats_after_a_jump_during_a_sweep_is_not_considered_dead(olympus, jump, monkeypatch, by):
    a_mail()
    sent_by("alive").heartbeat.write()
    find_lost = sweeper.find_lost

    def find_after_jump(now):
        jump(by)
        Worker.objects.update(seen_at=now + by)  # as another process does, so that this one has not noticed
        return find_lost(now)

    monkeypatch.setattr(sweeper, "find_lost", find_after_jump)

    assert not sweeper.sweep_if_leader("judge")
    assert Mail.objects.get().status == Status.SENDING


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_worker_that_is_dead_is_recovered_from_after_a_jump(olympus, jump, monkeypatch, by):
    a_mail()
    sent_by("dead").heartbeat.write()
    jump(by)
    sweeper.sweep_if_leader("judge")
    later(monkeypatch)

    assert sweeper.sweep_if_leader("judge")
    assert Mail.objects.get().status == Status.QUEUED


def test_what_was_queued_before_the_clock_went_back_is_due_at_once(olympus, jump):
    mail = a_mail()
    jump(-HOUR)
    database_clock.look()
    assert dispatch() == 0

    assert sweeper.sweep_if_leader("judge")
    assert dispatch() == 1
    moments = list(mail.events.order_by("id").values_list("created_at", flat=True))
    assert moments == sorted(moments)
    assert event_names(mail)[-1] == "DONE"
    attempt = mail.attempts.get()
    assert attempt.closed_at >= attempt.opened_at


def test_no_door_dates_an_event_before_the_last_one(olympus, jump):
    mail = a_mail()
    [call] = sent_by("busy")._open_calls.values()
    jump(-HOUR)
    database_clock.look()
    apply.apply_action(mail.pk, ActionRequest(action=Action.HOLD, by="hermes"))
    writer.append_client_event(reloaded(mail), event="READ", blob="", by="key:shop")
    now_ns = database_clock.now_ns()
    writer.record_late([(mail.pk, None, EventDraft(event="LATE RESULT", by="worker", at_ns=now_ns))])

    moments = list(mail.events.order_by("id").values_list("created_at", flat=True))
    assert moments == sorted(moments)
    assert moments[-1] > now_ns
    assert call.mail.id == mail.pk


@pytest.mark.parametrize(
    "append",
    [
        lambda mail, event: writer.append_event(mail.pk, event),
        lambda mail, event: writer.append_client_event(mail, event="READ", blob="", by="key:shop"),
        lambda mail, event: writer.record_late([(mail.pk, None, event)]),
        lambda mail, event: dispatch() and accept([copies.build_copy(reloaded(mail), by="hermes")], client=COMMAND),
    ],
    ids=["of Mercury's own", "of a client", "late result", "copy"],
)
def test_what_follows_is_dated_no_earlier_than_an_event_that_moved_nothing(olympus, jump, append):
    mail = a_mail()
    append(mail, EventDraft(event="NOTED", by="worker", at_ns=database_clock.now_ns()))
    jump(-HOUR)
    database_clock.look()
    sweeper.bring_forward()

    assert dispatch() == 1
    writer.append_client_event(reloaded(mail), event="READ", blob="", by="key:shop")
    moments = list(mail.events.order_by("id").values_list("created_at", flat=True))
    assert moments == sorted(moments)


def test_an_email_of_the_version_before_is_written_on(olympus):
    mail = a_mail()
    Mail.objects.update(last_event_at=None)

    assert dispatch() == 1
    assert reloaded(mail).last_event_at == mail.events.last().created_at


def test_a_periodic_task_waits_for_no_clock_that_went_back(jump):
    assert leadership.begin_run("sweep", "first", every=HOUR) or leadership.begin_run("sweep", "first", every=HOUR)
    jump(-2 * HOUR)
    database_clock.look()

    assert leadership.begin_run("sweep", "second", every=HOUR)
    assert PeriodicTask.objects.get().leader == "second"


def test_a_worker_dated_in_the_future_is_dead(olympus):
    a_mail()
    sent_by("dead").heartbeat.write()
    Worker.objects.update(seen_at=database_clock.now() + 2 * WORKER_SILENCE)

    assert sweeper.sweep() == {"queued again: outcome unknown": 1}
