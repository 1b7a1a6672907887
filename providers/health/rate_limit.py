"""The rate limit of an account: the generic cell rate algorithm (GCRA, ITU-T I.371), shared through the breaker's row."""

import datetime as dt

from mercury.lib.rates import MIN_PER_SECOND

BURST = 1.0  # seconds' worth of calls that may go out at once


def count_available(next_call_at: dt.datetime | None, rate: float, now: dt.datetime) -> int:
    """Return how many calls may begin now. `rate`: calls a second. However slow it is, a burst of one call is allowed."""
    depth = max(BURST * rate, 1.0)
    if next_call_at is None or next_call_at <= now:
        return int(depth)
    return max(0, int(depth - (next_call_at - now).total_seconds() * rate + 1e-9))


def reserve(next_call_at: dt.datetime | None, rate: float, now: dt.datetime, calls: int) -> dt.datetime:
    """Return the time to store after `calls` calls were granted."""
    start = next_call_at if next_call_at and next_call_at > now else now
    return start + dt.timedelta(seconds=calls / max(rate, MIN_PER_SECOND))
