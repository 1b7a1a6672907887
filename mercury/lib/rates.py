"""Parse rate limits of accounts and API keys: 14/s, 600/m, 1000/h, 50000/d."""

import re
from typing import NamedTuple

MIN_PER_SECOND = 1 / 86_400  # per second: one per day
MAX_PER_SECOND = 100_000.0

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Rate(NamedTuple):
    """A number of emails in one unit of time."""

    number: float
    unit: str

    @property
    def seconds(self) -> int:
        """Return the length of the unit."""
        return _SECONDS[self.unit]

    @property
    def per_second(self) -> float:
        """Return the rate per second."""
        return self.number / self.seconds


def parse_rate(text: str) -> Rate | None:
    """Parse a rate. A plain number is per second; `none` or an empty text is no limit.

    Raises ValueError, with the correct format.
    """
    if text.strip().lower() in ("", "none"):
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/([smhd]))?", text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError("A rate is a number and a unit, such as 14/s, 600/m, 1000/h or 50000/d.")
    rate = Rate(float(match[1]), match[2] or "s")
    if not MIN_PER_SECOND <= rate.per_second <= MAX_PER_SECOND:
        raise ValueError("A rate must be between 1/d and 100000/s.")
    return rate
