"""When the next attempt is made. Pure functions of what happened.

A delivery backs off by its own failures, up to 8 hours, for three days. A webhook that fails time after time rests as a
whole: then one delivery after the other tries it, after 15 minutes at most, whatever the number of those that wait.
"""

import datetime as dt
import random

FIRST = 5.0  # seconds
MOST = 8 * 3600.0  # seconds between two attempts of a delivery
GIVE_UP_AFTER = dt.timedelta(days=3)
REST_AFTER = 5  # failures without a success, from which on the webhook rests
MOST_REST = 15 * 60.0  # seconds
MOST_RETRY_AFTER = 24 * 3600.0  # seconds that an answer may ask to wait


def compute_delay(failures: int, *, most: float = MOST) -> dt.timedelta:
    """Return how long to wait after so many failures in a row: exponential, with full jitter."""
    longest = min(most, FIRST * 2.0 ** min(max(0, failures - 1), 30))
    return dt.timedelta(seconds=random.uniform(0, longest))  # noqa: S311


def compute_rest(failures: int) -> dt.timedelta | None:
    """Return how long a webhook rests after so many failures without a success; None if it does not."""
    if failures < REST_AFTER:
        return None
    return compute_delay(failures - REST_AFTER + 1, most=MOST_REST)
