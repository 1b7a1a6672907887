"""The metrics of what carries events out and emails in: event streams, streams of submissions, client webhooks."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mails.reporting import webhook_status
from mails.reporting.system_status import SystemStatus

_NOT_WORKING = frozenset({"failing", "stopped", "no key"})
Values = Mapping[str, float]


def build_stream_metrics(found: SystemStatus) -> Iterable[Metric]:
    """Yield the metrics of all streams; without samples where there are none."""
    yield from _build_event_streams(found)
    yield from _build_submission_streams(found)


def build_webhook_metrics() -> Iterable[Metric]:
    """Yield the metrics of all client webhooks together: their number has no bound. Two queries."""
    states, waiting = webhook_status.count_by_state(), webhook_status.count_waiting()
    yield _gauge("mercury_webhooks", "Client webhooks by state.", states, label="state")
    family = GaugeMetricFamily(
        "mercury_webhook_waiting_deliveries", "Deliveries that wait; at most 100,000 are counted."
    )
    family.add_metric((), waiting)
    yield family


def _build_event_streams(found: SystemStatus) -> Iterable[Metric]:
    sinks = found.sinks
    yield _counter(
        "mercury_stream_published_events",
        "Events published since the stream was first used.",
        {sink.name: sink.published for sink in sinks},
    )
    yield _gauge(
        "mercury_stream_backlog_events",
        "Events that are not published yet.",
        {sink.name: sink.backlog for sink in sinks},
    )
    yield _gauge(
        "mercury_stream_oldest_seconds", "Age of the first of them.", {sink.name: sink.oldest or 0.0 for sink in sinks}
    )
    yield _gauge(
        "mercury_stream_refused_events",
        "Events refused for good, until the list is cleared.",
        {sink.name: sink.rejected for sink in sinks},
    )
    yield _gauge(
        "mercury_stream_failing",
        "1 while it should be published to and is not.",
        {sink.name: sink.state in _NOT_WORKING for sink in sinks},
    )
    yield _gauge(
        "mercury_stream_paused", "1 while it is paused.", {sink.name: sink.state == "paused" for sink in sinks}
    )


def _build_submission_streams(found: SystemStatus) -> Iterable[Metric]:
    streams = found.submission_streams
    yield _counter(
        "mercury_intake_accepted_mails",
        "Emails accepted from the stream.",
        {stream.name: stream.accepted for stream in streams},
    )
    yield _counter(
        "mercury_intake_rejected_records",
        "Records that went to its dead letters.",
        {stream.name: stream.rejected for stream in streams},
    )
    yield _gauge(
        "mercury_intake_waiting_records",
        "Records that wait in it; absent where it does not say.",
        {stream.name: stream.lag for stream in streams if stream.lag is not None},
    )
    yield _gauge(
        "mercury_intake_oldest_seconds",
        "Age of the first of them; absent where it does not say.",
        {stream.name: stream.lag_seconds for stream in streams if stream.lag_seconds is not None},
    )
    yield _gauge(
        "mercury_intake_failing",
        "1 while nothing is accepted from it.",
        {stream.name: stream.state in _NOT_WORKING for stream in streams},
    )
    yield _gauge(
        "mercury_intake_paused",
        "1 while it is paused.",
        {stream.name: stream.state == "paused" for stream in streams},
    )


def _gauge(name: str, text: str, values: Values, *, label: str = "stream") -> Metric:
    return _fill(GaugeMetricFamily(name, text, labels=(label,)), values)


def _counter(name: str, text: str, values: Values) -> Metric:
    return _fill(CounterMetricFamily(name, text, labels=("stream",)), values)


def _fill(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for key, value in values.items():
        family.add_metric((key,), float(value))
    return family
