"""What every sink does: publish records in order, and say which it refuses for good."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mails.events.cloud_events import Record

MOST_REASON = 500  # characters


class SinkUnavailable(Exception):
    """The sink accepts nothing now, or did not confirm it. Its text is for an operator, and contains no secret."""


class Sink(Protocol):
    """A target of events. Made in the process and thread that uses it."""

    def publish(self, records: Sequence[Record]) -> Mapping[int, str]:
        """Publish the records, those of one key in their order, and return once the sink has them all.

        Returns the reason for each that the sink refuses for good, by its event id. Raises SinkUnavailable if it is not known
        to have all others; some may be there, and the same records are published again.
        """

    def close(self) -> None:
        """Release what the sink holds."""
