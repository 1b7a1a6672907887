"""The heartbeat waits for nobody, and nobody for it."""

import threading

import pytest
from django.db import connection, transaction

from mails.dispatch.claimer import Claimer
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.heartbeat import HEARTBEAT, HEARTBEAT_TRUST, Heartbeat
from mails.dispatch.recorder import Recorder
from mails.states import WORKER_SILENCE
from mails.tests.builders import a_mail, dispatch
from mercury.lib.database import database_bounds
from mercury.lib.runtime import event_loop

pytestmark = pytest.mark.django_db(transaction=True)

LONG = 20.0  # seconds; nothing here takes so long unless it waits for what it must not wait for


@pytest.fixture
def beats(monkeypatch):
    """A semaphore that is released with each heartbeat, of which there are many."""
    monkeypatch.setattr("mails.dispatch.heartbeat.HEARTBEAT", 0.01)
    beats, write = threading.Semaphore(0), Heartbeat.write

    def write_and_tell(self):
        write(self)
        beats.release()

    monkeypatch.setattr(Heartbeat, "write", write_and_tell)
    return beats


@pytest.mark.parametrize(("spoke", "name"), [(Claimer, "claim"), (Recorder, "record")])
def test_the_heartbeat_goes_on_while_a_pass_hangs(spoke, name, olympus, beats, monkeypatch):
    a_mail()
    beaten, run = [], getattr(spoke, name)

    def hang(self, *arguments):
        beaten.append([beats.acquire(timeout=LONG) for _ in range(5)])
        return run(self, *arguments)

    monkeypatch.setattr(spoke, name, hang)

    assert dispatch() == 1
    assert all(all(each) for each in beaten)


def test_claims_and_results_go_on_while_the_heartbeat_hangs(olympus, monkeypatch):
    monkeypatch.setattr("mails.dispatch.heartbeat.HEARTBEAT", 0.0)
    mail, claims, hangs, sent, hung = a_mail(), threading.Event(), threading.Event(), threading.Event(), []
    write, claim, record = Heartbeat.write, Claimer.claim, Recorder.record

    def hang_from_the_first_claim_on(self):
        if claims.is_set():
            hangs.set()
            hung.append(sent.wait(LONG))
        write(self)

    def claim_while_it_hangs(self, *arguments):
        claims.set()
        hung.append(hangs.wait(LONG))
        return claim(self, *arguments)

    def record_and_tell(self, results):
        recorded = record(self, results)
        sent.set()
        return recorded

    monkeypatch.setattr(Heartbeat, "write", hang_from_the_first_claim_on)
    monkeypatch.setattr(Claimer, "claim", claim_while_it_hangs)
    monkeypatch.setattr(Recorder, "record", record_and_tell)

    assert dispatch() == 1
    assert all(hung)
    assert mail.events.filter(event="DONE").exists()


@pytest.mark.skipif(connection.vendor == "postgresql", reason="PostgreSQL has a lock for each row")
def test_on_sqlite_the_heartbeat_is_the_next_to_write_however_much_is_claimed(olympus, monkeypatch):
    runner = Dispatcher(["text"], concurrency=8)
    holds, in_line, done, order = threading.Event(), threading.Semaphore(0), threading.Event(), []
    wait_for = database_bounds.waits.wait_for

    def wait_and_tell(event, seconds):
        in_line.release()
        wait_for(event, seconds)

    def claim_for_long():
        with database_bounds.limit_work(database_bounds.DISPATCH), transaction.atomic():
            holds.set()
            assert done.wait(LONG)
            order.append("claim")

    def claim_again():
        with transaction.atomic():
            order.append("next claim")

    def beat():
        with transaction.atomic():
            runner.heartbeat.write()
            order.append("heartbeat")

    def run(work):
        try:
            work()
        finally:
            connection.close()

    first, heartbeat, second = [
        threading.Thread(target=run, args=[work]) for work in (claim_for_long, beat, claim_again)
    ]
    first.start()
    assert holds.wait(LONG)
    monkeypatch.setattr(database_bounds.waits, "wait_for", wait_and_tell)
    heartbeat.start()
    assert in_line.acquire(timeout=LONG)
    second.start()
    assert in_line.acquire(timeout=LONG)
    done.set()
    for thread in (first, heartbeat, second):
        thread.join(LONG)

    assert order == ["claim", "heartbeat", "next claim"]
    event_loop.run(runner.threads.end())


def test_who_beats_late_stops_calling_before_others_may_judge_it():
    assert HEARTBEAT < HEARTBEAT_TRUST < WORKER_SILENCE.total_seconds()


def test_a_late_result_that_is_not_recorded_keeps_a_worker_from_judging_others(olympus, monkeypatch):
    judged = []
    runner = Dispatcher(["text"], concurrency=8, on_heartbeat=judged.append)
    monkeypatch.setattr(runner.heartbeat, "may_judge_others", lambda: True)
    monkeypatch.setattr(runner.recorder, "has_late", lambda: True)
    assert event_loop.run(runner._beat())
    assert judged == []

    monkeypatch.setattr(runner.recorder, "has_late", lambda: False)
    assert event_loop.run(runner._beat())
    assert judged == [runner.worker]
    event_loop.run(runner.threads.end())
