"""A log handler that never waits: lines go through a bounded queue, and a thread of its own writes them.

A pipe whose reader reads nothing blocks every writer. Here that is one thread, while emails go on; what does not
fit into the queue is dropped, and counted in a line once there is room again.
"""

import atexit
import io
import logging
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any, TextIO

import structlog

MOST = 10_000  # lines that wait to be written
LONGEST = 64 * 1024  # characters of a line; a longer one is cut
LAST_WORDS = 1.0  # seconds that the end of a process waits for what is still in the queue

log = structlog.get_logger(__name__)


class _NoLock:
    """In the place of a handler's lock: a signal may come, and be logged, while another line is made."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        """Do nothing."""

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class QueuedStream(logging.Handler):
    """Writes to a stream, to standard error by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self.stream = stream or sys.stderr
        self._dropped = 0
        self._writer: threading.Thread | None = None
        self._begin_afresh()
        atexit.register(self.flush)

    def createLock(self) -> None:  # noqa: N802 (logging's name)
        """Have no lock around `emit`, which needs none."""
        self.lock: Any = _NoLock()

    def emit(self, record: logging.LogRecord) -> None:
        """Put the line into the queue, or drop it if too many wait already."""
        if self._pid != os.getpid():  # a child has no threads of its parent
            self._begin_afresh()
        if self._lines.qsize() >= MOST:
            self._dropped += 1
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (as every handler: a line that cannot be made ends nothing)
            self.handleError(record)
            return
        self._lines.put(line[:LONGEST] + "\n")
        if self._writer is None:
            self._writer = threading.Thread(target=self._keep_writing, name="mercury-log", daemon=True)
            self._writer.start()

    def flush(self) -> None:
        """Wait until all is written, but not for long: the reader may have stopped."""
        if self._pid == os.getpid() and self._writer is not None:
            behind_the_last = threading.Event()
            self._lines.put(behind_the_last)
            behind_the_last.wait(LAST_WORDS)

    def _begin_afresh(self) -> None:
        self._pid = os.getpid()
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._writer = None

    def _keep_writing(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            self._write(line)
            if self._dropped and self._lines.qsize() < MOST // 2:
                dropped, self._dropped = self._dropped, 0
                log.warning("log_lines_dropped", lines=dropped)

    def _write(self, line: str) -> None:
        """Write past the stream's buffer: a stuck thread would keep its lock, which the end of a process asks for."""
        try:
            number = self.stream.fileno()
        except (OSError, ValueError):  # a stream in memory, or one that was closed
            self._write_to_memory(line)
            return
        data = line.encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(number, data) :]
        except OSError:
            self._dropped += 1  # nobody reads any more, so there is nowhere to say why

    def _write_to_memory(self, line: str) -> None:
        try:
            self.stream.write(line)
        except (ValueError, io.UnsupportedOperation):
            self._dropped += 1
