"""Who can write to Redis can wake a worker, and nothing else: not run code, not call an address, not stop a worker."""

import ast
import contextlib
import inspect
import json
import pickle
import re
import threading
import time
import zlib
from base64 import b64encode
from pathlib import Path

import django_rq.urls
import fakeredis
import pytest
import rq
from django.core.management import call_command
from django.urls import URLPattern, reverse
from django_rq.utils import get_cron_schedulers, get_statistics
from django_rq.workers import get_worker_class
from rq import Queue, SimpleWorker
from rq.command import handle_command, send_shutdown_command, send_stop_job_command
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry, clean_registries
from rq.results import Result
from rq.serializers import SERIALIZER_ALIASES, resolve_serializer
from rq.suspension import suspend
from rq.worker import BaseWorker, Worker
from rq.worker_registration import clean_worker_registry

from mails.dispatch import wake
from mails.worker import jobs
from mails.worker.jobs import QueueWorker
from mails.worker.rq_limits import UnknownJob

JOB, WORKER, EXECUTION = "evil-job", "evil-worker", "evil-execution"
REGISTRIES = ("finished", "failed", "deferred", "scheduled", "canceled", "ready")
obeyed: list[tuple[object, ...]] = []  # what ran because Redis said so


def obey(*anything):
    obeyed.append(anything)


class Planted:
    def __reduce__(self):
        return obey, ("pickle",)


@pytest.fixture(autouse=True)
def nothing_obeyed():
    obeyed.clear()
    yield
    assert obeyed == []


@pytest.fixture
def redis(settings, monkeypatch):
    server = fakeredis.FakeStrictRedis()
    settings.REDIS_URL = "redis://fake"
    settings.MERCURY_EMBEDDED = False
    monkeypatch.setattr(wake, "connect", lambda: server)
    for module in ("connection_utils", "queues", "utils", "workers", "views", "cron_views", "stats_views"):
        for name in ("get_redis_connection", "get_connection", "get_connection_by_index"):
            monkeypatch.setattr(f"django_rq.{module}.{name}", lambda *a, **k: server, raising=False)
    return server


@pytest.fixture
def planted(redis):
    """A pickle, a callback's name and a webhook in each key of Redis that RQ and django-rq read."""
    raw = pickle.dumps(Planted())
    now = "2026-01-01T00:00:00.000000Z"
    callbacks = {f"{kind}_callback_name": f"{__name__}.obey" for kind in ("success", "failure", "stopped")}
    webhooks = [{"url": "http://127.0.0.1:1/", "job_status": status} for status in ("finished", "failed")]
    redis.hset(
        f"rq:job:{JOB}",
        mapping={
            "data": zlib.compress(raw),
            "result": raw,
            "meta": raw,
            "exc_info": raw,
            "origin": "text",
            "status": JobStatus.STARTED.value,
            "created_at": now,
            "enqueued_at": now,
            "worker_name": WORKER,
            "dependency_ids": json.dumps([JOB]),
            "webhooks": json.dumps(webhooks),
            "retries_left": 0,
            "repeats_left": 3,
            "group_id": "evil-group",
            **callbacks,
        },
    )
    redis.rpush("rq:queue:text", JOB)
    redis.sadd("rq:queues", "rq:queue:text")
    redis.zadd("rq:wip:text", {f"{JOB}:{EXECUTION}": 1})
    for name in REGISTRIES:
        redis.zadd(f"rq:{name}:text", {JOB: 1})
    redis.xadd(f"rq:results:{JOB}", {"type": 1, "return_value": b64encode(raw)})
    redis.zadd(f"rq:executions:{JOB}", {EXECUTION: time.time() + 999})
    redis.hset(
        f"rq:execution:{JOB}:{EXECUTION}",
        mapping={"id": EXECUTION, "created_at": 1.0, "last_heartbeat": 1.0, "worker_name": WORKER},
    )
    redis.hset(f"rq:worker:{WORKER}", mapping={"queues": "text", "state": "busy", "birth": now, "last_heartbeat": now})
    for name in ("rq:workers", "rq:workers:text"):
        redis.sadd(name, f"rq:worker:{WORKER}")
    redis.sadd(f"rq:worker:{WORKER}:executions", f"{JOB}:{EXECUTION}")
    redis.hset("rq:cron_scheduler:evil", mapping={"cron_jobs": raw, "name": "evil", "last_heartbeat": now})
    redis.zadd("rq:cron_schedulers", {"evil": time.time() + 999})
    redis.sadd("rq:groups", "evil-group")
    redis.sadd("rq:group:evil-group", JOB)
    return redis


