"""When queues that are not urgent rest, so that urgent email finds the database free."""

import time

LATELY = 2.0  # seconds after an urgent email in which others rest
RESTS = 2.0  # times as long as their pass took: its results have to be written, too


class Pacing:
    """The pace of the queues that are not urgent, in one dispatcher. Used by its claim thread alone.

    Needed on SQLite: claims, results and the web process's own writes go one after the other, so a backlog that is claimed
    without a rest delays each of the steps of an urgent email. Costs nothing while no urgent email arrives.
    """

    def __init__(self, *, is_needed: bool) -> None:
        self._is_needed = is_needed
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
        if others and self._is_needed and ended - self._urgent_at < LATELY:
            self._rests_until = ended + RESTS * (ended - began)
