"""Redis is a hint: waking never fails, never waits long, and never floods the queue."""

import signal
import socket
import threading
import time

import fakeredis
import pytest
from redis.exceptions import ConnectionError, RedisError
from rq import Queue
from rq.serializers import JSONSerializer
from structlog.testing import capture_logs

from mails.dispatch import wake
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.wake import JOB, Wakers
from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mails.worker import jobs, resident_dispatcher
from mails.worker.jobs import QueueWorker
from mercury.lib.runtime import process_state


@pytest.fixture
def redis(settings, monkeypatch):
    server = fakeredis.FakeStrictRedis()
    settings.REDIS_URL = "redis://fake"
    monkeypatch.setattr(wake, "connect", lambda: server)
    return server


def waiting(server):
    return Queue("text", connection=server, serializer=JSONSerializer).jobs


def test_many_mails_wake_a_queue_once(redis):
    for _ in range(100):
        wake.wake_workers("text")

    [job] = waiting(redis)
    assert (job.func_name, list(job.args)) == (JOB, ["text"])


@pytest.mark.django_db(transaction=True)
def test_a_job_takes_the_flag_away_and_dispatches_the_queue(redis, olympus):
    mail = a_mail()
    wake.wake_workers("text")

    jobs.dispatch_queue("text")

    assert reloaded(mail).status == Status.DONE
    wake.wake_workers("text")
    assert len(waiting(redis)) == 2


def test_a_job_wakes_the_resident_dispatcher_where_there_is_one(redis, monkeypatch):
    woken = []
    monkeypatch.setattr(wake, "wake_local", lambda: not woken.append(True))

    jobs.dispatch_queue("text")

    assert woken


def test_a_worker_wakes_its_dispatcher_before_it_asks_redis_for_anything_more(redis, monkeypatch):
    wake.wake_workers("text")
    happened = []
    monkeypatch.setattr(wake, "wake_local", lambda: happened.append("woken"))
    monkeypatch.setattr(redis, "delete", lambda *keys: happened.append("deleted"))
    monkeypatch.setattr(jobs, "dispatch_queue", happened.append)

    QueueWorker(["text"], connection=redis).work(burst=True)

    assert happened == ["woken", "deleted", "text"]


def test_a_worker_that_starts_makes_up_for_a_wake_up_that_died_with_another(redis, monkeypatch):
    wake.wake_workers("text")
    waiting(redis)[0].delete()  # claimed by a worker that was killed
    stopping = threading.Event()
    monkeypatch.setattr(jobs.Redis, "from_url", lambda *address, **options: redis)
    monkeypatch.setattr(QueueWorker, "work", lambda self, **options: stopping.set())

    jobs.work(["text"], stopping=stopping)
    wake.wake_workers("text")

    assert len(waiting(redis)) == 1


