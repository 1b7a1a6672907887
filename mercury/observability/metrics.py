"""`/metrics` for Prometheus: counters and durations from the roll-ups, gauges from the system status.

Everything is read from the database at each scrape, so that any web process gives the same answer. Counters are sums of
all time, which neither folding nor retention lowers.
"""

import hmac
import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from mails.lifecycle.counters import CounterKey, CounterSum
from mails.models import ApiKey
from mails.queues import QueueName
from mails.reporting import alerts, statistics, system_status
from mails.reporting.system_status import SystemStatus
from mails.states import WORKER_SILENCE, AttemptState, Counted, Ending
from mercury.lib import histogram
from mercury.lib.rest import problems
from mercury.lib.rest.problems import Problem
from mercury.observability import stream_metrics
from providers.models import BreakerState
from providers.outcomes import FailureClass

CALL_OCTAVES = range(16)  # bounds of the buckets: 2^0 to 2^15 ms, that is 1 ms to 33 s
WAIT_OCTAVES = range(0, 29, 2)  # 1 ms to 3 days
Totals = list[tuple[CounterKey, CounterSum]]


@require_safe
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Serve the metrics to requests with METRICS_TOKEN or from METRICS_FROM; refuse all others."""
    if not can_read(request):
        detail = "Send 'Authorization: Bearer …' with METRICS_TOKEN, or ask from a network that METRICS_FROM names."
        return problems.build_response(request, Problem(403, "metrics_forbidden", detail))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_MetricsCollector())
    return HttpResponse(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def can_read(request: HttpRequest) -> bool:
    """Return True if the token (compared in constant time) or the client's address allows it; an address behind a proxy does not count."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    wanted = settings.METRICS_TOKEN
    if wanted and scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), wanted.encode()):
        return True
    forwarded = {"X-Forwarded-For", "Forwarded"} & request.headers.keys()
    if forwarded and not settings.MERCURY_PROXIES:
        return False
    try:
        client = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(client in network for network in settings.METRICS_FROM)


class _MetricsCollector(Collector):
    """Collects all metrics at each scrape."""

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, in some twenty short queries."""
        totals = statistics.load_totals()
        yield from build_counters(totals)
        yield build_throttled(totals)
        yield from build_durations(totals)
        yield from build_gauges(system_status.read_system_status())


def build_counters(totals: Totals) -> Iterable[Metric]:
    """Return the counters of all time."""
    mails = CounterMetricFamily(
        "mercury_mails", "Emails by result; emails on hold may end later.", labels=("outcome", "queue")
    )
    arrived = CounterMetricFamily("mercury_mails_accepted", "Emails accepted; counted 20 s late.", labels=("queue",))
    calls = CounterMetricFamily(
        "mercury_calls", "Provider requests by outcome.", labels=("provider", "outcome", "failure_class")
    )
    ended = _sum_by(totals, Counted.END, lambda key: (key.outcome, key.queue))
    accepted = _sum_by(totals, Counted.ARRIVAL, lambda key: (key.outcome, key.queue))
    for queue in QueueName.values:
        for outcome in Ending.values:
            mails.add_metric((outcome, queue), ended[outcome, queue].count)
        mails.add_metric(("rejected", queue), accepted["rejected", queue].count)
        arrived.add_metric((queue,), accepted["accepted", queue].count)
    called = _sum_by(totals, Counted.CALL, lambda key: (key.account, key.outcome, key.failure_class))
    for account in sorted({key.account for key, _ in totals if key.kind == Counted.CALL}):
        for outcome, failure_class in _CALL_ENDS:
            calls.add_metric((account, outcome, failure_class), called[account, outcome, failure_class].count)
    return (mails, arrived, calls)


def build_throttled(totals: Totals) -> Metric:
    """Count the emails refused by key rate limits, by the application's name. One query."""
    family = CounterMetricFamily(
        "mercury_mails_throttled",
        "Submissions refused because of the rate of the key; counted 5 s late.",
        labels=("application",),
    )
    counted = {key.application: counter.count for key, counter in totals if key.outcome == "throttled"}
    refused: dict[str, int] = defaultdict(int)
    keys = ApiKey.objects.filter(~Q(rate="") | Q(pk__in=counted))
    for number, name in keys.values_list("pk", "name"):
        refused[name] += counted.get(number, 0)
    for name in sorted(refused):
        family.add_metric((name,), refused[name])
    return family


