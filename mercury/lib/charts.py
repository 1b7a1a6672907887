"""Geometry of the charts that pages draw as SVG: where bars, lines and ticks go. Pure; knows no colour and no page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000, 220  # of a chart's view box
LEFT, TOP, BOTTOM = 72, 10, 30  # room for the labels
SPARK_WIDTH, SPARK_HEIGHT = 120, 24
_NICE = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a column. `series`: what it counts."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line in pieces, since a stretch without a value leaves a gap. Each piece: "x,y x,y …"."""

    series: str
    pieces: Sequence[str]
    dots: Sequence[tuple[float, float]]  # values whose neighbours are missing


@dataclass(frozen=True, slots=True)
class Tick:
    """A label beside an axis, and where it stands."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw. `rows`: the ticks of the y axis; `columns`: the middles of the stretches."""

    bars: Sequence[Bar]
    lines: Sequence[Line]
    rows: Sequence[Tick]
    columns: Sequence[float]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Spark:
    """A line without axes, and the area below it."""

    line: str
    area: str
    width: int = SPARK_WIDTH
    height: int = SPARK_HEIGHT


def stacked(series: Mapping[str, Sequence[float]]) -> Chart:
    """One column a stretch, its parts upon each other in the order of `series`. All series have the same length."""
    totals = [sum(parts) for parts in zip(*series.values(), strict=True)]
    top = nice(max(totals, default=0.0))
    step = _step(len(totals))
    bars = []
    heaps = [0.0] * len(totals)
    for name, values in series.items():
        for number, value in enumerate(values):
            if value:
                height = _span(value, top)
                heaps[number] += value
                y = _y(heaps[number], top)
                bars.append(Bar(name, round(LEFT + number * step + step * 0.1, 2), y, round(step * 0.8, 2), height))
    return Chart(bars, (), _rows(top), _columns(len(totals)))


def lines(series: Mapping[str, Sequence[float | None]]) -> Chart:
    """One line a series. All series have the same length; None is a stretch without a value."""
    count = max((len(values) for values in series.values()), default=0)
    top = nice(max((value for values in series.values() for value in values if value is not None), default=0.0))
    columns = _columns(count)
    drawn = [_line(name, values, columns, top) for name, values in series.items()]
    return Chart((), drawn, _rows(top), columns)


def spark(values: Sequence[float | None]) -> Spark:
    """A small line of these values; a missing one counts as 0."""
    known = [value or 0.0 for value in values]
    top = max(known, default=0.0) or 1.0
    step = SPARK_WIDTH / max(1, len(known) - 1)
    room = SPARK_HEIGHT - 2
    points = [f"{number * step:.1f},{1 + room - value / top * room:.1f}" for number, value in enumerate(known)]
    line = " ".join(points)
    return Spark(line, f"0,{SPARK_HEIGHT} {line} {SPARK_WIDTH},{SPARK_HEIGHT}" if points else "")


def nice(highest: float) -> float:
    """A round number at or above `highest`: 1, 2, 2.5 or 5 times a power of ten; 1 for nothing."""
    if highest <= 0:
        return 1.0
    power = 1.0
    while power * 10 < highest:
        power *= 10
    while power > highest:
        power /= 10
    return next(power * factor for factor in _NICE if power * factor >= highest * (1 - 1e-9))


def _line(name: str, values: Sequence[float | None], columns: Sequence[float], top: float) -> Line:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, value in zip(columns, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x, _y(value, top)))
    drawn = [" ".join(f"{x},{y}" for x, y in piece) for piece in pieces if len(piece) > 1]
    return Line(name, drawn, [piece[0] for piece in pieces if len(piece) == 1])


def _rows(top: float) -> list[Tick]:
    return [Tick(_y(top * share, top), top * share) for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]


def _columns(count: int) -> list[float]:
    step = _step(count)
    return [round(LEFT + (number + 0.5) * step, 2) for number in range(count)]


def _step(count: int) -> float:
    return (WIDTH - LEFT) / max(1, count)


def _span(value: float, top: float) -> float:
    return round(value / top * (HEIGHT - TOP - BOTTOM), 2)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 2)
