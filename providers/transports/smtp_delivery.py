"""The time of one delivery over SMTP, shared by the thread that makes it and the event loop that may give it up."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from providers.transports.smtp_replies import Phase

SLOWEST_UPLOAD = 64 * 1024  # bytes a second of an upload; a larger email gets more time


class DeadlineOver(OSError):
    """The delivery's time is over; its thread stops before the next step."""


class SmtpDelivery:
    """One delivery, for the thread that makes it and the event loop that may give it up.

    Until the final dot it has `deadline` seconds, and more for a large email. After the dot only the server knows
    whether it has the email, so the wait for that reply has a time of its own (RFC 5321 §4.5.3.2.6).
    """

    def __init__(self, deadline: float, *, final_reply: float | None = None) -> None:
        self._lock = threading.Lock()
        self._ends_at = time.monotonic() + deadline
        self._latest = float("inf")  # whatever time the delivery has left
        self._final_reply = deadline if final_reply is None else final_reply
        self._is_given_up = False
        self._socket: socket.socket | None = None
        self.phase = Phase.GREETING  # the step that the last reply answers
        self.is_started = False
        self.is_past_dot = False
        self.is_looking_up = False  # if the time ends during the lookup, our resolver was too slow, not the server

    @contextlib.contextmanager
    def mark_lookup(self) -> Iterator[None]:
        """Mark the lookup of the host's name, which happens inside this."""
        self.is_looking_up = True
        yield
        self.is_looking_up = False

    def count_seconds_left(self) -> float:
        """Return the seconds left; 0 or less if the time is over."""
        return min(self._ends_at, self._latest) - time.monotonic()

    def require_time(self) -> float:
        """Return the seconds left. Raises DeadlineOver if the time is over or the delivery was given up."""
        if self.is_over():
            raise DeadlineOver("The time limit is over.")
        return max(0.001, self.count_seconds_left())

    def is_over(self) -> bool:
        """Return True if the time is over or the delivery was given up."""
        return self._is_given_up or self.count_seconds_left() <= 0

    def remember_socket(self, handle: socket.socket) -> None:
        """Remember the socket that `give_up` shuts down."""
        with self._lock:
            self._socket = handle
        self.require_time()

    def extend_for(self, size: int) -> None:
        """Allow more time for `size` bytes."""
        self._ends_at += size / SLOWEST_UPLOAD

    def end_by(self, latest: float) -> None:
        """End by `latest` (monotonic clock), whatever time the delivery has."""
        self._latest = min(self._latest, latest)

    @property
    def is_cut_short(self) -> bool:
        """Return True if `end_by` ended the delivery early."""
        return self._latest < min(self._ends_at, time.monotonic())

    def pass_dot(self) -> None:
        """Pass the final dot: from here on the server may have the email. Raises DeadlineOver if given up."""
        with self._lock:
            self.require_time()
            self.is_past_dot = True
            self.phase = Phase.DOT
            self._ends_at = time.monotonic() + self._final_reply

    def give_up(self) -> None:
        """Stop the thread, whatever it waits for. It will not pass the dot after this."""
        with self._lock:
            self._is_given_up = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # not connected any more
                    self._socket.shutdown(socket.SHUT_RDWR)
