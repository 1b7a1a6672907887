"""gunicorn's threaded worker, with threads of their own for `/health/live` and for files that are downloaded; and its log.

So the process says that it lives, however many requests wait for a database; and people with slow connections, who
download large files, keep no thread from those who submit email. A new connection waits for its first
bytes in the main thread's poller, not in one of the threads that serve.
"""

import logging
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from mercury.lib.runtime.queued_stream import QueuedStream

_LIVENESS = re.compile(rb"(GET|HEAD) /health/live/?[ ?]")
_DOWNLOAD = re.compile(rb"(GET|HEAD) /files/[^/ ]+/[^/ ]+ ")
_BODY = re.compile(rb"\r\n(content-length|transfer-encoding|expect)\s*:", re.IGNORECASE)
DOWNLOAD_THREADS = 64  # a few more than `mercury.lib.rest.download_slots` fills: the others say that all are in use
_LONGEST = 8192  # bytes of a request's head that is looked at


class ServerLog(Logger):  # type: ignore[misc]
    """gunicorn's log, which never waits for its reader: a full pipe must not keep the server from its signals."""

    def _set_handler(self, log: logging.Logger, output: str | None, fmt: logging.Formatter, stream: Any = None) -> None:
        super()._set_handler(log, output, fmt, stream)
        if output == "-":
            log.removeHandler(log.handlers[-1])
            handler = QueuedStream(stream)
            handler.setFormatter(fmt)
            handler._gunicorn = True  # type: ignore[attr-defined]  # by which gunicorn finds it again
            log.addHandler(handler)


class WebWorker(ThreadWorker):  # type: ignore[misc]
    """One web process."""

    def init_process(self) -> None:
        """Serve until asked to stop."""
        self.liveness = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mercury-liveness")
        self.downloads = ThreadPoolExecutor(max_workers=DOWNLOAD_THREADS, thread_name_prefix="mercury-download")
        super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        """Hand a connection to a thread, once there is something to read."""
        if not conn.initialized and not conn.data_ready:
            self._await_data(conn)
            return
        done = self._choose_pool(_peek(conn.sock)).submit(self.handle, conn)
        done.add_done_callback(lambda future: self.method_queue.defer(self.finish_request, conn, future))

    def _choose_pool(self, head: bytes) -> ThreadPoolExecutor:
        if _is_liveness_request(head):
            return self.liveness
        return self.downloads if _DOWNLOAD.match(head) else self.tpool

    def _await_data(self, conn: Any) -> None:
        """Wait as gunicorn does for a connection on which nothing came within its patience."""
        conn.sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))


def _peek(sock: socket.socket) -> bytes:
    """Return the beginning of the next request, as far as it has arrived."""
    try:
        return sock.recv(_LONGEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):  # ValueError: TLS of gunicorn's own, which cannot be looked into
        return b""


def _is_liveness_request(head: bytes) -> bool:
    """Return whether the request asks for it, and is there as a whole: nobody can keep that thread waiting."""
    return _LIVENESS.match(head) is not None and b"\r\n\r\n" in head and _BODY.search(head) is None
