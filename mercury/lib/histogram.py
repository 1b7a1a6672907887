"""Durations in logarithmic buckets, fixed for good, so that the figures of any stretches of time can be added up.

Eight buckets an octave: each is 2^(1/8) as wide as it begins. A percentile read from them lies in the bucket of the
true one, so it is at most 9.1 % off; below 1 ms, the width of the first bucket, it is at most 1 ms off.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

PER_OCTAVE = 8
RATIO = 2 ** (1 / PER_OCTAVE)
ERROR = RATIO - 1  # of a percentile, as a share of it, for durations of 1 ms and more

Buckets = Mapping[str, int]  # the number of a bucket, as JSON writes it -> how many durations fell into it


def choose_bucket(seconds: float) -> int:
    """Return the number of the bucket that a duration falls into; 0 holds all below 1 ms."""
    milliseconds = seconds * 1000
    return 0 if milliseconds < 1 else 1 + math.floor(math.log2(milliseconds) * PER_OCTAVE)


def get_bounds(number: int) -> tuple[float, float]:
    """Return where a bucket begins and ends, in seconds."""
    if number == 0:
        return 0.0, 0.001
    return 2 ** ((number - 1) / PER_OCTAVE) / 1000, 2 ** (number / PER_OCTAVE) / 1000


def compute_percentile(buckets: Buckets, share: float) -> float | None:
    """Return the duration in seconds that `share` (above 0, at most 1) of all do not exceed; None if there are none."""
    return compute_percentiles(buckets, (share,))[0]


def compute_percentiles(buckets: Buckets, shares: Sequence[float]) -> list[float | None]:
    """Return the same for several shares, in ascending order.

    Interpolated within its bucket, as if the durations in it lay evenly.
    """
    counts = {int(number): inside for number, inside in buckets.items()}
    total = sum(counts.values())
    if not total:
        return [None for _ in shares]
    found: list[float | None] = []
    wanted = [max(1, math.ceil(share * total)) for share in shares]
    passed = 0
    for number in sorted(counts):
        inside = counts[number]
        while len(found) < len(wanted) and wanted[len(found)] <= passed + inside:
            low, high = get_bounds(number)
            found.append(low + (high - low) * (wanted[len(found)] - passed) / inside)
        passed += inside
    return found


def count_at_most(buckets: Buckets, octaves: Iterable[int]) -> list[int]:
    """Return how many durations are below 2^octave ms, for each octave: exact, since a bucket begins at each octave."""
    numbered = [(int(number), inside) for number, inside in buckets.items()]
    return [sum(inside for number, inside in numbered if number <= octave * PER_OCTAVE) for octave in octaves]
