"""The alerts about sinks of events. A pure function of their status."""

from collections.abc import Iterable, Sequence

from mails.reporting.account_alerts import Alert
from mails.reporting.sink_status import SinkStatus
from mercury.lib.durations import format_duration

LONG_BEHIND = 5 * 60.0  # seconds that the oldest event may wait for a sink


def find_sink_alerts(sinks: Sequence[SinkStatus]) -> Iterable[Alert]:
    """Yield the alerts of all sinks: those that are late, and those that refuse events."""
    for sink in sinks:
        late = sink.oldest is not None and sink.oldest > LONG_BEHIND
        if late:
            yield Alert(
                code="sink_behind",
                tone="waiting",
                about=sink.name,
                sentence=f"{_describe(sink)}: about {sink.backlog:,} events are waiting, the oldest for "
                f"{format_duration(sink.oldest or 0)}.",
                remedy=_REMEDIES[sink.state].format(name=sink.name),
                since=sink.paused_at or sink.failing_since,
            )
        if sink.rejected:
            yield Alert(
                code="sink_rejected",
                tone="waiting",
                about=sink.name,
                sentence=f"Sink {sink.name} refused {sink.rejected:,} {'event' if sink.rejected == 1 else 'events'} for good.",
                remedy=f"See which and why: manage.py streams rejected {sink.name}. Forget them: add --clear.",
            )


_REMEDIES = {
    "paused": "Resume it: manage.py streams resume {name}",
    "failing": "Check the broker. What it lacks is published once it answers, as long as retention keeps the events.",
    "stopped": "Start a worker with the role relay and EVENT_SINK_… set, or give it up: manage.py streams remove {name}",
    "publishing": "It catches up automatically. If it does not, the broker is too slow for the traffic.",
}


def _describe(sink: SinkStatus) -> str:
    match sink.state:
        case "paused":
            return f"Sink {sink.name} is paused by {sink.paused_by}"
        case "failing":
            return f"Sink {sink.name} does not accept events ({sink.error})"
        case "stopped":
            return f"No worker publishes to sink {sink.name}"
        case _:
            return f"Sink {sink.name} is behind"
