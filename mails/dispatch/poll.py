"""The drain that lives as long as its process: in the web process when embedded, and in each worker.

It looks into the database every two seconds by itself, so that waking it is only a matter of speed.
"""

import atexit
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

import structlog
from django.conf import settings
from django.db import Error

from mails import bulk, event_months, retention
from mails.dispatch import duty, sweep
from mails.dispatch.drain import Drain, Progress
from mails.lanes import Lane
from mails.reporting import rollups
from mercury.lib import database_clock, event_loop
from mercury.lib.database_errors import is_not_now, kind

log = structlog.get_logger(__name__)

AGAIN = 1.0  # seconds before the next try after a drain that failed
GRACE = 5.0  # seconds beyond the deadline of a call that a stop may take
MINUTE = 60.0  # seconds
REMOVAL_A_HEARTBEAT = 0.2  # seconds, and one batch more


class Minutes:
    """Once a minute, what one drain came to since the last time: also where that is nothing, for silence tells nothing."""

    def __init__(self, tell: Callable[[Progress], None], *, now: float) -> None:
        self._tell = tell
        self._due = now + MINUTE
        self._told = Progress(in_flight=0, closed=0, done=0)

    def look(self, progress: Progress, *, now: float) -> None:
        """Tell it if a minute is over. A late look makes up for no minute that was missed."""
        if now < self._due:
            return
        self._due += MINUTE * (1 + (now - self._due) // MINUTE)
        told, self._told = self._told, progress
        self._tell(replace(progress, closed=progress.closed - told.closed, done=progress.done - told.done))


class Resident:
    """A drain in a thread of its own. `each_minute` is told what it came to, in the thread that takes."""

    def __init__(
        self,
        lanes: Sequence[str],
        *,
        places: int | None = None,
        each_minute: Callable[[Progress], None] | None = None,
    ) -> None:
        self._lanes = lanes
        self._places = places
        self._each_minute = each_minute
        self._stopping = False  # no Event: a signal's handler must not wait for the lock of one
        self._drain: Drain | None = None
        self._thread = threading.Thread(target=self._run, name="mercury-drain", daemon=True)

    def start(self) -> None:
        """Begin to drain."""
        self._thread.start()

    def wake(self) -> None:
        """Look for due mails now."""
        if self._drain is not None:
            self._drain.wake()

    def ask_to_stop(self) -> None:
        """Claim nothing more; the calls under way go on."""
        self._stopping = True
        self._pass_it_on()

    def stop(self) -> bool:
        """Claim nothing more and wait for the calls under way. False if they did not end within deadline + 5 s."""
        self.ask_to_stop()
        self._thread.join(settings.MERCURY_SEND_TIMEOUT.total_seconds() + GRACE)
        return not self._thread.is_alive()

    def _pass_it_on(self) -> None:
        if self._stopping and self._drain is not None:
            self._drain.stop()

    def _run(self) -> None:
        while not self._stopping:
            self._drain = self._new_drain()
            self._pass_it_on()  # a stop may have come before there was a drain to tell
            try:
                event_loop.run(self._drain.run())
            except Exception:  # whatever it was, mails must go on being sent
                log.exception("drain_failed")
                time.sleep(AGAIN)

    def _new_drain(self) -> Drain:
        """A drain that does the duties with each heartbeat, and tells of itself each minute."""
        minutes = Minutes(self._each_minute, now=time.monotonic()) if self._each_minute else None

        def beat(worker: str) -> None:
            _duties(worker)
            if minutes:
                _do("minute", lambda: minutes.look(drain.progress, now=time.monotonic()))

        drain = Drain(self._lanes, places=self._places, on_heartbeat=beat)
        return drain


def _sweep(worker: str) -> None:
    if sweep.on_duty(worker):
        wake()


def _roll_up(worker: str) -> None:
    if duty.is_mine(rollups.DUTY, worker):
        rollups.turn()


def _bulk(worker: str) -> None:
    if duty.is_mine(bulk.DUTY, worker) and bulk.turn():
        wake()


def _make_months(worker: str) -> None:
    if duty.is_due(event_months.DUTY, worker, every=event_months.EVERY):
        event_months.prepare(database_clock.now())


def _remove_what_is_old(worker: str) -> None:
    """A run of an hour's worth or a year's, some batches a heartbeat: mails are waiting for this thread."""
    global _removal
    if _removal is None and duty.is_due(retention.DUTY, worker, every=retention.EVERY):
        _removal = retention.run(settings.MERCURY_BODY_RETENTION, settings.MERCURY_MAIL_RETENTION)
    until = time.monotonic() + REMOVAL_A_HEARTBEAT
    while _removal is not None and time.monotonic() < until:
        removed = next(_removal, None)  # None also after it raised; what it left is for the next run
        if removed is None:
            _removal = None
        elif removed:
            log.info("retention_removed", **asdict(removed))


_removal: Iterator[retention.Removed] | None = None

_DUTIES: dict[str, Callable[[str], None]] = {
    sweep.DUTY: _sweep,
    rollups.DUTY: _roll_up,
    event_months.DUTY: _make_months,
    retention.DUTY: _remove_what_is_old,
    bulk.DUTY: _bulk,
}


def _duties(worker: str) -> None:
    for name, work in _DUTIES.items():
        _do(name, partial(work, worker))


def _do(duty: str, work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:  # a duty that fails must not end the drain that called it
        if isinstance(error, Error) and is_not_now(error):
            log.warning("duty_failed", duty=duty, error=kind(error))
        else:
            log.exception("duty_failed", duty=duty)


_resident: Resident | None = None


def start(
    lanes: Sequence[str], *, places: int | None = None, each_minute: Callable[[Progress], None] | None = None
) -> Resident:
    """Start this process's resident drain. It ends with the process, after the calls under way."""
    global _resident
    _resident = Resident(lanes, places=places, each_minute=each_minute)
    _resident.start()
    atexit.register(stop)
    return _resident


def start_embedded() -> None:
    """The drain of all lanes in a thread of the web process; call it after the fork."""
    start(list(Lane.values))


def wake() -> bool:
    """Wake the resident drain; False if this process has none."""
    if _resident is None:
        return False
    _resident.wake()
    return True


def ask_to_stop() -> None:
    """Let the resident drain claim nothing more, if there is one; returns at once. Fit for a signal's handler."""
    if _resident is not None:
        _resident.ask_to_stop()


def stop() -> None:
    """Stop the resident drain, if there is one."""
    global _resident
    if _resident is not None and not _resident.stop():
        log.warning("drain_did_not_end")
    _resident = None
