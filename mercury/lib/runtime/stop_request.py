"""A request to stop that the handler of a signal can make: unlike that of threading.Event, its `set` takes no lock."""

import os
import select
import time


class StopRequest:
    """Made once and for good. May be set from a handler or any thread, whatever others are doing."""

    def __init__(self) -> None:
        self._is_set = False
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)

    def set(self) -> None:
        """Ask for the end."""
        if not self._is_set:
            self._is_set = True
            os.write(self._writes, b"!")

    def is_set(self) -> bool:
        """Return whether the end was asked for."""
        return self._is_set

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the request, at most for so long; return whether it was made."""
        ends = None if seconds is None else time.monotonic() + seconds
        while not self._is_set:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                break
            select.select([self._reads], [], [], left)
        return self._is_set
