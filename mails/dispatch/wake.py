"""Waking the dispatchers: this process's own, or through Redis the one of a worker. A leaf, so that any module may wake.

The queue is a hint. A job is an entry in a queue's list and nothing else; if all of Redis is lost, emails are sent two
seconds later, because every dispatcher also polls the database by itself.
"""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import transaction
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from mails.queues import QueueName
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)
T = TypeVar("T")

JOB = "mails.worker.jobs.dispatch_queue"  # by its name: the worker imports this module, not the other way round
FLAG_SECONDS = 30  # a wake-up is not repeated while its flag is set
FIRST_LOOK_SECONDS = 0.05  # until the first look at a Redis that failed: it may only have been slow for once …
SILENT_SECONDS = 2.0  # … doubled from look to look, up to this


class Wakers:
    """How this process wakes dispatchers, and whether Redis answers it."""

    def __init__(self) -> None:
        self.local: Callable[[], None] | None = None  # wakes the dispatcher that lives in this process
        self.redis: Redis | None = None  # its connection, once it was needed
        self.watch: threading.Thread | None = None  # looks whether Redis, which has failed, is back
        self.lock = threading.Lock()  # for `watch`


def register_local(wake_it: Callable[[], None] | None) -> None:
    """Set what wakes the dispatcher of this process; None: it has none."""
    process_state.get(Wakers).local = wake_it


def has_local() -> bool:
    """Return True if a dispatcher lives in this process."""
    return process_state.get(Wakers).local is not None


def wake_local() -> bool:
    """Wake the dispatcher of this process; return False if it has none."""
    local = process_state.get(Wakers).local
    if local is None:
        return False
    local()
    return True


def wake_workers(queue: str) -> None:
    """Have this queue dispatched soon. Never raises, and waits at most 0.25 s for any one answer of Redis.

    Without Redis, wakes the dispatcher of this process. With it, enqueues a job unless one is waiting already.
    """
    if not settings.REDIS_URL:
        wake_local()
        return

    def enqueue_once(client: Redis) -> None:
        if client.set(name_flag(queue), 1, nx=True, ex=FLAG_SECONDS):
            _enqueue(queue)

    ask_redis(enqueue_once, queue=queue)


def wake_after_commit(queues: Iterable[str]) -> None:
    """Have these queues dispatched once the transaction is committed."""
    wanted = list(queues)

    def wake_each() -> (
        None
    ):  # a function: Django names a robust hook that fails by its __qualname__, and a partial has none
        for queue in wanted:
            wake_workers(queue)

    transaction.on_commit(wake_each, robust=True)


def ask_redis(question: Callable[[Redis], T], *, queue: str = QueueName.TEXT) -> T | None:
    """Return what Redis answers; None where it is not used or away. Never raises, and waits at most 0.25 s for any one answer.

    Only the questions in progress as Redis fails wait for it: from then on a thread of its own finds out when it is back, by
    waking `queue`.
    """
    if not settings.REDIS_URL or process_state.get(Wakers).watch is not None:
        return None
    try:
        return question(connect())
    except RedisError as error:
        _leave_alone(queue, error)
        return None


def check_redis() -> str:
    """Return whether Redis answers: `answers`, `away`, or `not used`. Waits at most 0.25 s."""
    if not settings.REDIS_URL:
        return "not used"
    if process_state.get(Wakers).watch is not None:
        return "away"
    try:
        connect().ping()
    except RedisError:
        return "away"
    return "answers"


def count_wake_ups() -> dict[str, int]:
    """Return how many wake-ups wait for a worker, by queue; nothing where Redis is not used or away."""

    def count(client: Redis) -> dict[str, int]:
        return {queue: client.llen(f"{Queue.redis_queue_namespace_prefix}{queue}") for queue in QueueName.values}

    return ask_redis(count) or {}


def _leave_alone(queue: str, error: RedisError) -> None:
    wakers = process_state.get(Wakers)
    with wakers.lock:
        if wakers.watch is not None:
            return
        watch = threading.Thread(target=_keep_looking, args=(queue, wakers), name="mercury-redis", daemon=True)
        wakers.watch = watch
    log.warning("redis_away", error=type(error).__name__)
    watch.start()


def _keep_looking(queue: str, wakers: Wakers) -> None:
    """Wake the queue that could not be woken; a flag that was left without its job does not count."""
    nap, seconds = threading.Event(), FIRST_LOOK_SECONDS
    while True:
        nap.wait(seconds)
        seconds = min(2 * seconds, SILENT_SECONDS)
        if process_state.get(Wakers) is not wakers:  # what this thread watched for is over
            return
        try:
            connect().set(name_flag(queue), 1, ex=FLAG_SECONDS)
            _enqueue(queue)
        except RedisError:
            continue
        wakers.watch = None
        log.info("redis_back")
        return


def name_flag(queue: str) -> str:
    """Return the key that says that a wake-up of this queue waits already."""
    return f"mercury:wake:{queue}"


def _enqueue(queue: str) -> None:
    Queue(queue, connection=connect(), serializer=JSONSerializer).enqueue(
        JOB, queue, job_timeout=-1, result_ttl=0, failure_ttl=3600
    )


def connect() -> Redis:
    """Return this process's connection, whose answers are waited for only briefly."""
    wakers = process_state.get(Wakers)
    if wakers.redis is None:  # two threads may make one at once; the first to be replaced closes itself
        wakers.redis = Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=settings.MERCURY_REDIS_TIMEOUT,
            socket_timeout=settings.MERCURY_REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
    return wakers.redis
