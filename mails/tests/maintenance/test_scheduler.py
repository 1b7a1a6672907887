"""Periodic tasks follow the heartbeats, and nothing waits for one that is slow: no claim, no heartbeat, no recovery."""

import threading
import time

import pytest

from mails.dispatch import heartbeat
from mails.dispatch.dispatcher import Dispatcher
from mails.maintenance import sweeper
from mails.maintenance.periodic_thread import Beat
from mails.maintenance.scheduler import Scheduler, run_tasks
from mails.models import PeriodicTask, Worker
from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mails.worker.resident_dispatcher import ResidentDispatcher
from mercury.lib.runtime import event_loop


@pytest.fixture
def scheduler():
    """Started, and without a task that needs a database; `woken` is set when it wakes the dispatcher."""
    woken = threading.Event()
    started = Scheduler(wake=woken.set)
    started.tasks.clear()
    started.woken = woken
    started.start()
    yield started
    started.stop()


@pytest.mark.parametrize("changed", [True, False])
def test_a_sweep_that_recovered_something_wakes_the_dispatcher(monkeypatch, scheduler, changed):
    swept = threading.Semaphore(0)

    def sweep(worker, *, until):
        swept.release()
        return changed

    monkeypatch.setattr(sweeper, "sweep_if_leader", sweep)

    for _ in range(2):  # the second begins after the first has ended
        scheduler.note_heartbeat("worker")
        assert swept.acquire(timeout=10)

    assert scheduler.woken.is_set() == changed


def test_a_sweep_judges_by_the_moment_of_the_heartbeat(monkeypatch, scheduler):
    judged = []
    swept = threading.Event()

    def sweep(worker, *, until):
        judged.append(until)
        swept.set()

    monkeypatch.setattr(sweeper, "sweep_if_leader", sweep)
    before = time.monotonic()
    scheduler.note_heartbeat("worker")
    after = time.monotonic()

    assert swept.wait(10)
    assert before <= judged[0] - sweeper.LONGEST_LOOK <= after


def test_a_task_that_fails_stops_no_other():
    ran = []

    def fail(beat):
        raise RuntimeError("no such table")

    run_tasks({"first": fail, "second": ran.append}, Beat(worker="worker", at=0.0))

    assert len(ran) == 1


@pytest.fixture
def slow_task(olympus, monkeypatch):
    """A resident dispatcher whose maintenance does one task, and the task waits until the test has ended."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT", 0.5)
    PeriodicTask.objects.create(name=sweeper.TASK)
    resident = ResidentDispatcher(["text"])
    begun, may_end = threading.Event(), threading.Event()

    def hang(beat):
        begun.set()
        may_end.wait(60)

    resident.scheduler.tasks["slow"] = hang
    resident.start()
    assert begun.wait(30)
    yield resident
    assert not may_end.is_set()
    may_end.set()
    assert resident.stop()


def until(happened):
    """Wait for it; the database tells, so that it has to be asked again and again."""
    pause, ends = threading.Event(), time.monotonic() + 30
    while not happened():
        assert time.monotonic() < ends
        pause.wait(0.02)


@pytest.mark.django_db(transaction=True)
def test_during_a_slow_task_emails_leave_and_the_worker_beats(slow_task):
    worker = Worker.objects.get()
    mail = a_mail()

    until(lambda: reloaded(mail).status == Status.DONE)
    until(lambda: Worker.objects.get().seen_at > worker.seen_at)

    assert Worker.objects.get().pk == worker.pk


@pytest.mark.django_db(transaction=True)
def test_during_a_slow_task_emails_of_a_dead_worker_are_recovered(slow_task):
    mail = a_mail(queue="bulk")  # which this worker does not serve
    dead = Dispatcher(["bulk"], concurrency=8, worker="dead")
    assert len(dead.claimer.claim(8).calls) == 1
    event_loop.run(dead.threads.end())

    until(lambda: reloaded(mail).status == Status.QUEUED)


@pytest.mark.django_db(transaction=True)
def test_a_stop_does_not_wait_for_a_slow_task(slow_task):
    began = time.monotonic()

    assert slow_task.stop()

    assert time.monotonic() - began < 5
