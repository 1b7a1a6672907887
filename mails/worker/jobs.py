"""The job that wakes a queue through RQ, and the worker that answers.

The queue is a hint. A job is an entry in a queue's list and nothing else; if all of Redis is lost, emails are sent two
seconds later, because every dispatcher also polls the database.
"""

import datetime as dt
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import Error, close_old_connections
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now

from mails.dispatch import wake
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import due_routes, routes
from mails.queues import QueueName
from mails.worker import resident_dispatcher
from mercury.lib.database import database_clock
from mercury.lib.database.database_errors import classify
from mercury.lib.runtime import event_loop, process_state
from mercury.lib.runtime.stop_request import StopRequest

log = structlog.get_logger(__name__)
T = TypeVar("T")

WAIT_SECONDS = 1  # of one wait for a wake-up; a signal is seen at its end
REST = 5.0  # seconds before the next look of a worker that found due emails and could send none
JOB_SECONDS = 60  # a dispatcher inside a job ends after this, so that a worker on several queues serves them all


class JobInProgress:
    """The job that this process runs, where it has no resident dispatcher."""

    dispatcher: Dispatcher | None = None
    is_stopping = False  # a signal has asked this process to stop, perhaps before the job had its dispatcher


def dispatch_queue(queue: str) -> None:
    """Wake this process's dispatcher, or dispatch here where there is none (a plain `rqworker`). This is the job."""
    try:
        wake.connect().delete(wake.name_flag(queue))
    except RedisError as error:
        log.warning("redis_away", error=type(error).__name__)
    if not wake.wake_local():
        _dispatch_here(QueueName(queue))


def _dispatch_here(queue: QueueName) -> int:
    """Dispatch the queue until nothing is due, for at most JOB_SECONDS; return how many emails were done."""
    job = process_state.get(JobInProgress)
    job.dispatcher = dispatcher = Dispatcher([queue])
    if job.is_stopping:
        dispatcher.stop()
    try:
        return event_loop.run(dispatcher.run(until_idle=True, at_most=JOB_SECONDS))
    finally:
        job.dispatcher = None


class QueueWorker(SimpleWorker):
    """Wait for wake-ups, and know nothing else of RQ. Also fit for `rqworker`, whose default it is.

    A wake-up is an entry of a queue's list; the job that it names is deleted unread. So Redis can neither choose what runs nor end,
    stop or suspend a worker: no command is listened for, no registry is cleaned, nothing is scheduled or repeated.
    """

    stopping: StopRequest | threading.Event | None = None  # set when a signal asks this worker to stop
    _rest_until = 0.0  # monotonic clock

    @property
    def connection_timeout(self) -> int:
        """Return the seconds that one answer of Redis may take; with RQ's minutes a worker would outlive its stop."""
        return WAIT_SECONDS + 2

    def work(  # type: ignore[override]  # RQ's other options are ignored: logging of its own, a scheduler, a strategy
        self,
        burst: bool = False,
        logging_level: str | None = None,
        *,
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        **ignored: object,
    ) -> bool:
        """Answer wake-ups until a signal asks for the end; return True if there was one.

        `burst` ends with the last wake-up that is there, `max_jobs` after that number, `max_idle_time` after as many seconds
        without one. Waits for a Redis that is away; with `stopping`, raises RedisError, and the caller connects again.
        """
        self._install_signal_handlers()
        answered, idle_since, away = 0, time.monotonic(), False
        while not self._stop_requested and (max_jobs is None or answered < max_jobs):
            try:
                found = self._answer_one(wait=not burst)
            except RedisError as error:
                if self.stopping is not None:
                    raise
                if not away:
                    log.warning("redis_away", error=type(error).__name__)
                away = True
                time.sleep(WAIT_SECONDS)
                continue
            if away:
                log.info("redis_back")
            away = False
            if not found and not burst and not self._stop_requested:
                self._dispatch_due()
            if found:
                answered, idle_since = answered + 1, time.monotonic()
            elif burst or (max_idle_time is not None and time.monotonic() - idle_since >= max_idle_time):
                break
        return answered > 0

    def _answer_one(self, *, wait: bool) -> bool:
        """Answer the next wake-up; return False if there is none, or none within WAIT_SECONDS.

        The dispatcher is woken before Redis is asked for anything more.
        """
        popped = self._wait() if wait else self._pop()
        if popped is None:
            return False
        queue, job_id = popped
        wake.wake_local()
        self.connection.delete(Job.redis_job_namespace_prefix.encode() + job_id)
        dispatch_queue(queue.name)
        return True

    def _dispatch_due(self) -> None:
        """Where no dispatcher lives in this process, dispatch what became due by itself: scheduled emails and retries."""
        if wake.has_local() or time.monotonic() < self._rest_until:
            return
        try:
            found = routes.find_routes(dict.fromkeys(self.queue_names(), ""), limit=due_routes.ROUTES_PER_LOOK)
        except Error as error:
            log.warning("look_failed", error=classify(error))
            close_old_connections()
            return
        soon = database_clock.now() + dt.timedelta(seconds=WAIT_SECONDS)
        queues = sorted({route.queue for route in found if route.due_at <= soon})
        if queues and not sum(_dispatch_here(QueueName(queue)) for queue in queues):
            self._rest_until = time.monotonic() + REST  # what is due waits for its accounts

    def _wait(self) -> tuple[Queue, bytes] | None:
        queues = {queue.key.encode(): queue for queue in self.queues}
        found: Any = self.connection.blpop(list(queues), WAIT_SECONDS)
        return (queues[found[0]], found[1]) if found else None

    def _pop(self) -> tuple[Queue, bytes] | None:
        for queue in self.queues:
            job_id: Any = self.connection.lpop(queue.key)
            if job_id is not None:
                return queue, job_id
        return None

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Refuse: jobs are not run here. RQ's own loop would call this."""
        raise NotImplementedError("A queue worker answers wake-ups; it runs no job.")

    def _install_signal_handlers(self) -> None:
        """Put RQ's handlers in place; a signal that came before them counts too."""
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        if self.stopping is not None and self.stopping.is_set():
            self._stop_requested = True

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Claim nothing more; the wait in progress ends soon. Neither logs nor raises: a signal may come anywhere."""
        self._shutdown_requested_date = now()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.request_force_stop)
        self._stop_requested = True
        self.handle_warm_shutdown_request()

    def handle_warm_shutdown_request(self) -> None:
        """Claim nothing more from now on, and stop the process, too."""
        job = process_state.get(JobInProgress)
        job.is_stopping = True
        resident_dispatcher.ask_to_stop()
        if job.dispatcher is not None:
            job.dispatcher.stop()
        if self.stopping is not None:
            self.stopping.set()


def work(queues: Sequence[str], *, stopping: StopRequest | threading.Event) -> None:
    """Answer wake-ups of these queues until `stopping` is set; continues when Redis is back.

    Runs in the main thread: RQ puts its own signal handlers there, which set `stopping`.
    """
    away = False
    while not stopping.is_set():
        connection = Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=settings.MERCURY_REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            # Of a wake-up that a killed worker popped; the dispatcher polls the database now.
            connection.delete(*map(wake.name_flag, queues))
            if away:
                log.info("redis_back")
            away = False
            rq_queues = [Queue(name, connection=connection, serializer=JSONSerializer) for name in queues]
            worker = QueueWorker(rq_queues, connection=connection, serializer=JSONSerializer)
            worker.stopping = stopping
            worker.work()
        except RedisError as error:
            if not away:
                log.warning("redis_away", error=type(error).__name__)
            away = True
        stopping.wait(wake.SILENT_SECONDS)