def addresses(prefix, patterns):
    """Each address below `prefix` that django-rq has a page for."""
    parts = {"job_id": JOB, "result_id": "1-0", "key": f"rq:worker:{WORKER}", "scheduler_name": "evil", "token": "x"}
    for pattern in patterns:
        text = re.sub(
            r"\(\?P<(\w+)>[^)]*\)\??|[\^$]|/\?",
            lambda found: f"<{found[1]}>" if found[1] else "/",
            str(pattern.pattern),
        )
        yield prefix + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: parts.get(found[1], "0"), text)


PAGES = [
    address
    for prefix in ("/admin/django_rq/", "/admin/django_rq/dashboard/")
    for address in addresses(prefix, django_rq.urls.urlpatterns)
]


@pytest.mark.django_db
@pytest.mark.parametrize("page", [*PAGES, "/admin/django_rq/dashboard/1/change/"])
def test_no_page_of_django_rq_is_there(admin_client, planted, page):
    answers = [admin_client.get(page), admin_client.post(page, {"action": "requeue", "job_ids": [JOB]})]

    assert [answer.status_code for answer in answers] == [404, 404]


def test_the_addresses_are_those_of_all_pages_of_django_rq():
    assert len(django_rq.urls.urlpatterns) == len(set(PAGES)) / 2
    assert all(isinstance(pattern, URLPattern) for pattern in django_rq.urls.urlpatterns)
    assert not any(mark in page for page in PAGES for mark in "<>^$()")


@pytest.mark.django_db
def test_the_page_of_queues_counts_wake_ups_and_reads_none(admin_client, planted):
    wake.wake_workers("html")

    text = admin_client.get(reverse("admin:queues")).content.decode()

    assert re.findall(r'<th scope="row">(\w+)</th><td>(\d+)</td>', text) == [
        ("text", "1"),
        ("html", "1"),
        ("attachment", "0"),
        ("large", "0"),
        ("bulk", "0"),
    ]


@pytest.mark.django_db
def test_the_page_of_queues_says_that_redis_is_away(admin_client, settings):
    settings.REDIS_URL, settings.MERCURY_EMBEDDED = "redis://127.0.0.1:1/0", False

    assert "Redis does not respond" in admin_client.get(reverse("admin:queues")).content.decode()


def look_up(redis):
    return Job.fetch(JOB, connection=redis)


def result(redis):
    [found] = Result.all(look_up(redis))
    return found.return_value


def failed_deserialization(redis):
    with pytest.raises(rq.exceptions.DeserializationError):
        return look_up(redis).args


LOOK_UPS = {
    "job": look_up,
    "its function": failed_deserialization,
    "its result": lambda redis: look_up(redis).return_value(),
    "its results": result,
    "its meta": lambda redis: look_up(redis).get_meta(),
    "the job of a worker": lambda redis: [worker.get_current_job() for worker in Worker.all(redis)],
    "jobs of a queue": lambda redis: Queue("text", connection=redis).jobs,
    "started jobs": lambda redis: len(StartedJobRegistry("text", redis)),
    "clean-up of registries": lambda redis: clean_registries(Queue("text", connection=redis)),
    "clean-up of workers": lambda redis: clean_worker_registry(Queue("text", connection=redis)),
    "execution": lambda redis: Execution.fetch(EXECUTION, JOB, redis),
    "statistics": lambda redis: get_statistics(run_maintenance_tasks=True),
    "cron schedulers": lambda redis: get_cron_schedulers(),
    "statistics of the command": lambda redis: call_command("rqstats", json=True),
    "stop of a job": lambda redis: send_stop_job_command(redis, JOB),
}


@pytest.mark.parametrize("look", LOOK_UPS.values(), ids=LOOK_UPS)
def test_what_rq_looks_up_by_itself_unpickles_nothing_and_calls_nothing(planted, look, monkeypatch):
    monkeypatch.setattr("rq.webhook.urlopen", obey)

    with contextlib.suppress(UnicodeDecodeError):  # as JSON, a pickle is not even text
        look(planted)


@pytest.mark.parametrize(
    "named", [None, "pickle", "json", "rq.serializers.DefaultSerializer", "rq.serializers.PickleSerializer"]
)
def test_json_is_read_and_written_at_both_ends_whatever_is_named(named):
    serializer = resolve_serializer(named)

    assert serializer.dumps({"a": 1}) == b'{"a": 1}'
    with pytest.raises(UnicodeDecodeError):
        serializer.loads(pickle.dumps(Planted()))


def hostile(redis, function=f"{__name__}.obey", **fields):
    """A job that JSON can name, with more fields that RQ obeys."""
    job = Job.create(function, args=[], connection=redis)
    job.save()
    if fields:
        redis.hset(job.key, mapping=fields)
    redis.rpush("rq:queue:text", job.id)
    return job


@pytest.mark.parametrize("worker_class", [SimpleWorker, QueueWorker])
def test_no_worker_runs_a_function_that_is_not_the_wake_up(redis, worker_class, monkeypatch):
    monkeypatch.setattr(jobs, "dispatch_queue", lambda queue: None)
    job = hostile(redis)

    worker_class(["text"], connection=redis).work(burst=True)

    with pytest.raises(UnknownJob):
        job.func  # noqa: B018 (the property imports)


FIELDS = {
    "success_callback_name": f"{__name__}.obey",
    "failure_callback_name": f"{__name__}.obey",
    "stopped_callback_name": f"{__name__}.obey",
    "webhooks": json.dumps([{"url": "http://127.0.0.1:1/", "job_status": status} for status in ("finished", "failed")]),
    "repeats_left": 5,
    "retries_left": 5,
    "dependency_ids": json.dumps(["other"]),
}


@pytest.mark.parametrize("worker_class", [SimpleWorker, QueueWorker])
@pytest.mark.parametrize("fails", [False, True])
def test_a_wake_up_with_callbacks_and_webhooks_is_a_wake_up(redis, worker_class, fails, monkeypatch):
    woken = []

    def dispatch_queue(*queue):
        woken.append(queue)
        if fails and worker_class is SimpleWorker:
            raise ValueError("so that what follows a failure runs")

    monkeypatch.setattr(jobs, "dispatch_queue", dispatch_queue)
    monkeypatch.setattr("rq.webhook.urlopen", obey)
    hostile(
        redis,
        function=wake.JOB,
        **{name: value for name, value in FIELDS.items() if not fails or name != "retries_left"},
    )

    worker_class(["text"], connection=redis).work(burst=True, max_jobs=1)

    assert len(woken) == 1


def test_a_queue_worker_reads_no_job_and_leaves_nothing_of_it(redis, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "dispatch_queue", asked.append)
    monkeypatch.setattr(Job, "restore", obey)
    hostile(redis, **FIELDS)
    redis.rpush("rq:queue:text", b"\xff no id at all")

    assert QueueWorker(["text"], connection=redis).work(burst=True)

    assert asked == ["text", "text"]
    assert redis.keys("rq:*") == []


def test_a_suspended_queue_wakes_its_worker_all_the_same(redis, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "dispatch_queue", asked.append)
    suspend(redis)
    wake.wake_workers("text")

    QueueWorker(["text"], connection=redis).work(burst=True)

    assert asked == ["text"]


