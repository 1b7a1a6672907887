"""Counters are written with the results, and no fold loses or doubles one."""

import datetime as dt
import random
import threading
import uuid
from collections import Counter

import pytest
from django.db import connections

from mails.access.api_keys import create
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.steps.transitions import Result
from mails.intake.client import Client
from mails.lifecycle import writer
from mails.lifecycle.counters import CounterKey, Counters
from mails.lifecycle.values import EventDraft, MailState, NewMail, Step
from mails.maintenance import sweeper
from mails.message.message import Message
from mails.models import Mail, PeriodicTask, Rollup, first_id
from mails.reporting import rollups
from mails.states import Counted, Ending, EventName, Level, Source, Status
from mails.tests.builders import NOT_CALLED, a_mail, a_rejected_mail, dispatch
from mails.tests.maintenance.test_sweeper import sending_by_a_lost_worker
from mercury.lib.database import database_clock
from providers.outcomes import Cause, NotAttempted

pytestmark = pytest.mark.django_db(transaction=True)

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


def counted(kind, level=Level.FRESH):
    """Return counts by (account, outcome, failure class)."""
    found = Counter()
    for row in Rollup.objects.filter(kind=kind, level=level):
        found[row.account, row.outcome, row.failure_class] += row.count
    return found


def fresh(now, *seconds, queue="text"):
    counters = Counters()
    for duration in seconds:
        counters.count(CounterKey(Counted.END, queue, "olympus", outcome=Ending.DONE), duration)
    Rollup.objects.bulk_create([Rollup(**row) for row in counters.build_rows(now)])


def test_a_sent_email_counts_as_first_send_attempt_and_end(olympus):
    a_mail()

    dispatch()

    assert counted(Counted.FIRST_SEND) == {("", "", ""): 1}
    assert counted(Counted.CALL) == {("olympus", "accepted", ""): 1}
    assert counted(Counted.END) == {("olympus", "done", ""): 1}
    end = Rollup.objects.get(kind=Counted.END)
    assert sum(end.buckets.values()) == 1
    assert end.total_us > 0
    assert end.start.second == 0


def test_a_group_of_results_becomes_a_handful_of_rows(olympus):
    for number in range(30):
        a_mail(subject=f"mail {number}")

    dispatch(concurrency=64)

    ends = Rollup.objects.filter(kind=Counted.END)
    assert sum(row.count for row in ends) == 30
    assert ends.count() < 10


def test_a_failover_is_counted_apart_and_the_refusal_by_its_class(olympus, hades):
    olympus.refuse(503)
    for number in range(12):
        a_mail(subject=f"mail {number}")

    dispatch()

    assert counted(Counted.CALL)["olympus", "refused", "provider"] > 0
    ends = counted(Counted.END)
    assert ends["hades", "failover", ""] == Mail.objects.filter(attempt_count__gt=1).count() > 0
    assert ends["hades", "done", ""] == Mail.objects.filter(attempt_count=1).count()


def test_an_email_that_was_requeued_and_then_sent_is_no_failover(olympus):
    a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls
    runner.recorder.record([Result(call=call, outcome=NOT_CALLED, latency=0.0)])

    dispatch()

    assert Mail.objects.get().attempt_count == 2
    assert counted(Counted.END) == {("olympus", "done", ""): 1}


def test_an_email_that_a_later_round_sent_is_a_failover(olympus):
    olympus.refuse(503)
    a_mail()
    dispatch()
    olympus.behave()
    Mail.objects.update(next_attempt_at=database_clock.now())

    dispatch()

    assert counted(Counted.END) == {("olympus", "failover", ""): 1}


def test_a_discarded_email_counts_with_its_failure_class(olympus):
    olympus.refuse(400)
    a_mail()

    dispatch()

    assert counted(Counted.END) == {("olympus", "discarded", "message"): 1}


def test_an_attempt_of_a_dead_worker_counts_as_unknown_and_the_email_as_held(olympus):
    a_mail(delivery_guarantee="at-most-once")
    sending_by_a_lost_worker()

    sweeper.sweep()

    assert counted(Counted.CALL) == {("olympus", "unknown", ""): 1}
    assert counted(Counted.END) == {("olympus", "held", ""): 1}


@pytest.mark.parametrize("cause", [Cause.WORKER, Cause.EMAIL])
def test_an_attempt_that_was_not_made_counts_for_no_account(cause, olympus):
    a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls

    outcome = NotAttempted(cause=cause, reason_code="not-called", reason="no")
    runner.recorder.record([Result(call=call, outcome=outcome, latency=0.0)])

    assert counted(Counted.CALL) == {}


