"""The `Range` of a request (RFC 9110 §14): which bytes of a file an answer has. Pure."""

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=[ \t]*(?:(\d{1,30})-(\d{0,30})|-(\d{1,30}))[ \t]*", re.ASCII | re.IGNORECASE)


class ByteRange(NamedTuple):
    """Bytes from `start` up to, without, `stop`, of a file of `size`."""

    start: int
    stop: int
    size: int

    @property
    def length(self) -> int:
        """Return how many bytes it has."""
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        """Return the header of an answer that has these bytes alone."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


class RangeNotSatisfiable(Exception):
    """The range begins behind the end of the file, or has no byte."""


def parse_range(header: str, size: int) -> ByteRange | None:
    """Return the range that the header asks for; None for the whole file. Raises RangeNotSatisfiable.

    Several ranges, another unit and what is no range are ignored, as the RFC allows: the answer is the whole file, which
    has each byte once, whatever overlaps.
    """
    found = _RANGE.fullmatch(header)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None  # no range at all, says the RFC
    if start >= stop:
        raise RangeNotSatisfiable
    return ByteRange(start, stop, size)
