"""gunicorn's threaded worker, with threads of their own for `/health/live` and for files that are downloaded; and its log.

So the process says that it lives, however many requests wait for a database; and people with slow connections, who
download large files, keep no thread from those who submit email. A request waits in the main thread's poller until
there is enough of it (`mercury.slow_clients`), not in one of the threads that serve.
"""

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ
from threading import BoundedSemaphore
from typing import Any

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from mercury import slow_clients
from mercury.lib.runtime.queued_stream import QueuedStream

_LIVENESS = re.compile(rb"(GET|HEAD) /health/live/?[ ?]")
_DOWNLOAD = re.compile(rb"(GET|HEAD) /files/[^/ ]+/[^/ ]+ ")
_BODY = re.compile(rb"\r\n(content-length|transfer-encoding|expect)\s*:", re.IGNORECASE)
DOWNLOAD_THREADS = 64  # a few more than `mercury.lib.rest.download_slots` fills: the others say that all are in use
CLOSING_THREADS = 16
CLOSING_AT_MOST = 200  # connections; more are closed at once


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
        self.closing = ThreadPoolExecutor(max_workers=CLOSING_THREADS, thread_name_prefix="mercury-closing")
        self.closing_slots = BoundedSemaphore(CLOSING_AT_MOST)
        super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        """Hand a connection to a thread, once there is something to read, and enough of it."""
        conn.close = partial(self._close, conn)
        head = slow_clients.peek(conn.sock)
        if self._must_wait(conn, head):
            return
        done = self._choose_pool(head).submit(self.handle, conn)
        done.add_done_callback(lambda future: self.method_queue.defer(self.finish_request, conn, future))

    def handle(self, conn: Any) -> Any:
        """Serve a request, within the limits for slow clients."""
        if not self.cfg.is_ssl:
            conn.init()
            if not isinstance(conn.parser.unreader, slow_clients.TimedReader):
                slow_clients.limit_answers(conn.sock)
                conn.parser.unreader = slow_clients.TimedReader(conn.sock)
            conn.parser.unreader.begin()
        try:
            return super().handle(conn)
        finally:
            if not self.cfg.is_ssl:
                conn.parser.unreader.end()

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Serve a request whose head is read."""
        if not self.cfg.is_ssl:
            conn.parser.unreader.in_body = True
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        """Return True if the connection can be used again: what was not read of the body is there, and is little."""
        return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + slow_clients.REST_SECONDS))

    def _must_wait(self, conn: Any, head: bytes) -> bool:
        """Wait for more of a request, and return True, unless there is enough of it, or no more comes."""
        if self.cfg.is_ssl or (conn.initialized and conn.parser.unreader.buf.getvalue()):
            return False  # what cannot be looked into, and the rest of what is read already
        arrived, until = getattr(conn, "arriving", None) or (None, None)
        needed = slow_clients.count_needed(head) if head else 1
        now_arrived = len(head) if needed <= len(head) else slow_clients.count_arrived(conn.sock)
        if needed <= now_arrived or now_arrived == arrived or (not head and (conn.initialized or conn.data_ready)):
            if until is not None:
                slow_clients.wake_at(conn.sock, 1)
                conn.arriving = None
            return False
        if head:
            until = until or time.monotonic() + slow_clients.ARRIVAL_SECONDS
            slow_clients.wake_at(conn.sock, needed)
            conn.arriving = now_arrived, until
        conn.sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        conn.timeout = until or time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))
        return True

    def _close(self, conn: Any, *, graceful: bool = False) -> None:
        """Close a connection, without making the main thread wait for its client."""
        if not graceful or not self.closing_slots.acquire(blocking=False):
            util.close(conn.sock)
            return
        done = self.closing.submit(slow_clients.close_gracefully, conn.sock)
        done.add_done_callback(lambda _: self.closing_slots.release())

    def _choose_pool(self, head: bytes) -> ThreadPoolExecutor:
        if _is_liveness_request(head):
            return self.liveness
        return self.downloads if _DOWNLOAD.match(head) else self.tpool


def _is_liveness_request(head: bytes) -> bool:
    """Return whether the request asks for it, and is there as a whole: nobody can keep that thread waiting."""
    return _LIVENESS.match(head) is not None and b"\r\n\r\n" in head and _BODY.search(head) is None
