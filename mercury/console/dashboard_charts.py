"""The three charts of the overview: emails by outcome, time in the queue, response time of the providers."""

from collections.abc import Mapping, Sequence

from mails.reporting.statistics import Point, Statistics
from mercury.console.charts import Legend, Picture, build_picture, label_counts
from mercury.lib import chart_geometry, durations

# Series -> words and tone, in the order in which a column stacks them.
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "done": ("sent", "ok"),
    "failover": ("sent after a failover", "waiting"),
    "discarded": ("discarded or expired", "bad"),
    "held": ("held", "unknown"),
}
_TONES = ("active", "waiting", "unknown", "ok", "bad", "neutral")
_UNITS = {"minute": "minute", "ten-minutes": "ten minutes", "hour": "hour", "day": "day"}


def build_charts(points: Sequence[Point], figures: Statistics, period: str) -> list[Picture]:
    """Return the charts of a period; `period` names it in words."""
    return [
        _build_outcomes(points, _UNITS[figures.level], period),
        _build_queue_time(points, period),
        _build_latency(points, period),
    ]


def _build_outcomes(points: Sequence[Point], unit: str, period: str) -> Picture:
    outcomes = {
        "done": [point.done for point in points],
        "failover": [point.failover for point in points],
        "discarded": [point.discarded + point.expired for point in points],
        "held": [point.held for point in points],
    }
    arrivals = [point.arrived for point in points]
    arrived, failed_over = sum(arrivals), sum(outcomes["failover"])
    sent = sum(outcomes["done"]) + failed_over
    return build_picture(
        key="outcomes",
        title=f"Emails per {unit}",
        period=period,
        sentence=f"In the {period} {arrived:,} {'email was' if arrived == 1 else 'emails were'} accepted and {sent:,} sent, "
        f"{failed_over:,} of them after a failover. An email that was sent may have been accepted before this period. An email "
        "that is discarded, reprocessed and sent counts twice.",
        chart=chart_geometry.stack_columns(outcomes),
        legend=[Legend(series=key, words=words, tone=tone) for key, (words, tone) in OUTCOMES.items()],
        points=points,
        table={"accepted": arrivals} | {OUTCOMES[key][0]: values for key, values in outcomes.items()},
        describe=lambda value: f"{value:,.0f}",
        label=label_counts,
    )


def _build_queue_time(points: Sequence[Point], period: str) -> Picture:
    series = {
        "p50": [point.queue_time.p50 for point in points],
        "p95": [point.queue_time.p95 for point in points],
    }
    return build_picture(
        key="queue",
        title="Time in the queue",
        period=period,
        sentence="Time from acceptance to the first attempt: median (p50) and p95.",
        chart=chart_geometry.draw_lines(series),
        legend=[
            Legend(series="p50", words="p50", tone="ok"),
            Legend(series="p95", words="p95", tone="waiting"),
        ],
        points=points,
        table=series,
        describe=durations.format_duration,
        label=durations.format_ticks,
    )


def _build_latency(points: Sequence[Point], period: str) -> Picture:
    names = sorted({name for point in points for name in point.latency})
    series = {name: [point.latency[name].p95 if name in point.latency else None for point in points] for name in names}
    return build_picture(
        key="latency",
        title="Provider response time (p95)",
        period=period,
        sentence="95 % of accepted requests were answered within this time.",
        chart=chart_geometry.draw_lines(series),
        legend=[
            Legend(series=name, words=name, tone=_TONES[number % len(_TONES)]) for number, name in enumerate(names)
        ],
        points=points,
        table=series,
        describe=durations.format_duration,
        label=durations.format_ticks,
    )
