"""Rate limits: of API keys, for everything they write (emails, events and actions), and of visitors of download links.

A moving window counts exactly: within no interval of its length do more requests pass than the rate allows. With Redis all
web processes share the count; without it, or while it is down, each process counts alone.
"""

import collections
import math
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import Error, connection
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from mails.dispatch import wake
from mails.lifecycle import counters
from mails.lifecycle.counters import CounterKey
from mails.models import ApiKey
from mails.states import Counted
from mercury.lib import rates
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)

PREVIEWS_A_MINUTE = 90  # of one person; the form asks once a second at most
WRITE_SECONDS = 5.0  # refused emails are added to the counters this long after the first, in one row per key


class Counts:
    """What this process has counted by itself."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.memory = MovingWindowRateLimiter(MemoryStorage())
        self.redis: tuple[Redis, MovingWindowRateLimiter] | None = None  # the limiter of a connection
        self.not_shared = ""  # why the count was last not shared
        self.refused: collections.Counter[int] = collections.Counter()  # by the key's id, since they were last written
        self.writer: threading.Thread | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitStatus:
    """The rate limit of a key after one write."""

    allowed: bool  # this write
    quota: int  # writes allowed per window
    window: int  # seconds
    remaining: int  # writes allowed right now
    reset_after: int  # whole seconds, rounded up, until `remaining` grows by one, or refused writes fit


class _WindowCount(NamedTuple):
    allowed: bool
    remaining: int
    resets_at: float


def count_write(key: ApiKey, *, writes: int = 1, mail: bool = True) -> RateLimitStatus:
    """Count a write of the key, or several at once, and return its rate limit.

    They are allowed all or not at all; refused ones use nothing up. Refused emails are counted. Two round trips to Redis,
    three for several that are refused, or none. When Redis fails, only the requests that are waiting for it lose 0.25 s.
    """
    rate = rates.parse_rate(key.rate)
    assert rate is not None  # noqa: S101 (the caller skips keys without a rate)
    limit = RateLimitItemPerSecond(int(rate.number), rate.seconds, namespace="rate")
    count = _count_write(limit, key.prefix, writes)
    if not count.allowed:
        record_refused(key, rate.seconds, mails=writes if mail else 0)
    reset_after = math.ceil(min(max(count.resets_at - time.time(), 1), rate.seconds))
    return RateLimitStatus(
        allowed=count.allowed,
        quota=limit.amount,
        window=rate.seconds,
        remaining=count.remaining,
        reset_after=reset_after,
    )


def count_preview(user_id: int) -> bool:
    """Count a preview of what a person types, in this process alone; return False if there were too many in a minute."""
    limit = RateLimitItemPerSecond(PREVIEWS_A_MINUTE, 60, namespace="preview")
    return _hit_in_memory(limit, str(user_id)).allowed


def count_visit(network: str, *, amount: int) -> int:
    """Count a visit from this network. Return 0 if it is among the `amount` of a minute, else the seconds to wait."""
    count = _count_write(RateLimitItemPerSecond(amount, 60, namespace="visit"), network, 1)
    return 0 if count.allowed else min(max(math.ceil(count.resets_at - time.time()), 1), 60)


def _count_write(limit: RateLimitItemPerSecond, name: str, writes: int) -> _WindowCount:
    """Count by the key's prefix: a rotated key starts at zero, and two installations that share a Redis stay apart."""
    shared = wake.ask_redis(lambda redis: _hit_in_redis(redis, limit, name, writes))
    return shared or _hit_in_memory(limit, name, writes)


def _hit(limiter: MovingWindowRateLimiter, limit: RateLimitItemPerSecond, name: str, writes: int) -> _WindowCount:
    allowed = limiter.hit(limit, name, cost=writes)
    window = limiter.get_window_stats(limit, name)
    if writes == 1:
        return _WindowCount(allowed, window.remaining if allowed else 0, window.reset_time)
    fits_at = window.reset_time if allowed else _find_when_they_fit(limiter, limit, name, writes)
    return _WindowCount(allowed, window.remaining, fits_at)