@pytest.fixture
def signal_handlers():
    """The handlers that a worker puts in place are gone afterwards."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_worker_tells_once_that_redis_is_away_and_once_that_it_is_back(redis, monkeypatch):
    monkeypatch.setattr(wake, "SILENT_SECONDS", 0.0)
    stopping, answers = threading.Event(), iter([False, False, False, True])

    def delete(*flags):
        if not next(answers):
            raise ConnectionError("nobody there")

    monkeypatch.setattr(redis, "delete", delete)
    monkeypatch.setattr(jobs.Redis, "from_url", lambda url, **options: redis)
    monkeypatch.setattr(QueueWorker, "work", lambda self, **options: stopping.set())

    with capture_logs() as logged:
        jobs.work(["text"], stopping=stopping)

    assert [line["event"] for line in logged] == ["redis_away", "redis_back"]


@pytest.mark.usefixtures("signal_handlers")
def test_a_stop_that_came_before_the_worker_was_ready_counts(redis):
    stopping = threading.Event()
    worker = QueueWorker(
        [Queue("text", connection=redis, serializer=JSONSerializer)], connection=redis, serializer=JSONSerializer
    )
    worker.stopping = stopping

    stopping.set()

    assert not worker.work()  # would wait for jobs without an end


@pytest.mark.usefixtures("signal_handlers")
def test_a_stop_that_comes_during_a_wait_is_seen_at_its_end(redis, monkeypatch):
    waits = []

    def wait(keys, seconds):
        waits.append(seconds)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(redis, "blpop", wait)

    QueueWorker(["text", "bulk"], connection=redis).work()

    assert waits == [jobs.WAIT_SECONDS]


@pytest.mark.usefixtures("signal_handlers")
def test_a_plain_worker_waits_for_a_redis_that_is_away_and_one_with_an_owner_does_not(redis, monkeypatch):
    monkeypatch.setattr(jobs, "WAIT_SECONDS", 0)
    answers = iter([ConnectionError("nobody there"), ConnectionError("nobody there"), None])

    def pop(key):
        if error := next(answers):
            raise error

    monkeypatch.setattr(redis, "lpop", pop)

    with capture_logs() as logged:
        QueueWorker(["text"], connection=redis).work(burst=True)

    assert [line["event"] for line in logged] == ["redis_away", "redis_back"]
    owned = QueueWorker(["text"], connection=redis)
    owned.stopping = threading.Event()
    answers = iter([ConnectionError("nobody there")])
    with pytest.raises(ConnectionError):
        owned.work(burst=True)


@pytest.mark.usefixtures("signal_handlers")
@pytest.mark.django_db(transaction=True)
def test_a_plain_worker_sends_what_becomes_due_without_a_wake_up(redis, olympus, monkeypatch):
    monkeypatch.setattr(redis, "blpop", lambda keys, seconds: None)
    mail = a_mail()

    QueueWorker(["text", "bulk"], connection=redis).work(max_idle_time=0)

    assert reloaded(mail).status == Status.DONE


@pytest.mark.usefixtures("signal_handlers")
@pytest.mark.django_db(transaction=True)
def test_a_plain_worker_that_can_send_nothing_rests(redis, olympus, monkeypatch):
    monkeypatch.setattr(redis, "blpop", lambda keys, seconds: None)
    looks = []
    monkeypatch.setattr(jobs, "_dispatch_here", lambda queue: looks.append(queue) or 0)
    a_mail()
    worker = QueueWorker(["text"], connection=redis)

    worker._dispatch_due()
    worker._dispatch_due()

    assert looks == ["text"]


@pytest.mark.usefixtures("signal_handlers")
@pytest.mark.parametrize(("ends", "answered"), [({"max_jobs": 2}, 2), ({"max_idle_time": 0}, 3), ({"burst": True}, 3)])
def test_a_worker_ends_as_rqworker_was_asked_to(redis, monkeypatch, ends, answered):
    monkeypatch.setattr(
        redis, "blpop", lambda keys, seconds: next(((k, v) for k in keys if (v := redis.lpop(k))), None)
    )
    monkeypatch.setattr(QueueWorker, "_dispatch_due", lambda self: None)
    queues = []
    monkeypatch.setattr(jobs, "dispatch_queue", queues.append)
    redis.rpush("rq:queue:text", "1", "2")
    redis.rpush("rq:queue:bulk", "3")

    assert QueueWorker(["text", "bulk"], connection=redis).work(**ends)

    assert queues == ["text", "text", "bulk"][:answered]


@pytest.mark.django_db(transaction=True)
def test_the_resident_dispatcher_claims_nothing_more_once_a_worker_is_stop_requested(redis, olympus):
    resident = resident_dispatcher.start(["text"])
    worker = QueueWorker([Queue("text", connection=redis)], connection=redis, serializer=JSONSerializer)
    try:
        worker.handle_warm_shutdown_request()
        resident._thread.join(10)
        assert not resident._thread.is_alive()
    finally:
        resident_dispatcher.stop()


@pytest.mark.django_db(transaction=True)
def test_the_dispatcher_of_a_job_ends_once_its_worker_is_stop_requested(redis, olympus, monkeypatch):
    mails = [a_mail(subject=f"mail {number}") for number in range(3)]
    worker = QueueWorker([Queue("text", connection=redis)], connection=redis, serializer=JSONSerializer)
    made = Dispatcher.__init__

    def one_place(self, queues):
        made(self, queues, concurrency=1, on_progress=lambda progress: worker.handle_warm_shutdown_request())

    monkeypatch.setattr(Dispatcher, "__init__", one_place)

    jobs.dispatch_queue("text")

    assert sorted(reloaded(mail).status for mail in mails) == [Status.DONE, Status.QUEUED, Status.QUEUED]


@pytest.mark.django_db(transaction=True)
def test_a_stop_that_came_before_the_dispatcher_of_a_job_counts(redis, olympus):
    mail = a_mail()
    QueueWorker(
        [Queue("text", connection=redis)], connection=redis, serializer=JSONSerializer
    ).handle_warm_shutdown_request()

    jobs.dispatch_queue("text")

    assert reloaded(mail).status == Status.QUEUED


@pytest.fixture
def silent_redis(settings):
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.REDIS_URL = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        yield


def test_a_silent_redis_costs_a_quarter_of_a_second_once(silent_redis):
    began = time.monotonic()
    for _ in range(50):
        wake.wake_workers("text")

    assert time.monotonic() - began < 5  # seconds; 50 times a quarter would be 12.5


def test_without_a_redis_at_the_address_waking_returns(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    wake.wake_workers("text")

    assert process_state.get(Wakers).watch is not None


@pytest.fixture
def full_redis(redis, monkeypatch):
    """A server without room, that counts how often it is asked for some; `make_room` ends it."""
    asked, set_as_ever = [], redis.set

    def refuse(*arguments, **options):
        asked.append(arguments)
        raise RedisError("OOM command not allowed when used memory > 'maxmemory'")

    monkeypatch.setattr(redis, "set", refuse)
    redis.asked = asked
    redis.make_room = lambda: monkeypatch.setattr(redis, "set", set_as_ever)
    return redis


def test_a_redis_that_failed_is_not_asked_again_by_those_who_hand_in_mails(full_redis, monkeypatch):
    monkeypatch.setattr(wake, "FIRST_LOOK_SECONDS", 60.0)

    for _ in range(50):
        wake.wake_workers("text")

    assert len(full_redis.asked) == 1
    assert waiting(full_redis) == []


def test_a_redis_that_is_back_wakes_the_queue_that_it_failed_for(full_redis, monkeypatch):
    monkeypatch.setattr(wake, "SILENT_SECONDS", 0.01)
    wake.wake_workers("text")

    looking = process_state.get(Wakers).watch
    full_redis.make_room()
    looking.join(10)

    assert len(waiting(full_redis)) == 1
    assert process_state.get(Wakers).watch is None


def test_a_flag_that_was_left_without_its_job_does_not_stop_the_next_wake_up(redis, monkeypatch):
    monkeypatch.setattr(wake, "SILENT_SECONDS", 0.01)
    enqueue = Queue.enqueue
    answers = iter([RedisError("gone in between")])

    def gone_once(*arguments, **options):
        for error in answers:
            raise error
        return enqueue(*arguments, **options)

    monkeypatch.setattr(Queue, "enqueue", gone_once)
    wake.wake_workers("text")
    if (looking := process_state.get(Wakers).watch) is not None:
        looking.join(10)

    assert len(waiting(redis)) == 1


@pytest.mark.django_db(transaction=True)
def test_the_resident_dispatcher_sends_what_it_is_woken_for_and_stops(olympus, settings):
    settings.REDIS_URL = ""
    resident_dispatcher.start(["text"], concurrency=4)
    done = threading.Event()

    try:
        mail = a_mail()
        for _ in range(200):
            if reloaded(mail).status == Status.DONE:
                done.set()
                break
            done.wait(0.05)
    finally:
        resident_dispatcher.stop()

    assert done.is_set()
    assert not wake.wake_local()


def test_a_redis_that_failed_is_looked_at_soon_and_then_less_often(settings, monkeypatch, begin_process):
    naps = []

    class Nap:
        def wait(self, seconds):
            naps.append(seconds)
            if len(naps) == 8:
                begin_process()

    def away():
        raise RedisError("away")

    monkeypatch.setattr(wake, "connect", away)
    monkeypatch.setattr(wake.threading, "Event", Nap)

    wake._keep_looking("text", process_state.get(Wakers))

    assert naps == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
