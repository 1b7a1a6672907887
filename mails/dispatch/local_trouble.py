"""Trouble of this machine as one worker's calls meet it: no descriptors, no memory, no resolver. It slows its claims.

Fewer concurrent calls cure what too many cause, and cost nothing where they cure nothing: half as many after each burst
of trouble, one more with each call that goes out well. While nothing goes out at all, the worker waits longer each time
before it claims anything, so that it does not spin through the emails of its healthy peers.
"""

from dataclasses import dataclass

from providers import classify
from providers.outcomes import NotAttempted

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds
SHOWN_FOR = 60.0  # seconds after the last trouble that operators still see it


def build_outcome(error: OSError | MemoryError) -> NotAttempted:
    """Return the outcome of a call that this machine could not make: it lacked memory, a descriptor, a disk."""
    words = getattr(error, "strerror", None) or type(error).__name__
    return classify.blame_machine("local", f"This machine could not make the request: {words}.")


@dataclass(slots=True)
class LocalTrouble:
    """Used in the event loop of one dispatcher. All times are of the monotonic clock."""

    concurrency: int  # calls at once in good times
    reason: str = ""  # of the last trouble, for operators
    limit: int | None = None  # calls at once while there is trouble
    wait: float = FIRST_WAIT  # seconds before what was not sent is due again
    _claims_from: float = float("-inf")
    _seen_at: float = float("-inf")
    _threshold: int = 1  # below it a good call adds one slot; above it as many good calls as slots do
    _good: int = 0
    _went_out: bool = False  # a call, since the last second began in which a host could not be reached from here
    _second_ends: float = float("-inf")

    def meet(self, reason: str, *, in_progress: int, now: float, may_be_one_host: bool = False) -> bool:
        """Note a call that this machine's trouble ended; return True where that is news. What ends together is one burst.

        `may_be_one_host`: a resolver that does not answer for one name, or no route to one network, is no reason to
        slow the calls of other accounts while these go out.
        """
        is_new = not self.shown(now)
        self.reason, self._seen_at = reason, now
        if may_be_one_host and self._has_call_gone_out(now):
            return is_new
        if now < self._claims_from and self.limit is not None:  # what is still in progress is what this machine can do
            self.limit = self._threshold = max(1, min(self.limit, in_progress // 2))
            return False
        nothing_went_out = self.limit is not None and not self._good
        self.wait = min(self.wait * 2, LONGEST_WAIT) if nothing_went_out else FIRST_WAIT
        self.limit = self._threshold = max(1, min(self.limit or self.concurrency, max(in_progress, 1)) // 2)
        self._good, self._claims_from = 0, now + self.wait
        return True

    def pass_by(self) -> None:
        """Note a call that went out: this machine could make it."""
        self._went_out = True
        if self.limit is None:
            return
        self._good += 1
        if self.limit < self._threshold or self._good % self.limit == 0:
            self.limit += 1
        if self.limit >= self.concurrency:
            self.limit, self.wait = None, FIRST_WAIT

    def _has_call_gone_out(self, now: float) -> bool:
        """Return True if calls went out in the second before this one, or this one has not ended."""
        if now < self._second_ends:
            return True
        went_out, self._went_out = self._went_out, False
        if went_out:
            self._second_ends = now + FIRST_WAIT
        return went_out

    def calls_at_once(self) -> int:
        """Return how many calls may be in progress."""
        return self.concurrency if self.limit is None else self.limit

    def seconds_until_claims(self, now: float) -> float:
        """Return how long the worker claims nothing."""
        return max(0.0, self._claims_from - now)

    def shown(self, now: float) -> str:
        """Return what operators see: the reason, or nothing once it is over for a minute."""
        return self.reason if now - self._seen_at < SHOWN_FOR else ""
