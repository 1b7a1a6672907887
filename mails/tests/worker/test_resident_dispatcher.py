"""The resident dispatcher runs the periodic tasks, and looks for mails again where those left some due."""

import threading

import pytest

from mails.dispatch import wake
from mails.dispatch.dispatcher import Progress
from mails.maintenance import scheduler, sweeper
from mails.worker import resident_dispatcher


@pytest.mark.parametrize(("changed", "woken"), [(True, 1), (False, 0)])
def test_a_sweep_that_took_something_up_wakes_the_dispatcher(monkeypatch, changed, woken):
    calls = []
    monkeypatch.setattr(sweeper, "sweep_if_leader", lambda worker: changed)
    monkeypatch.setattr(wake, "wake_local", lambda: calls.append("woken"))

    scheduler.run_tasks("worker")

    assert len(calls) == woken


def test_a_sweep_that_fails_does_not_end_the_dispatcher_that_called_it(monkeypatch):
    def fails(worker):
        raise RuntimeError("no such table")

    monkeypatch.setattr(sweeper, "sweep_if_leader", fails)

    scheduler.run_tasks("worker")


def test_each_minute_tells_what_came_in_it_and_that_nothing_did():
    reports = []
    minutes = resident_dispatcher.MinuteReport(reports.append, now=100.0)

    for now, closed, done in [(101, 0, 0), (159, 4, 3), (161, 9, 7), (163, 9, 7), (219, 9, 7), (221, 9, 7)]:
        minutes.update(Progress(in_flight=2, closed=closed, done=done), now=now)

    assert reports == [Progress(in_flight=2, closed=9, done=7), Progress(in_flight=2, closed=0, done=0)]


def test_minutes_that_were_missed_are_reported_once():
    reports = []
    minutes = resident_dispatcher.MinuteReport(reports.append, now=0.0)

    for now in (400, 401, 419, 421):
        minutes.update(Progress(in_flight=0, closed=now, done=now), now=now)

    assert [progress.closed for progress in reports] == [400, 21]


@pytest.mark.django_db(transaction=True)
def test_a_resident_dispatcher_tells_of_its_minutes(olympus, monkeypatch):
    monkeypatch.setattr(resident_dispatcher, "MINUTE", 1e-6)
    reported = threading.Event()
    resident = resident_dispatcher.ResidentDispatcher(["text"], each_minute=lambda minute: reported.set())

    resident.start()

    try:
        assert reported.wait(10)
    finally:
        resident.stop()
