"""Work that follows heartbeats: never with an old one, never in the way of who beats or stops."""

import threading
import time

from structlog.testing import capture_logs

from mails.maintenance import periodic_thread
from mails.maintenance.periodic_thread import Beat, PeriodicThread


def test_the_work_follows_each_heartbeat_and_a_failure_is_no_end():
    beats, worked = [], threading.Semaphore(0)

    def work(beat):
        beats.append(beat.worker)
        worked.release()
        raise RuntimeError("no such table")

    thread = PeriodicThread("mercury-test", work)
    thread.start()
    with capture_logs() as logged:
        for name in ("first", "second"):
            thread.note_heartbeat(name)
            assert worked.acquire(timeout=10)
        assert thread.stop()

    assert beats == ["first", "second"]
    assert [line["event"] for line in logged] == ["periodic_work_failed"] * 2


def test_no_work_begins_with_a_heartbeat_from_before_the_process_stood_still():
    beats, worked = [], threading.Event()

    def work(beat):
        beats.append(beat.worker)
        worked.set()

    thread = PeriodicThread("mercury-test", work)
    thread._beat = Beat(worker="old", at=time.monotonic() - periodic_thread.FRESH - 1)
    thread._changed.set()
    thread.start()

    thread.note_heartbeat("new")

    assert worked.wait(10)
    assert thread.stop()
    assert beats == ["new"]


def test_neither_a_heartbeat_nor_a_stop_waits_for_the_work(monkeypatch):
    monkeypatch.setattr(periodic_thread, "LAST_SECONDS", 0.01)
    begun, may_end = threading.Event(), threading.Event()

    def work(beat):
        begun.set()
        assert may_end.wait(60)

    thread = PeriodicThread("mercury-test", work)
    thread.start()
    thread.note_heartbeat("worker")
    assert begun.wait(10)

    thread.note_heartbeat("worker")

    assert not thread.stop()
    may_end.set()
    thread._thread.join(10)
    assert not thread._thread.is_alive()
