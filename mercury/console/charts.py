"""A chart of figures over time as pages show it: with a sentence that says what it shows, and the table behind it."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mails.reporting.statistics import Point
from mercury.lib.chart_geometry import Chart

_X_LABELS = 8


@dataclass(frozen=True, slots=True)
class Legend:
    """A series of a chart in words."""

    series: str
    words: str
    tone: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart, a sentence that says what it shows, and the table behind it."""

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


def picture(
    key: str,
    title: str,
    period: str,
    sentence: str,
    chart: Chart,
    legend: Sequence[Legend],
    points: Sequence[Point],
    table: Mapping[str, Sequence[float | None]],
    words: Callable[[float], str],
) -> Picture:
    """The picture of a chart with one column for each of `points`.

    `table`: what the table behind it shows, each with a value for each point; `words`: how a value is told.
    """
    return Picture(
        key=key,
        title=title,
        period=period,
        sentence=sentence,
        chart=chart,
        legend=legend,
        x_labels=_x_labels(chart, points),
        y_labels=_y_labels(chart, words),
        heads=list(table),
        rows=[
            (point.start, [_cell(values[number], words) for values in table.values()])
            for number, point in reversed(list(enumerate(points)))
            if any(values[number] for values in table.values())
        ],
    )


def _y_labels(chart: Chart, words: Callable[[float], str]) -> list[tuple[float, str]]:
    """What stands beside the rows; a row whose words would repeat those below it has none."""
    told = [words(tick.value) for tick in chart.rows]
    return [
        (tick.at, "" if number and told[number - 1] == told[number] else told[number])
        for number, tick in enumerate(chart.rows)
    ]


def _x_labels(chart: Chart, points: Sequence[Point]) -> list[tuple[float, str]]:
    """What is written below a chart: midnights by their days where it spans days, else some times at equal distances."""
    if not chart.columns:
        return []
    midnights = [number for number, point in enumerate(points) if point.start.time() == dt.time()]
    if len(midnights) > 2:
        return [
            (chart.columns[number], f"{points[number].start.day} {points[number].start:%b}") for number in midnights
        ]
    some = range(0, len(points), max(1, -(-len(points) // _X_LABELS)))
    return [(chart.columns[number], f"{points[number].start:%H:%M}") for number in some]


def _cell(value: float | None, words: Callable[[float], str]) -> str:
    return "–" if value is None else words(value)
