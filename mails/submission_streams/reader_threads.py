"""The readers of this process: a thread for each stream, so that one that is slow or away delays no other, and no email."""

import threading

import structlog
from django.db import Error, close_old_connections, connections

from mails.submission_streams.config import StreamConfig, load_streams
from mails.submission_streams.reader import Pass, StreamReader
from mercury.lib.database import database_bounds
from mercury.lib.database.database_errors import classify, is_temporary

log = structlog.get_logger(__name__)

RETRY_AFTER = 1.0  # seconds after a failure; doubled up to …
RETRY_AT_MOST = 30.0  # … this
KEEP_EVERY = 2.0  # seconds between two signs of life during a wait
LAST_SECONDS = 5.0  # that a stop waits for a group in progress


class ReaderThreads:
    """One thread per stream of the environment; none where there is no stream."""

    def __init__(self, process: str) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(config, process), name=f"mercury-intake-{config.name}", daemon=True
            )
            for config in load_streams().values()
        ]

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Begin no other group."""
        self._stopping.set()

    def stop(self) -> None:
        """Begin no other group, and wait for those in progress, 5 s at most: what is not acknowledged is read again."""
        self.ask_to_stop()
        for thread in self._threads:
            thread.join(LAST_SECONDS)
            if thread.is_alive():
                log.warning("reader_not_stopped", thread=thread.name)

    def _run(self, config: StreamConfig, process: str) -> None:
        reader = StreamReader(config, process=process)
        failures = 0
        try:
            while not self._stopping.is_set():
                done = _run_pass(reader, config.name)
                failures = failures + 1 if done.is_failing else 0
                self._wait(reader, done.wait or (RETRY_AFTER * 2 ** min(failures - 1, 10) if failures else 0.0))
            _close(reader, config.name)
        finally:
            connections.close_all()

    def _wait(self, reader: StreamReader, seconds: float) -> None:
        """Wait, and keep the group in hand."""
        left = min(seconds, RETRY_AT_MOST)
        while left > 0 and not self._stopping.wait(min(left, KEEP_EVERY)):
            left -= KEEP_EVERY
            reader.keep()


def _run_pass(reader: StreamReader, stream: str) -> Pass:
    """Return what the pass did; if it failed, whatever it was, the next one is another chance."""
    try:
        with database_bounds.limit_work(database_bounds.MAINTENANCE):
            close_old_connections()
            return reader.run_pass()
    except Exception as error:
        if isinstance(error, Error) and is_temporary(error):
            log.warning("stream_intake_failed", stream=stream, error=classify(error))
        else:
            log.exception("stream_intake_failed", stream=stream)
        return Pass(is_failing=True)


def _close(reader: StreamReader, stream: str) -> None:
    try:
        reader.close()
    except Exception:  # the process ends; another one goes on when the stream gives up on this one
        log.exception("stream_not_left", stream=stream)
