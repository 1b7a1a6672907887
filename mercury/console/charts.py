"""A chart of figures over time as pages show it: with a sentence that explains it, and the table behind it."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mails.reporting.statistics import Point
from mercury.lib.chart_geometry import Chart

_X_LABELS = 8


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
) -> Picture:
    """Return the picture of a chart that has one column per point.

    `table`: the columns of the table behind it, each with a value per point; `describe`: writes a value in words.
    """
    return Picture(
        key=key,
        title=title,
        period=period,
        sentence=sentence,
        chart=chart,
        legend=legend,
        x_labels=_build_x_labels(chart, points),
        y_labels=_build_y_labels(chart, describe),
        heads=list(table),
        rows=[
            (point.start, [_format_cell(values[number], describe) for values in table.values()])
            for number, point in reversed(list(enumerate(points)))
            if any(values[number] for values in table.values())
        ],
    )


def _build_y_labels(chart: Chart, describe: Callable[[float], str]) -> list[tuple[float, str]]:
    """Return the labels of the rows; a label that would repeat the one below it stays empty."""
    labels = [describe(tick.value) for tick in chart.rows]
    return [
        (tick.at, "" if number and labels[number - 1] == labels[number] else labels[number])
        for number, tick in enumerate(chart.rows)
    ]


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