# A series that begins at its first event loses that event to `rate`: all that can be are there from the start.
_CALL_ENDS = (
    (AttemptState.ACCEPTED.value, ""),
    *((AttemptState.REFUSED.value, failure_class.value) for failure_class in FailureClass),
    (AttemptState.UNKNOWN.value, ""),
)


def build_durations(totals: Totals) -> Iterable[Metric]:
    """Return the histograms of all time."""
    return (
        _fill_histogram(
            HistogramMetricFamily(
                "mercury_send_duration_seconds",
                "Durations of provider requests, with any outcome.",
                labels=("provider",),
            ),
            _sum_by(totals, Counted.CALL, lambda key: (key.account,)),
            CALL_OCTAVES,
        ),
        _fill_histogram(
            HistogramMetricFamily(
                "mercury_queue_duration_seconds", "From acceptance to the first attempt.", labels=("queue",)
            ),
            _sum_by(totals, Counted.FIRST_SEND, lambda key: (key.queue,)),
            WAIT_OCTAVES,
        ),
        _fill_histogram(
            HistogramMetricFamily(
                "mercury_acceptance_duration_seconds", "From acceptance to acceptance by a provider.", labels=("queue",)
            ),
            _sum_by(
                [counter for counter in totals if counter[0].outcome in statistics.SENT],
                Counted.END,
                lambda key: (key.queue,),
            ),
            WAIT_OCTAVES,
        ),
    )


def build_gauges(found: SystemStatus) -> Iterable[Metric]:
    """Yield the current values."""
    alive = found.alive
    yield from _build_queue_gauges(found)
    yield _build_breaker_gauges(found)
    yield from _build_quota_gauges(found)
    yield _build_alert_gauges(found)
    yield from stream_metrics.build_stream_metrics(found)
    yield from stream_metrics.build_webhook_metrics()
    yield _build_gauge(
        "mercury_webhook_lag_seconds",
        "How long the first event has waited for a webhook that works; absent without any.",
        found.webhook_lag,
    )
    held = asdict(found.held)
    yield _build_labelled_gauge("mercury_held_mails", "Emails on hold.", "reason", held)
    enabled = {account.name: account.enabled for account in found.accounts}
    yield _build_labelled_gauge("mercury_provider_enabled", "1 if the account is enabled.", "provider", enabled)
    yield _build_gauge("mercury_mails_claimed", "Emails in progress.", found.claimed)
    yield _build_gauge("mercury_oldest_unsent_seconds", "Age of the oldest unsent email.", found.oldest_unsent or 0)
    fresh = f"{WORKER_SILENCE.total_seconds():g} s"
    yield _build_gauge("mercury_workers", f"Workers with a heartbeat in the last {fresh}.", len(alive))
    yield _build_gauge(
        "mercury_worker_concurrency",
        "Provider requests that they may make at once.",
        sum(worker.concurrency for worker in alive),
    )
    yield _build_gauge(
        "mercury_calls_in_flight",
        "Provider requests in progress, up to 5 s ago.",
        sum(worker.in_flight for worker in alive),
    )
    yield _build_gauge(
        "mercury_last_dispatch_age_seconds", "Time since a living worker looked for due emails.", found.poll_age
    )
    yield _build_gauge("mercury_sending_paused", "1 while all sending is paused.", found.sending_paused_by is not None)
    redis = None if found.redis == "not used" else found.redis == "answers"
    yield _build_gauge("mercury_redis_up", "1 if Redis answers; absent if it is not used.", redis)
    yield _build_gauge("mercury_disk_free_ratio", "Free share of the data folder's disk.", found.disk_free)


