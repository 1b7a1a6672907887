"""Warm-up of a new account: how many emails it may send on each of its first days. Pure.

Written as a first day, and either the emails of each day (`2026-12-01:50,100,500`) or a number of days (`2026-12-01:30d`).
"""

import datetime as dt
import re
from dataclasses import dataclass

# SendGrid's published schedule: 20 emails an hour on the first day, and 1.4 times as many on each day after it, for 42 days
# (twilio.com/docs/sendgrid/concepts/reputation/warm-up-ip-addresses).
FIRST_DAY = 24 * 20
GROWTH = 1.4
MAX_DAYS = 42
MAX_STEPS = 60
MAX_STEP = 100_000_000

FORMAT = "A warm-up is its first day with the emails of each day, 2026-12-01:50,100,500, or with a number of days, 2026-12-01:30d."


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """A ramp: `steps[0]` emails on the day `start`, `steps[1]` on the next …; no limit after the last."""

    start: dt.date
    steps: tuple[int, ...]

    def __str__(self) -> str:
        """Return it as `parse_warm_up` reads it."""
        grown = self.steps == _grow(len(self.steps)) if len(self.steps) <= MAX_DAYS else False
        return f"{self.start}:{f'{len(self.steps)}d' if grown else ','.join(map(str, self.steps))}"

    @property
    def end(self) -> dt.date:
        """Return the first day without a limit."""
        return self.start + dt.timedelta(days=len(self.steps))

    def find_step(self, day: dt.date) -> int | None:
        """Return how many emails the account may send on this day: 0 before the first, None after the last."""
        number = (day - self.start).days
        if number < 0:
            return 0
        return self.steps[number] if number < len(self.steps) else None


def parse_warm_up(text: str) -> WarmUp | None:
    """Return the ramp, None for an empty text. Raises ValueError, with the correct format."""
    if not text.strip():
        return None
    first, _, rest = text.strip().partition(":")
    try:
        start = dt.date.fromisoformat(first)
        start + dt.timedelta(days=MAX_STEPS + 1)
    except (ValueError, OverflowError):
        raise ValueError(f"The first day is no date. {FORMAT}") from None
    if days := re.fullmatch(r"(\d{1,3})d", rest.strip()):
        return WarmUp(start=start, steps=_grow(int(days[1])))
    steps = rest.split(",")
    if not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", step) for step in steps):
        raise ValueError(FORMAT)
    numbers = tuple(int(step) for step in steps)
    if len(numbers) > MAX_STEPS or not all(1 <= number <= MAX_STEP for number in numbers):
        raise ValueError(f"A warm-up has at most {MAX_STEPS} days, with 1 to {MAX_STEP:,} emails each. {FORMAT}")
    return WarmUp(start=start, steps=numbers)


def _grow(days: int) -> tuple[int, ...]:
    if not 1 <= days <= MAX_DAYS:
        raise ValueError(f"A warm-up by number of days has 1 to {MAX_DAYS} of them. {FORMAT}")
    return tuple(int(FIRST_DAY * GROWTH**day) for day in range(days))
