"""Geometry of the charts that pages draw as SVG: where bars, lines and ticks go. Pure; knows no colour and no page."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000, 220  # of a chart's view box
LEFT, TOP, BOTTOM = 90, 10, 30  # room for the labels
LOW_HEIGHT, LOW_TOP = 160, 26  # of a chart of single columns, each with room for a mark above it
SPARK_WIDTH, SPARK_HEIGHT = 120, 24
_RUNGS = 7  # of a logarithmic axis, at most, before only powers of ten are left
_LEAST = 5.0  # height of a column, so that the smallest is seen
_SECONDS = (1, 2, 5, 10, 20, 30)  # distances of ticks: of seconds, and of minutes …
_HOURS = (1, 2, 3, 6, 12)
_LEAST_TIME = 1e-9  # seconds; what took less is drawn on an axis up to a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A part of a column. `series`: what it counts."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line in pieces, since a stretch without a value leaves a gap. Each piece: "x,y x,y …"."""

    series: str
    pieces: Sequence[str]
    dots: Sequence[tuple[float, float]]  # values whose neighbours are missing


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at an axis, and its position."""

    at: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The shapes of a chart. `rows`: the ticks of the y axis; `columns`: the middles of the stretches."""

    bars: Sequence[Bar]
    lines: Sequence[Line]
    rows: Sequence[Tick]
    columns: Sequence[float]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Spark:
    """A line without axes, and the area below it."""

    line: str
    area: str
    width: int = SPARK_WIDTH
    height: int = SPARK_HEIGHT


def stack_columns(series: Mapping[str, Sequence[float]]) -> Chart:
    """Return one column per stretch, its parts stacked in the order of `series`. All series have the same length.

    They are counts, so that the axis has whole numbers only.
    """
    totals = [sum(parts) for parts in zip(*series.values(), strict=True)]
    ticks = choose_whole_ticks(max(totals, default=0.0))
    top = float(ticks[-1])
    step = _compute_step(len(totals))
    bars = []
    heights_so_far = [0.0] * len(totals)
    for name, values in series.items():
        for number, value in enumerate(values):
            if value:
                height = _scale_height(value, top)
                heights_so_far[number] += value
                y = _scale_y(heights_so_far[number], top)
                x, width = round(LEFT + number * step + step * 0.1, 2), round(step * 0.8, 2)
                bars.append(Bar(series=name, x=x, y=y, width=width, height=height))
    rows = [Tick(_scale_y(tick, top), tick) for tick in ticks]
    return Chart(bars=bars, lines=(), rows=rows, columns=_find_middles(len(totals)))


def draw_lines(series: Mapping[str, Sequence[float | None]]) -> Chart:
    """Return one line per series of durations, in seconds. All series have the same length; None is a stretch without a value."""
    count = max((len(values) for values in series.values()), default=0)
    known = [value for values in series.values() for value in values if value is not None]
    ticks = choose_time_ticks(max(known, default=0.0))
    top, columns = ticks[-1], _find_middles(count)
    drawn = [_draw_line(name, values, columns, lambda value: _scale_y(value, top)) for name, values in series.items()]
    return Chart(bars=(), lines=drawn, rows=[Tick(_scale_y(tick, top), tick) for tick in ticks], columns=columns)


def draw_log_lines(series: Mapping[str, Sequence[float | None]]) -> Chart:
    """Return the same with a logarithmic axis, for values above 0."""
    count = max((len(values) for values in series.values()), default=0)
    rungs = choose_log_ticks(value for values in series.values() for value in values if value is not None)
    columns, y = _find_middles(count), _make_log_scale(rungs, HEIGHT, TOP)
    drawn = [_draw_line(name, values, columns, y) for name, values in series.items()]
    return Chart(bars=(), lines=drawn, rows=[Tick(y(rung), rung) for rung in rungs], columns=columns)


def draw_log_columns(values: Sequence[tuple[str, float | None]], slots: int) -> Chart:
    """Return one column per value of a series, the last at the right, with a logarithmic axis. `slots`: how many fit.

    A value that is missing gets the lowest column.
    """
    known = [value for _, value in values if value]
    rungs = choose_log_ticks([min(known) / 2, *known] if known else [])  # the smallest has a height too
    y, step, floor = _make_log_scale(rungs, LOW_HEIGHT, LOW_TOP), _compute_step(slots), LOW_HEIGHT - BOTTOM
    columns = _find_middles(slots)[slots - len(values) :]
    bars = []
    for (series, value), middle in zip(values, columns, strict=True):
        height = max(_LEAST, round(floor - y(value), 2)) if value else _LEAST
        x, y_top, width = round(middle - step * 0.4, 2), round(floor - height, 2), round(step * 0.8, 2)
        bars.append(Bar(series=series, x=x, y=y_top, width=width, height=height))
    rows = [Tick(y(rung), rung) for rung in rungs]
    return Chart(bars=bars, lines=(), rows=rows, columns=columns, height=LOW_HEIGHT, floor=floor)