def test_a_step_that_was_not_recorded_counts_nothing():
    mail = a_mail()
    event = EventDraft(event=EventName.HELD, by="hermes", at_ns=database_clock.now_ns(), blob={})
    hold = Step(
        mail_id=mail.pk,
        before=Status.QUEUED,
        fence=None,
        after=MailState(status=Status.HELD, reason_code="operator"),
        events=(event,),
    )

    writer.record([hold])
    writer.record([hold])

    assert counted(Counted.END) == {("", "held", ""): 1}


def test_a_fold_moves_fresh_rows_to_every_level_and_keeps_their_sum():
    fresh(NOON, 0.2, 0.3)
    fresh(NOON + dt.timedelta(minutes=1), 5)
    fresh(NOON, 0.2, queue="bulk")

    rollups.fold(NOON + dt.timedelta(minutes=2))

    assert not Rollup.objects.filter(level=Level.FRESH).exists()
    for level in (Level.MINUTE, Level.TEN_MINUTES, Level.HOUR, Level.DAY, Level.EVER):
        rows = Rollup.objects.filter(level=level)
        assert (sum(row.count for row in rows), sum(row.total_us for row in rows)) == (4, 5_700_000)
        assert sum(sum(row.buckets.values()) for row in rows) == 4
    assert Rollup.objects.filter(level=Level.MINUTE).count() == 3
    assert Rollup.objects.filter(level=Level.HOUR).count() == 2


def test_a_second_fold_adds_to_the_rows_of_the_first():
    for _ in range(3):
        fresh(NOON, 0.2)
        rollups.fold(NOON)

    row = Rollup.objects.get(level=Level.MINUTE)
    assert (row.count, list(row.buckets.values())) == (3, [3])


def test_two_processes_that_fold_at_once_lose_and_double_nothing():
    begin = threading.Barrier(2)

    def fold_often():
        begin.wait()
        try:
            for _ in range(10):
                fresh(NOON, 0.2)
                rollups.fold(NOON)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=fold_often) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rollups.fold(NOON)

    for level in (Level.MINUTE, Level.HOUR, Level.EVER):
        assert sum(Rollup.objects.filter(level=level).values_list("count", flat=True)) == 20


def test_minutes_are_removed_after_two_days_and_the_sum_of_all_time_stays():
    fresh(NOON, 0.2)
    rollups.fold(NOON)

    rollups.fold(NOON + dt.timedelta(days=3))

    assert not Rollup.objects.filter(level=Level.MINUTE).exists()
    assert Rollup.objects.get(level=Level.HOUR).count == 1
    assert Rollup.objects.get(level=Level.EVER).count == 1


def just_after():
    """When mails of now are old enough to be counted; their ids tell milliseconds, and the last one is not over yet."""
    return database_clock.now() + rollups.ARRIVALS_LAG + dt.timedelta(milliseconds=1)


def test_arrivals_are_counted_by_queue_and_application_and_rejected_apart():
    now = database_clock.now()
    PeriodicTask.objects.create(name=rollups.TASK, done_until=now)
    key, _ = create("shop", scopes=["mails:send"], senders=["*"])
    for _ in range(3):
        a_mail(Client(source=Source.API, api_key=key))
    a_mail()
    a_rejected_mail(recipient="nobody")

    rollups.count_arrivals(just_after())

    rows = {(row.application, row.outcome): row.count for row in Rollup.objects.filter(kind=Counted.ARRIVAL)}
    assert rows == {(key.pk, "accepted"): 3, (0, "accepted"): 1, (0, "rejected"): 1}


def test_arrivals_are_counted_though_nothing_is_claimed_and_once_only():
    PeriodicTask.objects.create(name=rollups.TASK, done_until=database_clock.now())
    for _ in range(3):
        a_mail()
    later = just_after()

    rollups.count_arrivals(later)
    rollups.count_arrivals(later)
    rollups.count_arrivals(later + dt.timedelta(minutes=1))

    assert counted(Counted.ARRIVAL) == {("", "accepted", ""): 3}


def test_arrivals_missed_without_a_leader_are_counted_later_in_their_own_minutes():
    now = database_clock.now()
    PeriodicTask.objects.create(name=rollups.TASK, done_until=now - dt.timedelta(minutes=9))
    arrived = [now - dt.timedelta(minutes=age) for age in (8, 8, 3)]
    for moment in arrived:
        message = Message(sender="")
        mail = Mail(
            id=uuid7_of(moment), created_at=moment, expires_at=now, source="api", queue="text", **message.columns
        )
        state = MailState(status=Status.QUEUED, next_attempt_at=now)
        writer.create([NewMail(mail=mail, message=message, state=state, events=())])

    for _ in range(6):
        rollups.count_arrivals(now)

    minutes = Counter()
    for row in Rollup.objects.filter(kind=Counted.ARRIVAL):
        minutes[row.start] += row.count
    assert minutes == Counter(rollups.floor_to_level(moment, Level.MINUTE) for moment in arrived)


def uuid7_of(moment):
    return uuid.UUID(int=first_id(moment).int + random.getrandbits(64))
