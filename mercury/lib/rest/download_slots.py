"""Bound how many files a process sends at once: each keeps a thread for as long as its client takes."""

import threading

from mercury.lib.runtime import process_state

MOST = 60  # of one process; a few less than the threads that the web server has for them


class _Slots:
    """The downloads in progress."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.taken = 0


def take() -> bool:
    """Take a slot for one answer; return False if all are in use."""
    slots = process_state.get(_Slots)
    with slots.lock:
        if slots.taken >= MOST:
            return False
        slots.taken += 1
        return True


def give_back() -> None:
    """Give a slot back."""
    slots = process_state.get(_Slots)
    with slots.lock:
        slots.taken -= 1
