"""The only file that knows RQ: waking a lane, and the job that answers.

The queue is a hint. A job carries a lane's name and nothing else; if all of Redis is lost, mails are sent two seconds
later, because every drain also looks into the database by itself.
"""

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import structlog
from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from mails.dispatch import poll
from mails.dispatch.drain import Drain
from mails.lanes import Lane
from mercury.lib import event_loop

log = structlog.get_logger(__name__)
T = TypeVar("T")

FLAG_SECONDS = 30  # a wake-up is not repeated while its flag stands
FIRST_LOOK_SECONDS = 0.05  # until the first look at a Redis that failed: it may only have been slow for once …
SILENT_SECONDS = 2.0  # … doubled from look to look, up to this
WAIT_SECONDS = 2  # of one wait for a wake-up; a signal that comes just before it is seen at its end
ALLOWED_JOB = "mails.jobs.drain_lane"
JOB_SECONDS = 60  # a drain inside a job ends after this, so that a worker on several lanes serves them all

_job_drain: Drain | None = None  # that of the job which this process runs, where it has no resident one
_told_to_stop = False  # whether a signal has asked this process to stop, perhaps before the job had its drain
_watch: threading.Thread | None = None  # looks whether Redis, which has failed, is back
_lock = threading.Lock()


def wake(lane: str) -> None:
    """Have somebody drain this lane soon. Never raises, and waits at most 0.25 s for any one answer of Redis.

    Without Redis the drain of this process is woken. With it, a job is enqueued unless one is waiting already.
    """
    if not settings.REDIS_URL:
        poll.wake()
        return

    def enqueue_once(redis: Redis) -> None:
        if redis.set(_flag(lane), 1, nx=True, ex=FLAG_SECONDS):
            _enqueue(lane)

    ask_redis(enqueue_once, lane=lane)


def ask_redis(question: Callable[[Redis], T], *, lane: str = Lane.TEXT) -> T | None:
    """What Redis answers; None where it is not used or away. Never raises, and waits at most 0.25 s for any one answer.

    Only the calls under way as Redis fails wait for it: from then on a thread of its own finds out when it is back, by
    waking `lane`.
    """
    if not settings.REDIS_URL or _watch is not None:
        return None
    try:
        return question(_redis())
    except RedisError as error:
        _leave_alone(lane, error)
        return None


def queue_health() -> str:
    """Whether Redis answers: `answers`, `away`, or `not used`. Waits at most 0.25 s."""
    if not settings.REDIS_URL:
        return "not used"
    if _watch is not None:
        return "away"
    try:
        _redis().ping()
    except RedisError:
        return "away"
    return "answers"


def _leave_alone(lane: str, error: RedisError) -> None:
    global _watch
    with _lock:
        if _watch is not None:
            return
        _watch = threading.Thread(target=_keep_looking, args=(lane,), name="mercury-redis", daemon=True)
    log.warning("redis_away", error=type(error).__name__)
    _watch.start()


def _keep_looking(lane: str) -> None:
    """Wake the lane that could not be woken; a flag that was left without its job does not count."""
    global _watch
    nap, seconds = threading.Event(), FIRST_LOOK_SECONDS
    while True:
        nap.wait(seconds)
        seconds = min(2 * seconds, SILENT_SECONDS)
        if _watch is not threading.current_thread():
            return
        try:
            _redis().set(_flag(lane), 1, ex=FLAG_SECONDS)
            _enqueue(lane)
        except RedisError:
            continue
        _watch = None
        log.info("redis_back")
        return


def _flag(lane: str) -> str:
    return f"mercury:wake:{lane}"


def _enqueue(lane: str) -> None:
    queue = Queue(lane, connection=_redis(), serializer=JSONSerializer)
    queue.enqueue(drain_lane, lane, job_timeout=-1, result_ttl=0, failure_ttl=3600)


def drain_lane(lane: str) -> None:
    """The job: wake this process's drain, or drain here where there is none (a plain `rqworker`)."""
    try:
        _redis().delete(_flag(lane))
    except RedisError as error:
        log.warning("redis_away", error=type(error).__name__)
    if not poll.wake():
        _drain_here(Lane(lane))


def _drain_here(lane: Lane) -> None:
    global _job_drain
    _job_drain = Drain([lane])
    if _told_to_stop:
        _job_drain.stop()
    try:
        event_loop.run(_job_drain.run(until_idle=True, at_most=JOB_SECONDS))
    finally:
        _job_drain = None


class LaneWorker(SimpleWorker):
    """RQ's worker in this process, for `drain_lane` and nothing else. Also fit for `rqworker --worker-class`."""

    max_connection_wait_time = 5  # seconds; RQ's own minute is long for a Redis that is back

    stopping: threading.Event | None = None  # set when a signal asks this worker to stop

    @property
    def dequeue_timeout(self) -> int:
        """Seconds of one wait for a wake-up. With RQ's 45, a worker could outlive its stop by so many."""
        return WAIT_SECONDS

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run the job if its function is the one that this queue is for, and it names no other; delete it if not.

        The drain is woken at once: RQ asks Redis half a dozen questions before it calls the function.
        """
        callbacks = (job._success_callback_name, job._failure_callback_name, job._stopped_callback_name)
        if job.func_name != ALLOWED_JOB or any(callbacks):
            log.error("job_refused", function=str(job.func_name)[:100], queue=queue.name)
            job.delete()
            return
        poll.wake()
        super().execute_job(job, queue)

    def _install_signal_handlers(self) -> None:
        """Put RQ's handlers in place; a signal that came before them counts too."""
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        if self.stopping is not None and self.stopping.is_set():
            self._stop_requested = True

    def handle_warm_shutdown_request(self) -> None:
        """Claim nothing more from now on, and tell the process to stop, too."""
        global _told_to_stop
        _told_to_stop = True
        poll.ask_to_stop()
        if _job_drain is not None:
            _job_drain.stop()
        if self.stopping is not None:
            self.stopping.set()
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]


def work(lanes: Sequence[str], *, stopping: threading.Event) -> None:
    """Answer wake-ups of these lanes until `stopping` is set; goes on by itself when Redis comes back.

    Runs in the main thread: RQ puts its own signal handlers there, which set `stopping`.
    """
    away = False
    while not stopping.is_set():
        connection = Redis.from_url(settings.REDIS_URL, socket_connect_timeout=settings.MERCURY_REDIS_TIMEOUT)
        try:
            # Of a wake-up that a killed worker took; the drain looks by itself now.
            connection.delete(*map(_flag, lanes))
            if away:
                log.info("redis_back")
            away = False
            queues = [Queue(lane, connection=connection, serializer=JSONSerializer) for lane in lanes]
            worker = LaneWorker(queues, connection=connection, serializer=JSONSerializer, worker_ttl=60)
            worker.stopping = stopping
            worker.work(logging_level="WARNING")
        except RedisError as error:
            if not away:
                log.warning("redis_away", error=type(error).__name__)
            away = True
        stopping.wait(SILENT_SECONDS)


def forget_redis() -> None:
    """Connect afresh before the next question, also to a Redis that has just failed."""
    global _watch
    _watch = None
    _redis.cache_clear()


@lru_cache(maxsize=1)
def _redis() -> Redis:
    return Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=settings.MERCURY_REDIS_TIMEOUT,
        socket_timeout=settings.MERCURY_REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )
