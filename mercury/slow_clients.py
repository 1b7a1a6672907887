"""Clients that send slowly, or stop: what they may cost a web process. A few hundred bytes must not keep a thread.

A request waits in the kernel, which costs nothing, until its head is there; outside the API its body as well if it is
small: so a thread begins with what needs no more waiting, or with a client that a key or a session has let in. Of those that are
slow then, half of the threads wait at once; one more is given up.
"""

import re
import socket
import struct
from fcntl import ioctl
from termios import FIONREAD
from threading import BoundedSemaphore
from time import monotonic
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

ARRIVAL_SECONDS = 10.0  # for what a request waits for in the kernel
PAUSE_SECONDS = 20.0  # between two bytes of a body
SLOWEST = 1000  # bytes a second of a body, on average
QUICK_SECONDS = 1.0  # for a body: after that its client is slow
GRACE_SECONDS = 0.05  # for what is on its way, after that
REST_SECONDS = 0.2  # for the rest of a body that nobody reads
UNREAD_SECONDS = 60  # that a client may leave an answer unread
SEEN = 8192  # bytes of a request's head that are looked at
SMALL = 64 * 1024  # bytes of a body that waits in the kernel
LINGER_SECONDS = 5.0
LINGER_BYTES = 32 * 1024 * 1024  # more than an email has: its client reads why it was refused

patience = BoundedSemaphore(
    4
)  # threads of this process that wait for slow clients; the web server sets half of its threads

_API = re.compile(rb"[A-Z]+ /api/")  # looks at the key before the body
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect\s*:", re.IGNORECASE)  # its body comes once it is asked for
_END = b"\r\n\r\n"


def peek(sock: socket.socket) -> bytes:
    """Return the beginning of the next request, as far as it has arrived."""
    try:
        return sock.recv(SEEN, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):  # ValueError: TLS of gunicorn's own, which cannot be looked into
        return b""


def count_needed(head: bytes) -> int:
    """Return how many bytes, of a request that begins like this, are worth a thread. Pure."""
    end = head.find(_END)
    if end < 0:
        return len(head) + 1 if len(head) < SEEN else 0
    length = None if _API.match(head) or _EXPECT.search(head, 0, end) else _LENGTH.search(head, 0, end + 2)
    whole = end + len(_END) + (int(length[1]) if length else 0)
    return whole if whole <= SMALL + SEEN else 0


def count_arrived(sock: socket.socket) -> int:
    """Return how many bytes have arrived that nobody has read."""
    return int(struct.unpack("i", ioctl(sock, FIONREAD, b"\0" * 4))[0])


def wake_at(sock: socket.socket, size: int) -> None:
    """Let the socket be readable once this many bytes have arrived, or no more will."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def limit_answers(sock: socket.socket) -> None:
    """End the connection of a client that reads nothing of its answer for UNREAD_SECONDS."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)


class TimedReader(SocketUnreader):  # type: ignore[misc]
    """Reads a connection, and gives up one that is too slow: as ended within a head, as TimeoutError within a body."""

    in_body, _is_patient = False, False

    def begin(self) -> None:
        """Begin a request."""
        self.in_body = False
        self._received, self._began = 0, monotonic()

    def end(self) -> None:
        """End a request: the thread has waited for its client."""
        if self._is_patient:
            self._is_patient = False
            self._lent.release()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes. Raises NoMoreData or TimeoutError."""
        set_before, seconds = self.sock.gettimeout(), self._count_seconds()
        try:
            if seconds <= 0:
                raise TimeoutError("the client is too slow")
            chunk = self._wait(size_hint, min(seconds, set_before or PAUSE_SECONDS))
        except TimeoutError:
            if self.in_body:
                raise
            raise NoMoreData from None
        finally:
            self.sock.settimeout(set_before)
        self._received += len(chunk)
        return chunk

    def _wait(self, size_hint: int | None, seconds: float) -> bytes:
        """Return the next bytes. A body that takes longer than QUICK_SECONDS needs one of the threads that may wait."""
        quick = seconds
        if self.in_body and not self._is_patient:
            quick = min(seconds, max(GRACE_SECONDS, QUICK_SECONDS - (monotonic() - self._began)))
        self.sock.settimeout(quick)
        try:
            chunk: bytes = super().chunk(size_hint)
        except TimeoutError:
            if quick == seconds or not self._become_patient():
                raise
            self.sock.settimeout(seconds - quick)
            chunk = super().chunk(size_hint)
        return chunk

    def _become_patient(self) -> bool:
        self._lent = patience
        self._is_patient = self._lent.acquire(blocking=False)
        return self._is_patient

    def _count_seconds(self) -> float:
        """Return how long the next bytes may take."""
        spent = monotonic() - self._began
        if not self.in_body:
            return ARRIVAL_SECONDS - spent
        return min(PAUSE_SECONDS, PAUSE_SECONDS + self._received / SLOWEST - spent)


def close_gracefully(sock: Any) -> None:
    """Close a connection whose client may still send: it reads the answer if it comes to that within the limits.

    Closing it at once would make the kernel throw the answer away (RFC 9112 §9.6).
    """
    until, drained = monotonic() + LINGER_SECONDS, 0
    try:
        sock.shutdown(socket.SHUT_WR)
        while drained < LINGER_BYTES and (left := until - monotonic()) > 0:
            sock.settimeout(left)
            received = len(sock.recv(SMALL))
            if not received:
                break
            drained += received
    except OSError:
        pass  # it has gone, or takes too long
    finally:
        sock.close()
