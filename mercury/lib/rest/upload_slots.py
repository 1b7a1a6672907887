"""Bound how many uploads a process receives at once: each keeps a thread for as long as its client takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mercury.lib.rest.problems import Problem
from mercury.lib.runtime import process_state

most = 4  # of this process; the web server sets half of its threads


class _Slots:
    """The uploads in progress."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.taken = 0


@contextmanager
def take() -> Iterator[None]:
    """Take a slot for one upload. Raises Problem (503) if all are in use: the client tries again."""
    slots = process_state.get(_Slots)
    with slots.lock:
        if slots.taken >= most:
            detail = "Too many uploads are in progress. Try again in a moment."
            raise Problem(503, "busy", detail, headers={"Retry-After": "5"})
        slots.taken += 1
    try:
        yield
    finally:
        with slots.lock:
            slots.taken -= 1
