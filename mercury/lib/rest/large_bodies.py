"""A bound for the memory that large emails take while requests and answers are made of them, all of a process together.

An email of ten megabytes takes many times that while it is parsed, stored or shown. What is small is never counted; what is
large waits until it fits beside the others, a little, and is then answered 503 with Retry-After.
"""

import gc
import threading
import time
from typing import Any

from django.conf import settings

from mercury.lib.durations import format_size
from mercury.lib.rest.problems import Problem

SMALL = 64 * 1024  # bytes; what most paths take at most, and what is not counted
AT_ONCE = 2  # largest emails that a process works on at once
WAIT_SECONDS = 5.0
WAITING_AT_MOST = 4  # threads; the others go on serving what is small
COLLECT_FROM = 1_000_000  # bytes
_HELD = "_mercury_large_bytes"


def too_large(limit: int, *, signed_in: bool = True) -> Problem:
    """Return the 413 for a body that is larger than its path takes."""
    whom = "" if signed_in else " for who is not signed in"
    return Problem(
        413, "too_large", f"The request is larger than {format_size(limit)}, the limit of this address{whom}."
    )


class Budget:
    """Bytes that may be held at once. Safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0
        self._waiting = 0

    def take(self, size: int, *, limit: int, seconds: float) -> bool:
        """Take `size` of `limit` bytes, waiting up to `seconds` for others to give theirs back; False if there are too many."""
        until = time.monotonic() + seconds
        with self._changed:
            if self._held + size > limit and self._waiting >= WAITING_AT_MOST:
                return False
            self._waiting += 1
            try:
                fits = self._changed.wait_for(lambda: self._held + size <= limit, timeout=until - time.monotonic())
            finally:
                self._waiting -= 1
            self._held += size if fits else 0
            return fits

    def give_back(self, size: int) -> None:
        """Let others have these bytes."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()


budget = Budget()


def watch(request: Any) -> None:
    """Let `hold` count for this request until `release`."""
    setattr(request, _HELD, 0)


def hold(request: Any, size: int) -> None:
    """Wait until `size` bytes fit beside what this process works on, and keep them until the request's answer is made.

    Raises Problem (503) if they do not fit in time. The first call of a request counts; call it before the bytes are
    made into anything.
    """
    request = getattr(request, "_request", request)
    if size <= SMALL or getattr(request, _HELD, None) != 0:
        return
    limit = AT_ONCE * settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    size = min(size, limit)
    if not budget.take(size, limit=limit, seconds=WAIT_SECONDS):
        detail = "Mercury works on as many large emails as it has memory for. Try again in a moment."
        raise Problem(503, "busy", detail, headers={"Retry-After": "2"})
    setattr(request, _HELD, size)
    if size > COLLECT_FROM:
        gc.collect()  # a request and its answer refer to each other: earlier ones keep their bodies until then


def release(request: Any) -> None:
    """Give back what `hold` took."""
    size = getattr(request, _HELD, 0)
    setattr(request, _HELD, None)
    if size:
        budget.give_back(size)
