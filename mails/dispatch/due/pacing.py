"""When queues that are not urgent rest, so that urgent email finds the database free."""

import time

LATELY = 2.0  # seconds after an urgent email in which others rest …
RESTS = 4.0  # … times as long as their pass took


class Pacing:
    """The pace of the queues that are not urgent, in one dispatcher. Used by its claim thread alone.

    A backlog that is claimed without a rest delays each step of an urgent email. Costs nothing while none arrives.
    """

    def __init__(self) -> None:
        self._urgent_at = float("-inf")  # monotonic clock, as all here
        self._rests_until = float("-inf")

    def count_rest(self, now: float | None = None) -> float:
        """Return the seconds for which queues that are not urgent rest."""
        return max(0.0, self._rests_until - (time.monotonic() if now is None else now))

    def note_pass(self, began: float, *, urgent: bool, others: bool, now: float | None = None) -> None:
        """Note a pass that began then, and claimed urgent emails, or others, or both."""
        ended = time.monotonic() if now is None else now
        if urgent:
            self._urgent_at = ended
        if others and ended - self._urgent_at < LATELY:
            self._rests_until = ended + RESTS * (ended - began)
