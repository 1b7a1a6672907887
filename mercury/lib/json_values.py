"""Values of our own as JSON values: dataclasses become objects, times ISO 8601 in UTC, words of a vocabulary text."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

DIGITS = 6  # behind the point: durations are in seconds, so to the microsecond


def convert_to_plain(value: Any) -> Any:
    """Return the value as `json.dumps` accepts it."""
    match value:
        case dt.datetime():
            return f"{value.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        case Enum():
            return value.value
        case float():
            return round(value, DIGITS)
        case str() | int() | None:
            return value
        case Mapping():
            return {str(convert_to_plain(key)): convert_to_plain(item) for key, item in value.items()}
        case Sequence():
            return [convert_to_plain(item) for item in value]
    return {field.name: convert_to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
