"""What every source of submissions does."""

from collections.abc import Sequence
from typing import Protocol

from mails.submission_streams.records import DeadLetter, StreamRecord
from mercury.lib.value import value

AT_ONCE = 500  # records
MOST_BYTES = 8 * 1024 * 1024  # that are meant to be in memory at once
READ_SECONDS = 1.0  # that a read waits for a record


class SourceUnavailable(Exception):
    """The stream, or that of its dead letters, does not serve now. Its text is for an operator, and contains no secret."""


@value
class Lag:
    """How far a stream is ahead of what was accepted; None: it does not say."""

    records: int | None = None
    seconds: float | None = None


class Source(Protocol):
    """A stream, read by one thread. After SourceUnavailable it must be closed: another one begins where it was acknowledged."""

    def read(self) -> Sequence[StreamRecord]:
        """Return the next records, in order; none if there is none within about a second. Raises SourceUnavailable."""

    def acknowledge(self, records: Sequence[StreamRecord]) -> None:
        """Remember that these records, the first ones of a read, are finished. Raises SourceUnavailable."""

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Append records to the dead letters, and return once the stream has confirmed them. Raises SourceUnavailable."""

    def keep(self, records: Sequence[StreamRecord]) -> None:
        """Keep records that cannot be accepted yet: no other reader may get them. Raises SourceUnavailable."""

    def measure_lag(self) -> Lag:
        """Return how far the whole stream is ahead. Raises SourceUnavailable."""

    def close(self) -> None:
        """Give up what is not acknowledged, so that another reader gets it soon."""
