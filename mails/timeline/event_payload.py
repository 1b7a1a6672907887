"""The blob of an event, read with suspicion: clients write blobs too, so no value in one is trusted.

A value of an unexpected type counts as missing, and control characters never reach a page or a terminal.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from mercury.lib.mail.printable import replace_unprintable

BLOB_SHOWN = 4_000  # characters; the API has all of it
LONGEST_TEXT = 2_000  # characters
LONGEST_LIST = 100  # items


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPayload:
    """The JSON object in a blob; empty where the blob is anything else."""

    raw: str
    values: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        try:
            loaded = json.loads(self.raw) if self.raw.lstrip().startswith("{") else {}
        except (ValueError, RecursionError):
            loaded = {}
        object.__setattr__(self, "values", loaded if isinstance(loaded, dict) else {})

    @classmethod
    def from_values(cls, values: dict[str, object]) -> EventPayload:
        """Return the payload of an object inside a blob."""
        payload = cls(raw="")
        payload.values.update(values)
        return payload

    def get_text(self, key: str) -> str:
        """Return the text at `key`, cleaned and shortened; empty where there is none."""
        value = self.values.get(key)
        return shorten(replace_unprintable(value), LONGEST_TEXT) if isinstance(value, str) else ""

    def get_number(self, key: str) -> float | None:
        """Return the number at `key`; None if it is negative, not finite or very large."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) < 1e12 and math.isfinite(value) and value >= 0 else None

    def is_true(self, key: str) -> bool:
        """Return True if the value at `key` is true."""
        return self.values.get(key) is True

    def get_time(self, key: str) -> dt.datetime | None:
        """Return the time at `key`, if it is ISO 8601 with a zone."""
        try:
            time = dt.datetime.fromisoformat(self.get_text(key))
            return time.astimezone(dt.UTC) if time.tzinfo else None
        except (ValueError, OverflowError):
            return None

    def get_object(self, key: str) -> EventPayload:
        """Return the object at `key`; an empty one where there is none."""
        value = self.values.get(key)
        return EventPayload.from_values(value) if isinstance(value, dict) else EventPayload(raw="")

    def get_objects(self, key: str) -> list[EventPayload]:
        """Return the objects in the list at `key`, at most LONGEST_LIST."""
        return [EventPayload.from_values(value) for value in self._get_list(key) if isinstance(value, dict)]

    def get_strings(self, key: str) -> list[str]:
        """Return the texts in the list at `key`, at most LONGEST_LIST."""
        return [replace_unprintable(value) for value in self._get_list(key) if isinstance(value, str)]

    def _get_list(self, key: str) -> Iterable[object]:
        value = self.values.get(key)
        return value[:LONGEST_LIST] if isinstance(value, list) else []

    def format(self) -> str:
        """Return the blob as recorded, indented where it is JSON."""
        text = self.raw
        if self.values:
            try:
                text = json.dumps(self.values, indent=2, ensure_ascii=False)
            except (ValueError, RecursionError):
                text = self.raw
        return shorten(replace_unprintable(text), BLOB_SHOWN)


def shorten(text: str, length: int) -> str:
    """Return `text` with at most `length` characters, the last one an ellipsis if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"
