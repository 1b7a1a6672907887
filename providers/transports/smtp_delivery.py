"""One SMTP connection that keeps in step: a reply counts only for the command that it belongs to.

smtplib takes the next line for the answer, whoever it was meant for. Here input that nobody asked for ends the
connection before the next command goes out, and each command knows the codes that can answer it.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from providers.transports.smtp_replies import Phase

SLOWEST_UPLOAD = 64 * 1024  # bytes a second of an upload; a larger email gets more time


class DeadlineOver(OSError):
    """The call's time is over; the thread that carries it out stops before the next step."""


class SmtpDelivery:
    """One delivery, seen by the thread that carries it out and by the event loop that may give it up.

    Until the final dot it has `deadline` seconds, and more for a large email. After the dot only the server knows
    whether it has the email, so the wait for that reply has a time of its own (RFC 5321 §4.5.3.2.6).
    """

    def __init__(self, deadline: float, *, final_reply: float | None = None) -> None:
        self._lock = threading.Lock()
        self._ends_at = time.monotonic() + deadline
        self._latest = float("inf")  # no matter what the call is still allowed
        self._final_reply = deadline if final_reply is None else final_reply
        self._given_up = False
        self._socket: socket.socket | None = None
        self.phase = Phase.GREETING  # the step that the last reply answers
        self.started = False
        self.past_dot = False
        self.is_looking_up = False  # the host's name: if the time ends here, our resolver was too slow, not the server

    @contextlib.contextmanager
    def looking_up(self) -> Iterator[None]:
        """Look the host's name up inside this."""
        self.is_looking_up = True
        yield
        self.is_looking_up = False

    def seconds_left(self) -> float:
        """Return the seconds left; 0 or less if there are none."""
        return min(self._ends_at, self._latest) - time.monotonic()

    def remaining(self) -> float:
        """Return the seconds left. Raises DeadlineOver if there are none, or if the call was given up."""
        if self.is_over():
            raise DeadlineOver("The deadline is over.")
        return max(0.001, self.seconds_left())

    def is_over(self) -> bool:
        """Return True if the time is over, or the call was given up."""
        return self._given_up or self.seconds_left() <= 0

    def uses(self, handle: socket.socket) -> None:
        """Remember the socket that `give_up` shuts down."""
        with self._lock:
            self._socket = handle
        self.remaining()

    def uploads(self, size: int) -> None:
        """Allow more time for so many bytes."""
        self._ends_at += size / SLOWEST_UPLOAD

    def end_by(self, latest: float) -> None:
        """End by then (monotonic clock), whatever the call was allowed."""
        self._latest = min(self._latest, latest)

    @property
    def is_cut_short(self) -> bool:
        """Return True if `end_by` ended the call before its own time."""
        return self._latest < min(self._ends_at, time.monotonic())

    def pass_dot(self) -> None:
        """Pass the point of no return: from here on the server may have the email. Raises DeadlineOver if given up."""
        with self._lock:
            self.remaining()
            self.past_dot = True
            self.phase = Phase.DOT
            self._ends_at = time.monotonic() + self._final_reply

    def give_up(self) -> None:
        """Stop the thread, whatever it waits for. It will not pass the dot after this."""
        with self._lock:
            self._given_up = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # not connected any more
                    self._socket.shutdown(socket.SHUT_RDWR)
