"""The relays of this process: a thread for each sink, so that one that is slow or away delays no other, and no email."""

from functools import partial

from mails.events.relay import Relay
from mails.events.sinks.config import SinkConfig, load_sinks
from mercury.lib.runtime.work_threads import WorkThreads, attempt

LOOK_EVERY = 0.25  # seconds between two looks for new events
RETRY_AFTER = 1.0  # seconds after a failure; doubled up to …
RETRY_AT_MOST = 30.0  # … this
LAST_SECONDS = 5.0  # that a stop waits for a group in progress; what the sink did not confirm is published again


class RelayThreads(WorkThreads):
    """One thread per sink of the environment; none where there is no sink."""

    def __init__(self, process: str) -> None:
        sinks = load_sinks().values()
        relays = {f"mercury-relay-{config.name}": partial(self._relay, config, process) for config in sinks}
        super().__init__(relays, last_seconds=LAST_SECONDS)

    def _relay(self, config: SinkConfig, process: str) -> None:
        relay = Relay(config, process=process)
        failures = 0
        while not self.stopping.is_set():
            published = attempt(relay.run_pass, "relay_failed", sink=config.name)
            failures = failures + 1 if published is None or published.is_failing else 0
            if failures:
                self.stopping.wait(min(RETRY_AFTER * 2 ** min(failures - 1, 10), RETRY_AT_MOST))
            elif published is not None and not published.is_behind:
                self.stopping.wait(LOOK_EVERY)
        attempt(relay.stop, "relay_failed", sink=config.name)