def _build_queue_gauges(found: SystemStatus) -> Iterable[Metric]:
    due = {queue.queue: queue.due for queue in found.queues}
    yield _build_labelled_gauge(
        "mercury_queue_depth", "Emails that could be sent now; at most 100,000 are counted.", "queue", due
    )
    oldest = {queue.queue: queue.oldest or 0.0 for queue in found.queues}
    yield _build_labelled_gauge(
        "mercury_queue_age_seconds", "How long the oldest of them has been due.", "queue", oldest
    )
    later = {queue.queue: queue.deferred for queue in found.queues}
    yield _build_labelled_gauge("mercury_back_off_mails", "Emails that are due later.", "queue", later)
    scheduled = {queue.queue: queue.scheduled for queue in found.queues}
    yield _build_labelled_gauge(
        "mercury_scheduled_mails",
        "Emails that wait for their send_at; at most 100,000 are counted.",
        "queue",
        scheduled,
    )
    paused = {queue.queue: queue.paused_at is not None for queue in found.queues}
    yield _build_labelled_gauge("mercury_queue_paused", "1 while the queue is paused.", "queue", paused)


def _build_breaker_gauges(found: SystemStatus) -> Metric:
    family = GaugeMetricFamily(
        "mercury_breaker_state", "1 for the state that the breaker is in.", labels=("provider", "state")
    )
    for account in found.accounts:
        for state in BreakerState:
            family.add_metric((account.name, state.value), float(account.effective == state))
    return family


def _build_quota_gauges(found: SystemStatus) -> Iterable[Metric]:
    used = GaugeMetricFamily(
        "mercury_quota_used", "Sent in the provider's day or month.", labels=("provider", "period")
    )
    allowed = GaugeMetricFamily(
        "mercury_quota_allowed", "Allowed in it; absent without a quota.", labels=("provider", "period")
    )
    out = {}
    for account in found.accounts:
        quota = account.quota
        if quota is None:
            continue
        out[account.name] = quota.is_out
        periods = {
            "day": (quota.used_today, quota.allowed_today),
            "month": (quota.used_this_month, quota.allowed_this_month),
        }
        for period, (number, most) in periods.items():
            if most is not None:
                used.add_metric((account.name, period), float(number))
                allowed.add_metric((account.name, period), float(most))
    yield used
    yield allowed
    yield _build_labelled_gauge(
        "mercury_out_of_quota", "1 while the account sends nothing because of a quota.", "provider", out
    )


def _build_alert_gauges(found: SystemStatus) -> Metric:
    family = GaugeMetricFamily("mercury_alert", "1 for each alert; see docs/operations.md.", labels=("code", "about"))
    for alert in alerts.find_alerts(found):
        family.add_metric((alert.code, alert.about), 1)
    return family


def _build_labelled_gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), float(value))
    return family


def _build_gauge(name: str, text: str, value: float | None) -> Metric:
    """Return a gauge without labels; without a sample if there is no value."""
    family = GaugeMetricFamily(name, text)
    if value is not None:
        family.add_metric((), float(value))
    return family


def _sum_by(
    totals: Totals, kind: Counted, labels: Callable[[CounterKey], tuple[str, ...]]
) -> dict[tuple[str, ...], CounterSum]:
    found: dict[tuple[str, ...], CounterSum] = defaultdict(CounterSum)
    for key, counter in totals:
        if key.kind == kind:
            found[labels(key)].add(counter.count, counter.total_us, counter.buckets)
    return found


def _fill_histogram(
    family: HistogramMetricFamily, sums: Mapping[tuple[str, ...], CounterSum], octaves: Sequence[int]
) -> HistogramMetricFamily:
    for labels, counter in sorted(sums.items()):
        counts = histogram.count_at_most(counter.buckets, octaves)
        buckets = [(str(2**octave / 1000), float(count)) for octave, count in zip(octaves, counts, strict=True)]
        buckets.append(("+Inf", float(sum(counter.buckets.values()))))
        family.add_metric(labels, buckets, counter.total_us / 1_000_000)
    return family
