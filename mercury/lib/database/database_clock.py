"""The database's clock, so that machines whose clocks differ agree on leases and schedules."""

import datetime as dt
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import structlog
from django.db import connection

from mercury.lib.database.vendor import get_vendor
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)

REFRESH = 5.0  # seconds between two readings of the database's clock, at most
JUMP_NS = 1_000_000_000  # more than two clocks drift apart between two readings
CLOSE_NS = 1_000_000  # a look that took no longer is as good as any
LOOKS = 5  # at most, for one reading


@dataclass(frozen=True, slots=True)
class _Reading:
    epoch_ns: int  # the database's clock
    monotonic_ns: int  # this process's, at the same moment


class _Clock:
    """What this process knows of the database's clock."""

    def __init__(self) -> None:
        self.last: _Reading | None = None
        self.jump: _Reading | None = None  # the first reading after the last jump
        self.went_back = False  # whether that jump was one into the past
        self.one_reads = (
            threading.Lock()
        )  # the others go on with what was read before: nobody waits for another's query


def now_ns() -> int:
    """Nanoseconds since the Unix epoch by the database's clock, with microsecond resolution on PostgreSQL.

    Costs one query every 5 s per process on PostgreSQL, five where it is busy, and none on SQLite, whose clock is this
    machine's.
    Between two looks the monotonic clock counts on, so a jump of this machine's clock moves nothing.
    """
    if get_vendor() == "sqlite":
        return time.time_ns()
    clock = process_state.get(_Clock)
    reading = clock.last
    if reading is None:
        reading = _read(clock)
    elif time.monotonic_ns() - reading.monotonic_ns > REFRESH * 1e9 and clock.one_reads.acquire(blocking=False):
        try:
            reading = _read(clock)
        finally:
            clock.one_reads.release()
    return reading.epoch_ns + time.monotonic_ns() - reading.monotonic_ns


def now() -> dt.datetime:
    """Return the same moment as an aware datetime in UTC."""
    return from_ns(now_ns())


@lru_cache(maxsize=64)  # a group of mails shares its moment
def from_ns(nanoseconds: int) -> dt.datetime:
    """Return an aware datetime in UTC for nanoseconds since the Unix epoch, cut to microseconds."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return dt.datetime.fromtimestamp(seconds, dt.UTC).replace(microsecond=rest // 1000)


def look() -> None:
    """Read the clock now, so that nothing is judged by one that has jumped since. Workers do so at each heartbeat."""
    _read(process_state.get(_Clock))


def has_jumped_within(seconds: float) -> bool:
    """Return whether this process saw the clock jump so recently: moments that others wrote before mean nothing then."""
    jump = process_state.get(_Clock).jump
    return jump is not None and time.monotonic_ns() - jump.monotonic_ns <= seconds * 1e9


def has_gone_back_within(seconds: float) -> bool:
    """Return whether the last jump was one into the past, and so recent."""
    return process_state.get(_Clock).went_back and has_jumped_within(seconds)


def _read(clock: _Clock) -> _Reading:
    """Read the clock, and notice if it is not where the reading before says that it must be."""
    reading = _look()
    before = clock.last
    if before is not None and before.monotonic_ns > reading.monotonic_ns:  # another thread has a newer one
        return before
    clock.last = reading
    if before is not None:
        expected = before.epoch_ns + reading.monotonic_ns - before.monotonic_ns
        ahead = reading.epoch_ns - expected
        if abs(ahead) > JUMP_NS:
            clock.jump, clock.went_back = reading, ahead < 0
            log.warning("database_clock_jumped", seconds=round(ahead / 1e9, 3))
    return reading


def _look() -> _Reading:
    """Read the database's clock a few times and keep the quickest answer: it was read at some time between query and answer.

    So the error is half of that time at most (Cristian's algorithm, 1989). A busy process may be given the processor
    for the answer a tenth of a second after it has come.
    """
    if get_vendor() == "sqlite":
        return _Reading(time.time_ns(), time.monotonic_ns())
    looks: list[tuple[int, _Reading]] = []
    with connection.cursor() as cursor:
        while len(looks) < LOOKS and (not looks or looks[-1][0] > CLOSE_NS):
            before = time.monotonic_ns()
            cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            microseconds: int = cursor.fetchone()[0]
            took = time.monotonic_ns() - before
            looks.append((took, _Reading(microseconds * 1000, before + took // 2)))
    return min(looks, key=itemgetter(0))[1]