def draw_spark(values: Sequence[float | None]) -> Spark:
    """Return a small line of these values; a missing value counts as 0."""
    known = [value or 0.0 for value in values]
    top = max(known, default=0.0) or 1.0
    step = SPARK_WIDTH / max(1, len(known) - 1)
    room = SPARK_HEIGHT - 2
    points = [f"{number * step:.1f},{1 + room - value / top * room:.1f}" for number, value in enumerate(known)]
    line = " ".join(points)
    area = f"0,{SPARK_HEIGHT} {line} {SPARK_WIDTH},{SPARK_HEIGHT}" if points else ""
    return Spark(line=line, area=area)


def choose_whole_ticks(highest: float) -> list[int]:
    """Return whole numbers at equal distances from 0 to `highest` or just above it, six at most: 0, 1, 2 or 0, 20, 40."""
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    step = next(step for step in steps if step * 5 >= highest)
    count = max(1, math.ceil(highest / step))
    return [step * number for number in range(count + 1)]


def choose_time_ticks(highest: float) -> list[float]:
    """Return seconds at equal distances from 0 to `highest` or just above it, six at most, as a clock counts: 0, 20 s or 0, 2 min."""
    wanted = highest if highest >= _LEAST_TIME else 1.0
    step = next(step for step in _iterate_time_steps() if step * 5 >= wanted * (1 - 1e-9))
    count = max(1, math.ceil(wanted / step - 1e-9))
    return [step * number for number in range(count + 1)]


def _iterate_time_steps() -> Iterator[float]:
    """Yield the distances that ticks of time may have, in seconds: round parts of a second, of a minute, of an hour, of a day."""
    yield from (factor * 10.0**power for power in range(-6, 0) for factor in (1, 2, 5))
    yield from map(float, _SECONDS)
    yield from (60.0 * minutes for minutes in _SECONDS)
    yield from (3600.0 * hours for hours in _HOURS)
    yield from (86_400.0 * factor * 10**power for power in itertools.count() for factor in (1, 2, 5))


def choose_log_ticks(values: Iterable[float]) -> list[float]:
    """Return round numbers around these values (above 0): 1 and 3 times powers of ten; powers of ten alone if they span far."""
    known = list(values) or [0.1, 1.0]
    low, high = min(known), max(known)
    powers = [10.0**exponent for exponent in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)]
    fine = _select_rungs([power * factor for power in powers for factor in (1, 3)], low, high)
    return fine if len(fine) <= _RUNGS else _select_rungs(powers, low, high)


def _select_rungs(rungs: Sequence[float], low: float, high: float) -> list[float]:
    """Return the rungs from the last at or below `low` to the first at or above `high`, and at least three."""
    first = max(number for number, rung in enumerate(rungs) if rung <= low * (1 + 1e-9))
    last = next(number for number, rung in enumerate(rungs) if number > first and rung >= high * (1 - 1e-9))
    return list(rungs[min(first, last - 2) : last + 1])


def _make_log_scale(rungs: Sequence[float], height: int, top: int) -> Callable[[float], float]:
    whole, room = math.log(rungs[-1] / rungs[0]), height - top - BOTTOM

    def scale(value: float) -> float:
        share = math.log(value / rungs[0]) / whole
        return round(height - BOTTOM - min(1.0, max(0.0, share)) * room, 2)

    return scale


def _draw_line(
    name: str, values: Sequence[float | None], columns: Sequence[float], y: Callable[[float], float]
) -> Line:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, value in zip(columns, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x, y(value)))
    drawn = [" ".join(f"{x},{y}" for x, y in piece) for piece in pieces if len(piece) > 1]
    return Line(series=name, pieces=drawn, dots=[piece[0] for piece in pieces if len(piece) == 1])


def _find_middles(count: int) -> list[float]:
    step = _compute_step(count)
    return [round(LEFT + (number + 0.5) * step, 2) for number in range(count)]


def _compute_step(count: int) -> float:
    return (WIDTH - LEFT) / max(1, count)


def _scale_height(value: float, top: float) -> float:
    return round(value / top * (HEIGHT - TOP - BOTTOM), 2)


def _scale_y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 2)