def _find_when_they_fit(
    limiter: MovingWindowRateLimiter, limit: RateLimitItemPerSecond, name: str, writes: int
) -> float:
    """Return when this number of writes will be allowed, if no others are until then. The storages keep the latest write first."""
    storage, key, last = limiter.storage, limit.key_for(name), limit.amount - writes
    if last < 0:
        return math.inf
    if isinstance(storage, RedisStorage):
        counted_at = storage.storage.lindex(storage.prefixed_key(key), last)
    else:
        entries = storage.events.get(key, [])[last:]  # type: ignore[attr-defined]  # MemoryStorage
        counted_at = entries[0].atime if entries else 0.0
    return float(counted_at or 0.0) + limit.get_expiry()


def _hit_in_redis(redis: Redis, limit: RateLimitItemPerSecond, name: str, writes: int) -> _WindowCount | None:
    """Count in Redis. Returns None if Redis answers and refuses the command, for it is not down then."""
    try:
        return _hit(_get_redis_limiter(redis), limit, name, writes)
    except (OutOfMemoryError, ReadOnlyError):
        raise
    except ResponseError as error:
        _log_not_shared(str(error)[:100])
        return None


def _log_not_shared(words: str) -> None:
    """Log that the count is not shared, once until there is another reason."""
    counts = process_state.get(Counts)
    if counts.not_shared != words:
        counts.not_shared = words
        log.warning("rate_limit_sharing_failed", error=words)


def _hit_in_memory(limit: RateLimitItemPerSecond, name: str, writes: int = 1) -> _WindowCount:
    """Count in this process's memory, one thread at a time: the library's storage is not thread-safe."""
    counts = process_state.get(Counts)
    with counts.lock:
        limiter = counts.memory
        count = _hit(limiter, limit, name, writes)
        if count.resets_at <= time.time() + limit.get_expiry() or writes > limit.amount:
            return count
        limiter.clear(limit, name)  # the clock was set back: what was counted lies ahead
        return _hit(limiter, limit, name, writes)


def _get_redis_limiter(redis: Redis) -> MovingWindowRateLimiter:
    counts = process_state.get(Counts)
    if counts.redis is None or counts.redis[0] is not redis:
        counts.redis = (redis, _make_redis_limiter(redis))
    return counts.redis[1]


def _make_redis_limiter(redis: Redis) -> MovingWindowRateLimiter:
    """Return a limiter that uses the connections of `redis` and their time-outs."""
    storage = RedisStorage(settings.REDIS_URL, connection_pool=redis.connection_pool, key_prefix="mercury")
    return MovingWindowRateLimiter(storage)


def record_refused(key: ApiKey, seconds: int, *, mails: int) -> None:
    """Log a refused write once per window and process; count refused emails, which a thread writes a little later."""
    log_limit = RateLimitItemPerSecond(1, seconds, namespace="rate-logged")
    if _hit_in_memory(log_limit, key.prefix).allowed:
        log.warning("rate_limit_exceeded", key=key.prefix, rate=key.rate)
    if not mails:
        return
    counts = process_state.get(Counts)
    with counts.lock:
        counts.refused[key.pk] += mails
        if counts.writer is None:
            counts.writer = threading.Thread(
                target=_write_refused_later, args=(counts,), name="mercury-refused", daemon=True
            )
            counts.writer.start()


def _write_refused_later(counts: Counts) -> None:
    threading.Event().wait(WRITE_SECONDS)
    if process_state.get(Counts) is counts and counts.writer is threading.current_thread():
        try:
            write_refused()
        finally:
            connection.close()


def write_refused() -> None:
    """Add the refused emails to the counters. If the database refuses, they are written with the next ones.

    A process that ends loses the last few seconds.
    """
    counts = process_state.get(Counts)
    with counts.lock:
        refused = dict(counts.refused)
        counts.refused.clear()
        counts.writer = None
    try:
        counters.append_counts(
            {CounterKey(Counted.ARRIVAL, application=pk, outcome="throttled"): refused[pk] for pk in refused}
        )
    except Error as error:
        log.warning("refused_count_write_failed", error=type(error).__name__)
        with counts.lock:
            counts.refused.update(refused)