def test_a_worker_listens_for_no_command_and_cleans_nothing(planted, monkeypatch):
    monkeypatch.setattr(jobs, "dispatch_queue", lambda queue: None)
    for hook in ("subscribe", "handle_payload", "run_maintenance_tasks", "_start_scheduler", "register_birth"):
        monkeypatch.setattr(BaseWorker, hook, obey)

    QueueWorker(["text"], name=WORKER, connection=planted).work(burst=True, with_scheduler=True)
    send_shutdown_command(planted, WORKER)

    assert planted.pubsub_channels() == []
    assert planted.zcard("rq:wip:text") == 1


def test_a_command_over_redis_does_not_end_a_worker_that_waits(redis, monkeypatch):
    woken = threading.Event()
    monkeypatch.setattr(jobs, "dispatch_queue", lambda queue: woken.set())
    worker = QueueWorker(["text"], name=WORKER, connection=redis)
    monkeypatch.setattr(worker, "_install_signal_handlers", lambda: None)  # not in the main thread
    thread = threading.Thread(target=worker.work, daemon=True)
    thread.start()

    heard = redis.publish(f"rq:pubsub:{WORKER}", json.dumps({"command": "shutdown"}))
    wake.wake_workers("text")

    assert woken.wait(10)
    assert (heard, thread.is_alive()) == (0, True)
    worker._stop_requested = True
    thread.join(10)
    assert not thread.is_alive()


def test_a_plain_rqworker_is_a_queue_worker():
    assert get_worker_class() is QueueWorker


# What the installed RQ reads from Redis. A new one fails here: decide whether it can make a process do something,
# limit it in mails/worker/rq_limits.py if so, and only then add it.

JOB_FIELDS = {
    *("allow_dependency_failures", "created_at", "data", "dependency_id", "dependency_ids", "description", "ended_at"),
    *("enqueue_at_front", "enqueue_at_front_on_retry", "enqueued_at", "exc_info", "failure_callback_name"),
    *("failure_callback_timeout", "failure_ttl", "group_id", "last_heartbeat", "meta", "number_of_retries", "origin"),
    *("rate_limit_concurrency", "rate_limit_key", "repeat_intervals", "repeats_left", "result", "result_ttl"),
    *("retries_left", "retry_intervals", "started_at", "status", "stopped_callback_name", "stopped_callback_timeout"),
    *("success_callback_name", "success_callback_timeout", "timeout", "ttl", "webhooks", "worker_name"),
}
COMMANDS = {"kill-horse", "shutdown", "stop-execution", "stop-job"}
IMPORTS = {
    "callbacks.py": 0,
    "job.py": 4,
    "queue.py": 1,
    "serializers.py": 1,
    "utils.py": 4,
}


def words_in(function, pattern):
    return set(re.findall(pattern, inspect.getsource(function)))


def test_the_fields_of_a_job_are_those_that_were_looked_at():
    assert words_in(Job.restore, r"obj(?:\.get\(|\[)'(\w+)'") | words_in(Job.restore, r"'(\w+)' in obj") == JOB_FIELDS


def test_the_commands_to_a_worker_are_those_that_were_looked_at():
    assert words_in(handle_command, r"payload\['command'\] == '([\w-]+)'") == COMMANDS


def test_the_serializers_are_those_that_were_looked_at():
    assert set(SERIALIZER_ALIASES) == {"json", "pickle"}


def test_the_names_that_rq_imports_are_those_that_were_looked_at():
    """`import_attribute` by file, and every use of pickle outside the default serializer."""
    folder = Path(rq.__file__).parent
    imports, pickles = {}, set()
    for path in folder.rglob("*.py"):
        name = str(path.relative_to(folder))
        if name.startswith("cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_attribute":
                imports[name] = imports.get(name, 0) + 1
            if isinstance(node, ast.Import) and any(alias.name == "pickle" for alias in node.names):
                pickles.add(name)
    assert imports == {name: count for name, count in IMPORTS.items() if count}
    assert pickles == {"serializers.py", "worker/worker_classes.py"}  # the latter pickles for a child of its own
