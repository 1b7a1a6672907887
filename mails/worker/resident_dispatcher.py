"""The dispatcher that lives as long as its process: in the web process when embedded, and in each worker.

It polls the database every few seconds, so that waking it is only a matter of speed.
"""

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog
from django.conf import settings

from mails.dispatch import wake
from mails.dispatch.dispatcher import Dispatcher, Progress
from mails.dispatch.dispatcher_settings import name_process
from mails.events.relay_threads import RelayThreads
from mails.events.webhooks.threads import WebhookThreads
from mails.maintenance.scheduler import Scheduler
from mails.queues import QueueName
from mails.submission_streams.reader_threads import ReaderThreads
from mercury.lib.runtime import event_loop, process_state
from mercury.lib.runtime.work_threads import WorkThreads

log = structlog.get_logger(__name__)

RESTART_AFTER = 1.0  # seconds before the next try after a dispatcher that failed
GRACE = 5.0  # seconds beyond the timeout of a call that a stop may take
MINUTE = 60.0  # seconds


class MinuteReport:
    """Reports what was done since the last report, even if that is nothing."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._reported = Progress(in_flight=0, closed=0, done=0)

    def update(self, progress: Progress) -> None:
        """Report. A dispatcher that began after the last report counts from zero."""
        before = self._reported if self._reported.closed <= progress.closed else Progress(in_flight=0, closed=0, done=0)
        self._reported = progress
        self._report(replace(progress, closed=progress.closed - before.closed, done=progress.done - before.done))


class ResidentDispatcher:
    """A dispatcher in a thread of its own, and the periodic tasks that follow its heartbeats, in theirs.

    `each_minute` is called once a minute, in one more thread, with what the dispatcher has done since the last time.
    """

    def __init__(
        self,
        queues: Sequence[str],
        *,
        concurrency: int | None = None,
        each_minute: Callable[[Progress], None] | None = None,
    ) -> None:
        self._queues = queues
        self._concurrency = concurrency
        self._each_minute = each_minute
        self._stopping = False  # no Event: a signal's handler must not wait for the lock of one
        self._ended = threading.Event()
        self._dispatcher: Dispatcher | None = None
        self.scheduler = Scheduler(wake=self.wake)
        self._thread = threading.Thread(target=self._run, name="mercury-dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to dispatch."""
        self.scheduler.start()
        self._thread.start()
        if self._each_minute is not None:
            report = partial(self._keep_reporting, self._each_minute)
            threading.Thread(target=report, name="mercury-minutes", daemon=True).start()

    def wake(self) -> None:
        """Look for due emails now."""
        if self._dispatcher is not None:
            self._dispatcher.wake()

    def ask_to_stop(self) -> None:
        """Claim nothing more; the calls in progress go on."""
        self._stopping = True
        self._pass_stop_on()

    def stop(self) -> bool:
        """Claim nothing more and wait for the calls in progress. False if they did not end within their timeout + 5 s."""
        self.ask_to_stop()
        self._thread.join(settings.MERCURY_SEND_TIMEOUT.total_seconds() + GRACE)
        return not self._thread.is_alive()

    def _pass_stop_on(self) -> None:
        if self._stopping and self._dispatcher is not None:
            self._dispatcher.stop()

    def _run(self) -> None:
        while not self._stopping:
            self._dispatcher = Dispatcher(
                self._queues, concurrency=self._concurrency, on_heartbeat=self.scheduler.note_heartbeat
            )
            self._pass_stop_on()  # a stop may have come before there was a dispatcher
            try:
                event_loop.run(self._dispatcher.run())
            except Exception:  # whatever it was, emails must go on being sent
                log.exception("dispatcher_failed")
                time.sleep(RESTART_AFTER)
        self._ended.set()
        self.scheduler.stop()

    def _keep_reporting(self, report: Callable[[Progress], None]) -> None:
        minutes = MinuteReport(report)
        while not self._ended.wait(MINUTE):
            if self._dispatcher is not None:
                try:
                    minutes.update(self._dispatcher.progress)
                except Exception:  # a line of the log is worth no thread
                    log.exception("minute_not_reported")


class Resident:
    """The resident dispatcher of this process, and its other threads: relays, sender of webhooks, readers of submissions."""

    def __init__(self) -> None:
        self.dispatcher: ResidentDispatcher | None = None
        self.others: list[WorkThreads] = []


def start(
    queues: Sequence[str], *, concurrency: int | None = None, each_minute: Callable[[Progress], None] | None = None
) -> ResidentDispatcher:
    """Start this process's resident dispatcher, and return it. It ends with the process, after the calls in progress."""
    dispatcher = ResidentDispatcher(queues, concurrency=concurrency, each_minute=each_minute)
    process_state.get(Resident).dispatcher = dispatcher
    dispatcher.start()
    wake.register_local(dispatcher.wake)
    atexit.register(stop)
    return dispatcher


def start_relays() -> None:
    """Start this process's relays, one for each sink. They end with the process, after the groups in progress."""
    _start_others(RelayThreads(name_process()))


def start_webhooks() -> None:
    """Start to send events to client webhooks. It ends with the process, after the requests in progress, in seconds."""
    _start_others(WebhookThreads(name_process()))


def start_readers() -> None:
    """Start to accept emails from streams, each in a thread. They end with the process, after the groups in progress."""
    _start_others(ReaderThreads(name_process()))


def _start_others(threads: WorkThreads) -> None:
    process_state.get(Resident).others.append(threads)
    threads.start()
    atexit.register(stop)


def start_embedded() -> None:
    """Start all that a worker does, in threads of the web process; call it after the fork."""
    start(list(QueueName.values))
    start_relays()
    start_webhooks()
    start_readers()


def ask_to_stop() -> None:
    """Let the resident dispatcher claim nothing more, if there is one; returns at once. Fit for a signal's handler."""
    dispatcher = process_state.get(Resident).dispatcher
    if dispatcher is not None:
        dispatcher.ask_to_stop()


def stop() -> None:
    """Stop all that was started, the last first, so that the readers of submissions end before what sends."""
    resident = process_state.get(Resident)
    while resident.others:
        resident.others.pop().stop()
    if resident.dispatcher is not None and not resident.dispatcher.stop():
        log.warning("dispatcher_not_stopped")
    resident.dispatcher = None
    wake.register_local(None)
