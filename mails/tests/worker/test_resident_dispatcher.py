"""The resident dispatcher reports each minute what it has done."""

import threading

import pytest

from mails.dispatch.dispatcher import Progress
from mails.worker import resident_dispatcher


def test_a_report_tells_what_came_since_the_last_and_that_nothing_did():
    reports = []
    minutes = resident_dispatcher.MinuteReport(reports.append)

    for closed, done in [(9, 7), (9, 7), (11, 8)]:
        minutes.update(Progress(in_flight=2, closed=closed, done=done))

    assert [(report.closed, report.done) for report in reports] == [(9, 7), (0, 0), (2, 1)]


def test_a_dispatcher_that_replaced_a_failed_one_counts_from_zero():
    reports = []
    minutes = resident_dispatcher.MinuteReport(reports.append)

    for closed in (40, 3):
        minutes.update(Progress(in_flight=0, closed=closed, done=closed))

    assert [report.closed for report in reports] == [40, 3]


def test_a_stop_that_came_before_the_start_ends_all_threads():
    resident = resident_dispatcher.ResidentDispatcher(["text"], each_minute=lambda minute: None)
    before = set(threading.enumerate())

    resident.ask_to_stop()
    resident.start()

    assert resident.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


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
