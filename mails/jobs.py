"""The only file that knows RQ: waking a lane, the job that answers, and how the queues are.

The queue is a hint. A job carries a lane's name and nothing else; if all of Redis is lost, mails are sent two seconds
later, because every drain also looks into the database by itself.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import lru_cache

import structlog
from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from mails.dispatch import poll
from mails.dispatch.drain import Drain
from mails.lanes import Lane

log = structlog.get_logger(__name__)

FLAG_SECONDS = 30  # a wake-up is not repeated while its flag stands
SILENT_SECONDS = 2.0  # after Redis failed, it is left alone for so long: no request waits for it twice
JOB_SECONDS = 60  # a drain inside a job ends after this, so that a worker on several lanes serves them all

_silent_until = 0.0


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """How the queues are. `waiting`: jobs by lane (a job may stand for any number of mails); empty without Redis."""

    redis: str  # "not used", "ok", or what is wrong
    waiting: dict[str, int]


def wake(lane: str) -> None:
    """Have somebody drain this lane soon. Never raises, and never waits longer than Redis' time-out of 0.25 s.

    Without Redis the drain of this process is woken. With it, a job is enqueued unless one is waiting already.
    """
    global _silent_until
    if not settings.REDIS_URL:
        poll.wake()
        return
    if time.monotonic() < _silent_until:
        return
    try:
        if _redis().set(f"mercury:wake:{lane}", 1, nx=True, ex=FLAG_SECONDS):
            queue = Queue(lane, connection=_redis(), serializer=JSONSerializer)
            queue.enqueue(drain_lane, lane, job_timeout=-1, result_ttl=0, failure_ttl=3600)
    except RedisError as error:
        _silent_until = time.monotonic() + SILENT_SECONDS
        log.warning("redis_away", error=type(error).__name__)


def drain_lane(lane: str) -> None:
    """The job: wake this process's drain, or drain here where there is none (a plain `rqworker`)."""
    try:
        _redis().delete(f"mercury:wake:{lane}")
    except RedisError as error:
        log.warning("redis_away", error=type(error).__name__)
    if not poll.wake():
        asyncio.run(Drain([Lane(lane)]).run(until_idle=True, at_most=JOB_SECONDS))


def queue_health() -> QueueHealth:
    """Ask Redis how the queues are; never raises, and takes at most 0.25 s a question."""
    if not settings.REDIS_URL:
        return QueueHealth("not used", {})
    try:
        waiting = {lane: Queue(lane, connection=_redis(), serializer=JSONSerializer).count for lane in Lane.values}
    except RedisError as error:
        return QueueHealth(f"away: {type(error).__name__}", {})
    return QueueHealth("ok", waiting)


@lru_cache(maxsize=1)
def _redis() -> Redis:
    return Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=settings.MERCURY_REDIS_TIMEOUT,
        socket_timeout=settings.MERCURY_REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )
