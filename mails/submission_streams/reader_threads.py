"""The readers of this process: a thread for each stream, so that one that is slow or away delays no other, and no email."""

from functools import partial

import structlog

from mails.submission_streams.config import StreamConfig, load_streams
from mails.submission_streams.reader import Pass, StreamReader
from mercury.lib.runtime.work_threads import WorkThreads, attempt

log = structlog.get_logger(__name__)

RETRY_AFTER = 1.0  # seconds after a failure; doubled up to …
RETRY_AT_MOST = 30.0  # … this
KEEP_EVERY = 2.0  # seconds between two signs of life during a wait
LAST_SECONDS = 5.0  # that a stop waits for a group in progress; what is not acknowledged is read again


class ReaderThreads(WorkThreads):
    """One thread per stream of the environment; none where there is no stream."""

    def __init__(self, process: str) -> None:
        streams = load_streams().values()
        readers = {f"mercury-intake-{config.name}": partial(self._read, config, process) for config in streams}
        super().__init__(readers, last_seconds=LAST_SECONDS)

    def _read(self, config: StreamConfig, process: str) -> None:
        reader = StreamReader(config, process=process)
        failures = 0
        while not self.stopping.is_set():
            done = attempt(reader.run_pass, "stream_intake_failed", stream=config.name) or Pass(is_failing=True)
            failures = failures + 1 if done.is_failing else 0
            self._wait(reader, done.wait or (RETRY_AFTER * 2 ** min(failures - 1, 10) if failures else 0.0))
        _close(reader, config.name)

    def _wait(self, reader: StreamReader, seconds: float) -> None:
        """Wait, and keep the group in hand."""
        left = min(seconds, RETRY_AT_MOST)
        while left > 0 and not self.stopping.wait(min(left, KEEP_EVERY)):
            left -= KEEP_EVERY
            reader.keep()


def _close(reader: StreamReader, stream: str) -> None:
    try:
        reader.close()
    except Exception:  # the process ends; another one goes on when the stream gives up on this one
        log.exception("stream_not_left", stream=stream)
