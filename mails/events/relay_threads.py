"""The relays of this process: a thread for each sink, so that one that is slow or away delays no other, and no email."""

import threading
from collections.abc import Callable

import structlog
from django.db import Error, close_old_connections, connections

from mails.events.relay import Published, Relay
from mails.events.sinks.config import SinkConfig, load_sinks
from mercury.lib.database import database_bounds
from mercury.lib.database.database_errors import classify, is_temporary

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.25  # seconds between two looks for new events
RETRY_AFTER = 1.0  # seconds after a failure; doubled up to …
RETRY_AT_MOST = 30.0  # … this
LAST_SECONDS = 5.0  # that a stop waits for a group in progress


class RelayThreads:
    """One thread per sink of the environment; none where there is no sink."""

    def __init__(self, process: str) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(config, process), name=f"mercury-relay-{config.name}", daemon=True)
            for config in load_sinks().values()
        ]

    def start(self) -> None:
        """Begin to publish."""
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Begin no other group."""
        self._stopping.set()

    def stop(self) -> None:
        """Begin no other group, and wait for those in progress, 5 s at most: what they did not confirm is published again."""
        self.ask_to_stop()
        for thread in self._threads:
            thread.join(LAST_SECONDS)
            if thread.is_alive():
                log.warning("relay_not_stopped", thread=thread.name)

    def _run(self, config: SinkConfig, process: str) -> None:
        relay = Relay(config, process=process)
        failures = 0
        try:
            while not self._stopping.is_set():
                published = _try(relay.run_pass, config.name)
                failures = failures + 1 if published is None or published.is_failing else 0
                if failures:
                    self._stopping.wait(min(RETRY_AFTER * 2 ** min(failures - 1, 10), RETRY_AT_MOST))
                elif published is not None and not published.is_behind:
                    self._stopping.wait(LOOK_EVERY)
            _try(relay.stop, config.name)
        finally:
            connections.close_all()


def _try(work: Callable[[], Published | None], sink: str) -> Published | None:
    """Return what the work returns; None if it failed: whatever it was, the next pass is another chance."""
    try:
        with database_bounds.limit_work(database_bounds.MAINTENANCE):
            close_old_connections()
            return work()
    except Exception as error:
        if isinstance(error, Error) and is_temporary(error):
            log.warning("relay_failed", sink=sink, error=classify(error))
        else:
            log.exception("relay_failed", sink=sink)
        return None
