"""Points in time as people and programs write them: ISO 8601 with a zone, or a local time with the name of its zone."""

import datetime as dt
import re
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_PARTS = re.compile(r"(?P<clock>[^\[\]]*?)\s*(?:\[(?P<zone>[^\[\]]*)\])?")
_OFFSET = re.compile(r"[+-]\d\d:?\d\d\s*$")
_EXAMPLES = "2026-12-24T18:00:00Z, 2026-12-24T19:00:00+01:00 or 2026-12-24T19:00[Europe/Berlin]"


class MomentError(ValueError):
    """A text is no point in time. `code` is stable; `fault` follows the text in a sentence: what is wrong, and the remedy."""

    def __init__(self, code: str, fault: str) -> None:
        super().__init__(fault)
        self.code, self.fault = code, fault


def parse_moment(text: str) -> dt.datetime:
    """Return the point in time that a text names, in UTC.

    ISO 8601 with an offset or `Z`; or a local time followed by the name of its zone in brackets, as in RFC 9557; with both,
    they must agree. Raises MomentError also for an hour that a zone skips or has twice.
    """
    match = _PARTS.fullmatch(text.strip())
    try:
        clock = dt.datetime.fromisoformat(match["clock"] if match else "")
    except ValueError:
        raise MomentError("invalid", f"is not a date with a time. Write ISO 8601: {_EXAMPLES}.") from None
    zone = _find_zone(match["zone"]) if match and match["zone"] is not None else None
    if zone is None and clock.tzinfo is None:
        raise MomentError("no_zone", f"has no time zone. Write {_EXAMPLES}.")
    try:
        if clock.tzinfo is None:
            assert zone is not None  # noqa: S101 (one of the two is there)
            return _place(clock, zone)
        moment = clock.astimezone(dt.UTC)
        if zone is not None and moment.astimezone(zone).utcoffset() != clock.utcoffset():
            raise MomentError("zone_differs", f"has an offset that {zone.key} does not have then. Omit one of the two.")
    except (OverflowError, ValueError) as error:
        if isinstance(error, MomentError):
            raise
        raise MomentError("out_of_range", "has a year out of range. Write a nearer date.") from None
    return moment


def join_zone(local: str, zone: str) -> str:
    """Return a local time with the name of its zone, as `parse_moment` reads it; a time with an offset stays as it is."""
    return local if local.rstrip().endswith(("Z", "]")) or _OFFSET.search(local) else f"{local}[{zone}]"


@lru_cache(maxsize=1)
def list_zones() -> tuple[str, ...]:
    """Return the names of the time zones that people use, in order: UTC first, then those of places."""
    places = (
        name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/", "US/"))
    )
    return ("UTC", *sorted(places))


@lru_cache(maxsize=64)
def format_iso(moment: dt.datetime | None) -> str | None:
    """Return a point in time as blobs of events have it: ISO 8601 in UTC, with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def format_minute(moment: dt.datetime) -> str:
    """Return a point in time to the minute, to the second where that is not 0: `2026-12-24 18:00 UTC`."""
    shown = "%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M"
    return f"{moment.astimezone(dt.UTC):{shown}} UTC"


def _find_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fault = (
            "names a time zone that does not exist. Write one of the IANA database, such as [Europe/Berlin] or [UTC]."
        )
        raise MomentError("no_such_zone", fault) from None


def _place(clock: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return when a clock in this zone shows that time. Raises MomentError for a time that it never shows, or twice."""
    first, second = (clock.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) != clock:
        later = first.astimezone(zone)
        fault = f"is in an hour that clocks in {zone.key} skip. Write {later:%Y-%m-%dT%H:%M:%S} or another time."
        raise MomentError("skipped_hour", fault)
    if first != second:
        fault = (
            f"is in an hour that clocks in {zone.key} show twice. "
            f"Write it in UTC: {first:%Y-%m-%dT%H:%M:%S}Z or {second:%Y-%m-%dT%H:%M:%S}Z."
        )
        raise MomentError("repeated_hour", fault)
    return first
