"""Limit the memory that a process uses for large emails in requests and answers.

An email of ten megabytes uses many times that while it is parsed, stored or shown. Small emails are not counted. A large
one waits a few seconds until it fits; if it does not, the answer is 503 with Retry-After.
"""

import gc
import threading
import time
from typing import Any

from django.conf import settings

from mercury.lib.durations import format_size
from mercury.lib.rest.problems import Problem

SMALL = 64 * 1024  # bytes; the limit of most paths; requests up to this size are not counted
AT_ONCE = 2  # emails of the largest size that a process handles at once
WAIT_SECONDS = 5.0
WAITING_AT_MOST = 4  # threads; the others continue to serve small requests
COLLECT_FROM = 1_000_000  # bytes
_RESERVED = "_mercury_large_bytes"


def build_too_large(limit: int, *, signed_in: bool = True) -> Problem:
    """Return the 413 for a body that is larger than its path allows."""
    whom = "" if signed_in else " without signing in"
    return Problem(
        413, "too_large", f"The request is larger than {format_size(limit)}, the limit of this address{whom}."
    )


class Budget:
    """Bytes that may be reserved at once. Safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reserved = 0
        self._waiting = 0

    def acquire(self, size: int, *, limit: int, seconds: float) -> bool:
        """Reserve `size` of `limit` bytes, waiting up to `seconds` for others to release theirs. Returns False if that fails."""
        until = time.monotonic() + seconds
        with self._changed:
            if self._reserved + size > limit and self._waiting >= WAITING_AT_MOST:
                return False
            self._waiting += 1
            try:
                fits = self._changed.wait_for(lambda: self._reserved + size <= limit, timeout=until - time.monotonic())
            finally:
                self._waiting -= 1
            self._reserved += size if fits else 0
            return fits

    def release(self, size: int) -> None:
        """Release these bytes for others."""
        with self._changed:
            self._reserved -= size
            self._changed.notify_all()


BUDGET = Budget()


def track(request: Any) -> None:
    """Let `reserve` count for this request until `release`."""
    setattr(request, _RESERVED, 0)


def reserve(request: Any, size: int) -> None:
    """Wait until `size` more bytes fit into this process, and reserve them until the request is answered.

    Raises Problem (503) if they do not fit in time. Only the first call of a request counts; call it before the bytes
    are parsed or rendered.
    """
    request = getattr(request, "_request", request)
    if size <= SMALL or getattr(request, _RESERVED, None) != 0:
        return
    limit = AT_ONCE * settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    size = min(size, limit)
    if not BUDGET.acquire(size, limit=limit, seconds=WAIT_SECONDS):
        detail = "Too many large emails are in progress. Try again in a moment."
        raise Problem(503, "busy", detail, headers={"Retry-After": "2"})
    setattr(request, _RESERVED, size)
    if size > COLLECT_FROM:
        gc.collect()  # a request and its answer refer to each other: earlier ones keep their bodies until then


def release(request: Any) -> None:
    """Release the bytes that `reserve` reserved."""
    size = getattr(request, _RESERVED, 0)
    setattr(request, _RESERVED, None)
    if size:
        BUDGET.release(size)
