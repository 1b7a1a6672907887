"""Rates as people write them: 14/s, 600/m, 1000/h, 50000/d. Of an account's calls, and of the mails that a key hands in."""

import re
from typing import NamedTuple

SLOWEST = 1 / 86_400  # a second: one a day; what is slower is no limit but a closed door
FASTEST = 100_000.0

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Rate(NamedTuple):
    """So many in one unit of time."""

    number: float
    unit: str

    @property
    def seconds(self) -> int:
        """The length of the unit."""
        return _SECONDS[self.unit]

    @property
    def per_second(self) -> float:
        """The same as a number a second."""
        return self.number / self.seconds


def parse(text: str) -> Rate | None:
    """The rate that `text` names; a bare number is one a second, `none` or nothing is no limit.

    Raises ValueError, saying how to write one.
    """
    if text.strip().lower() in ("", "none"):
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/([smhd]))?", text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError("A rate is a number and a unit: 14/s, 600/m, 1000/h or 50000/d.")
    rate = Rate(float(match[1]), match[2] or "s")
    if not SLOWEST <= rate.per_second <= FASTEST:
        raise ValueError("A rate is from one a day (1/d) to 100000 a second.")
    return rate
