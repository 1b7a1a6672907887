"""How often a key has written of late (mails, events, actions), and whether it may once more.

Counted in a moving window, exactly: in no stretch of the window's length does more than the rate pass. With Redis all
web processes share the count; without it, or while it is away, each process counts by itself.
"""

import collections
import math
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import Error, connection
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from mails import counters
from mails.counters import CounterKey
from mails.dispatch import wake
from mails.models import ApiKey
from mails.states import Counted
from mercury.lib import rates

log = structlog.get_logger(__name__)

WRITE_SECONDS = 5.0  # refused mails are added to the figures so long after the first of them, all in one row a key

_lock = threading.Lock()
_refused: collections.Counter[int] = collections.Counter()  # by the key's number, since they were last written
_writer: threading.Thread | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a key with a rate may do after the write that it was asked for."""

    allowed: bool  # this write
    quota: int  # writes …
    window: int  # … in so many seconds
    left: int  # writes that it may do now
    seconds: int  # whole ones, rounded up, until it may do one more than that


class _Count(NamedTuple):
    allowed: bool
    left: int
    grows_at: float


def take(key: ApiKey, *, mail: bool = True) -> Standing:
    """Count a write of the key, and say whether it may. A refused one uses nothing up; of mails the figures tell it.

    Two round trips to Redis, or none. A Redis that fails costs those who are waiting for it 0.25 s, and nobody after them.
    """
    rate = rates.parse(key.rate)
    assert rate is not None  # noqa: S101 (a key without a rate is not asked about)
    limit = RateLimitItemPerSecond(int(rate.number), rate.seconds, namespace="rate")
    count = _counted(limit, key.prefix)
    if not count.allowed:
        _note_refused(key, rate.seconds, mail=mail)
    seconds = min(max(math.ceil(count.grows_at - time.time()), 1), rate.seconds)
    return Standing(count.allowed, limit.amount, rate.seconds, count.left, seconds)


def _counted(limit: RateLimitItemPerSecond, name: str) -> _Count:
    """By the key's prefix: a rotated key begins anew, and two houses that share a Redis do not mix their keys."""
    shared = wake.ask_redis(lambda redis: _hit_there(redis, limit, name))
    return shared or _hit_here(limit, name)


def _hit(limiter: MovingWindowRateLimiter, limit: RateLimitItemPerSecond, name: str) -> _Count:
    allowed = limiter.hit(limit, name)
    window = limiter.get_window_stats(limit, name)
    return _Count(allowed, window.remaining if allowed else 0, window.reset_time)


def _hit_there(redis: Redis, limit: RateLimitItemPerSecond, name: str) -> _Count | None:
    """In Redis; None by one that answers and does not let us: it is no Redis that is away."""
    try:
        return _hit(_in_redis(redis), limit, name)
    except (OutOfMemoryError, ReadOnlyError):
        raise
    except ResponseError as error:
        _tell_refused(str(error)[:100])
        return None


@lru_cache(maxsize=8)
def _tell_refused(words: str) -> None:
    """Once a process for each fault."""
    log.warning("rates_not_shared", error=words)


def _hit_here(limit: RateLimitItemPerSecond, name: str) -> _Count:
    """In this process's memory, one at a time: the library's memory is not made for threads that meet."""
    with _lock:
        limiter = _in_memory()
        count = _hit(limiter, limit, name)
        if count.grows_at <= time.time() + limit.get_expiry():
            return count
        limiter.clear(limit, name)  # the clock was set back: what was counted lies ahead
        return _hit(limiter, limit, name)


@lru_cache(maxsize=1)
def _in_redis(redis: Redis) -> MovingWindowRateLimiter:
    """Over the connections of `redis`, with their time-outs."""
    storage = RedisStorage(settings.REDIS_URL, connection_pool=redis.connection_pool, key_prefix="mercury")
    return MovingWindowRateLimiter(storage)


@lru_cache(maxsize=1)
def _in_memory() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(MemoryStorage())


def _note_refused(key: ApiKey, seconds: int, *, mail: bool) -> None:
    """One log line a window and process; and a mail more in the figures, which a thread of its own writes a little later."""
    global _writer
    told = RateLimitItemPerSecond(1, seconds, namespace="rate-told")
    if _hit_here(told, key.prefix).allowed:
        log.warning("key_over_its_rate", key=key.prefix, rate=key.rate)
    if not mail:
        return
    with _lock:
        _refused[key.pk] += 1
        if _writer is None:
            _writer = threading.Thread(target=_write_soon, name="mercury-refused", daemon=True)
            _writer.start()


def _write_soon() -> None:
    threading.Event().wait(WRITE_SECONDS)
    if _writer is threading.current_thread():
        try:
            write_refused()
        finally:
            connection.close()


def write_refused() -> None:
    """Add to the figures how many mails were refused. What the database does not take now is written with the next ones.

    A process that ends takes the last few seconds' with it.
    """
    global _writer
    with _lock:
        refused = dict(_refused)
        _refused.clear()
        _writer = None
    try:
        counters.append_counts(
            {CounterKey(Counted.ARRIVAL, application=pk, outcome="throttled"): refused[pk] for pk in refused}
        )
    except Error as error:
        log.warning("refused_mails_not_counted", error=type(error).__name__)
        with _lock:
            _refused.update(refused)


def forget() -> None:
    """Begin anew in this process: nothing was counted, and nothing is to be written."""
    global _writer
    with _lock:
        _writer = None
        _in_memory.cache_clear()
        _tell_refused.cache_clear()
        _refused.clear()
