"""Parse and format durations and sizes: 30s, 2m, 1h, 3d; 10MB."""

import datetime as dt
import re
from collections.abc import Sequence

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TICK_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_UNITS = ((1000**3, "GB"), (1000**2, "MB"), (1000, "kB"))
_BYTES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


def parse_duration(text: str) -> dt.timedelta:
    """Parse a duration such as `20s`, `1.5h` or `3d`.

    Raises ValueError, with the correct format, if it is not a positive number with a unit.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", text.strip())
    try:
        parsed = dt.timedelta(seconds=float(match[1]) * _SECONDS[match[2]] if match else 0)
    except OverflowError:
        raise ValueError(f"'{text}' is too long. Use a shorter duration.") from None
    if not parsed:
        raise ValueError(f"'{text}' is not a duration. Write a number and a unit: 250ms, 30s, 2m, 1h or 3d.")
    return parsed


MAX_DURATION = dt.timedelta(days=36_500)  # a date this far from today is still valid


def parse_bounded_duration(text: str) -> dt.timedelta:
    """Parse a duration of up to a hundred years. Raises ValueError."""
    parsed = parse_duration(text)
    if parsed > MAX_DURATION:
        raise ValueError(f"'{text}' is too long. Use 36500d (a hundred years) or less.")
    return parsed


def parse_size(text: str) -> int:
    """Parse a size such as `10MB` (1 MB is 1,000,000 bytes) and return it in bytes.

    Raises ValueError, with the correct format, if it is not a positive number with a unit.
    """
    match = re.fullmatch(r"(\d+)\s*(|B|KB|MB|GB)", text.strip().upper())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"'{text}' is not a size. Write a number and a unit: 500kB or 10MB.")
    return int(match[1]) * _BYTES[match[2]]


def format_duration(seconds: float) -> str:
    """Format a duration in seconds: `0.3 ms`, `4 ms`, `1.13 s`, `3 min 4 s`, `2 h 5 min`, `4 d 2 h`."""
    if seconds < 0.00095:
        return f"{seconds * 1000:.1g} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def format_ticks(seconds: Sequence[float]) -> list[str]:
    """Return the labels of an axis, short: all in the largest unit of which its ticks are whole multiples, as `90 s` or `40 min`."""
    for size, unit in _TICK_UNITS:
        if all(tick % size == 0 for tick in seconds):
            return [f"{tick / size:,.0f} {unit}" for tick in seconds]
    return [f"{tick * 1000:.4g} ms" if tick < 1 else f"{tick:,.4g} s" for tick in seconds]


def format_size(size: int) -> str:
    """Format a number of bytes: `312 B`, `6.1 kB`, `30 MB`, `1.2 GB`."""
    if size < 1000:
        return f"{size} B"
    amount, unit = next((size / step, unit) for step, unit in _UNITS if size >= step)
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


def format_offset(seconds: float) -> str:
    """Return a distance on a timeline: `318 ms`, `1.132 s`, `3 min 4 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.3f} s" if seconds < 60 else format_duration(seconds)


def format_age(seconds: float) -> str:
    """Return an age: `now`, `12 s ago`, `3 min ago`, `2 d ago`."""
    if seconds < 1:
        return "now"
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 86_400:
        return f"{int(seconds // 60)} min ago" if seconds < 3600 else f"{int(seconds // 3600)} h ago"
    return f"{int(seconds // 86_400)} d ago"


def format_moment(moment: dt.datetime, now: dt.datetime) -> str:
    """Return a time of day, with its date where that is not today's: `2026-12-02 10:14:03 UTC`."""
    clock = format_clock(moment)
    return (
        clock
        if moment.astimezone(dt.UTC).date() == now.astimezone(dt.UTC).date()
        else f"{moment.astimezone(dt.UTC):%Y-%m-%d} {clock}"
    )


def format_clock(moment: dt.datetime) -> str:
    """Return a time of day with its zone: `10:14:03 UTC`."""
    return f"{moment.astimezone(dt.UTC):%H:%M:%S} UTC"
