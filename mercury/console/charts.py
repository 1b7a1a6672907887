"""A chart of figures over time as pages show it: with a sentence that explains it, and the table behind it."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mails.reporting.statistics import Point
from mercury.lib.chart_geometry import Chart

_X_LABELS = 8
_LARGE = ((10**9, 10**9, "G"), (10**6, 10**6, "M"), (10**4, 10**3, "k"))  # from which count on, its unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """A series of a chart in words."""

    series: str
    words: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart, a sentence that explains it, and the table behind it."""

    key: str
    title: str
    period: str  # in words, such as "last 24 hours"
    sentence: str
    chart: Chart
    legend: Sequence[Legend]
    x_labels: Sequence[tuple[float, str]]
    y_labels: Sequence[tuple[float, str]]
    heads: Sequence[str]
    rows: Sequence[tuple[dt.datetime, Sequence[str]]]


def build_picture(
    *,
    key: str,
    title: str,
    period: str,
    sentence: str,
    chart: Chart,
    legend: Sequence[Legend],
    points: Sequence[Point],
    table: Mapping[str, Sequence[float | None]],
    describe: Callable[[float], str],
    label: Callable[[Sequence[float]], Sequence[str]],
) -> Picture:
    """Return the picture of a chart that has one column per point.

    `table`: the columns of the table behind it, each with a value per point; `describe`: writes a value in words.
    `label`: writes the ticks of the y axis, in seven characters or less.
    """
    return Picture(
        key=key,
        title=title,
        period=period,
        sentence=sentence,
        chart=chart,
        legend=legend,
        x_labels=_build_x_labels(chart, points),
        y_labels=build_y_labels(chart, label),
        heads=list(table),
        rows=[
            (point.start, [_format_cell(values[number], describe) for values in table.values()])
            for number, point in reversed(list(enumerate(points)))
            if any(values[number] for values in table.values())
        ],
    )


def build_y_labels(chart: Chart, label: Callable[[Sequence[float]], Sequence[str]]) -> list[tuple[float, str]]:
    """Return the labels of the rows, each with its place."""
    labels = label([tick.value for tick in chart.rows])
    return [(tick.at, words) for tick, words in zip(chart.rows, labels, strict=True)]


def label_counts(counts: Sequence[float]) -> list[str]:
    """Return the labels of an axis of counts: `5,000`, `20k`, `1.5M`."""
    size, unit = next(((size, unit) for least, size, unit in _LARGE if max(counts) >= least), (1, ""))
    return [f"{count / size:,.4g}{unit if count else ''}" for count in counts]


def _build_x_labels(chart: Chart, points: Sequence[Point]) -> list[tuple[float, str]]:
    """Return the labels below a chart: the dates of midnights if it spans days, else times at equal distances."""
    if not chart.columns:
        return []
    midnights = [number for number, point in enumerate(points) if point.start.time() == dt.time()]
    if len(midnights) > 2:
        return [
            (chart.columns[number], f"{points[number].start.day} {points[number].start:%b}") for number in midnights
        ]
    numbers = range(0, len(points), max(1, -(-len(points) // _X_LABELS)))
    return [(chart.columns[number], f"{points[number].start:%H:%M}") for number in numbers]


def _format_cell(value: float | None, describe: Callable[[float], str]) -> str:
    return "–" if value is None else describe(value)
