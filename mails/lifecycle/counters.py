"""Counters of what happens to email, added up in memory and appended to the roll-ups as fresh rows.

Each group of results appends a few fresh rows, so that no worker waits for another. `reporting.rollups` adds fresh rows
to those of their minute, hour and day some seconds later.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mails.models import Rollup
from mails.states import Counted, Level
from mercury.lib import histogram
from mercury.lib.database import database_clock
from mercury.lib.database.recordset import list_columns

COLUMNS = list_columns(
    Rollup,
    (
        *("level", "start", "kind", "queue", "account", "application", "outcome", "failure_class"),
        *("count", "total_us", "buckets"),
    ),
)


class CounterKey(NamedTuple):
    """Subject of a counter. Fields that do not apply to its kind are empty."""

    kind: Counted
    queue: str = ""
    account: str = ""
    application: int = 0  # the API key's number; 0 for users and the command line
    outcome: str = ""
    failure_class: str = ""


@dataclass(slots=True)  # positional: many thousands are built for a page of statistics
class CounterSum:
    """A count, with the sum and the distribution of the durations that are known."""

    count: int = 0
    total_us: int = 0  # microseconds
    buckets: dict[str, int] = field(default_factory=dict)  # by number, written as JSON writes keys

    def add(self, count: int, total_us: int, buckets: Mapping[str, int]) -> None:
        """Add another sum."""
        self.count += count
        self.total_us += total_us
        mine = self.buckets
        for number, inside in buckets.items():
            mine[number] = mine.get(number, 0) + inside


class Counters:
    """The counters of one group of results, added up before they are written."""

    def __init__(self) -> None:
        self._sums: dict[CounterKey, CounterSum] = defaultdict(CounterSum)

    def count(self, key: CounterKey, seconds: float | None = None) -> None:
        """Count one event; `seconds` is its duration, if that is known."""
        found = self._sums[key]
        found.count += 1
        if seconds is not None:
            found.total_us += round(seconds * 1_000_000)
            place = str(histogram.choose_bucket(seconds))
            found.buckets[place] = found.buckets.get(place, 0) + 1

    def build_rows(self, now: dt.datetime) -> list[dict[str, Any]]:
        """Return the fresh rows, dated with the minute of `now`."""
        minute = now.replace(second=0, microsecond=0)
        return [build_row(Level.FRESH, minute, key, total) for key, total in self._sums.items()]


def append_counts(counts: Mapping[CounterKey, int]) -> None:
    """Append a fresh row for each key with its count. One statement."""
    minute = database_clock.now().replace(second=0, microsecond=0)
    Rollup.objects.bulk_create(
        [Rollup(**build_row(Level.FRESH, minute, key, CounterSum(counts[key]))) for key in counts]
    )


def build_row(level: Level, start: dt.datetime, key: CounterKey, total: CounterSum) -> dict[str, Any]:
    """Return the columns of one roll-up row."""
    return {
        "level": level,
        "start": start,
        **key._asdict(),
        "count": total.count,
        "total_us": total.total_us,
        "buckets": {str(place): inside for place, inside in total.buckets.items()},
    }
