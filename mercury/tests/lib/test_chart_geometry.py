import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury.console import charts as pictures
from mercury.lib import chart_geometry, durations

amounts = st.lists(st.floats(0, 1e9), min_size=1, max_size=200)


@given(amounts, amounts)
def test_columns_stay_on_the_paper_and_upon_each_other(first, second):
    length = min(len(first), len(second))
    chart = chart_geometry.stack_columns({"sent": first[:length], "failover": second[:length]})

    for bar in chart.bars:
        assert chart_geometry.TOP - 0.1 <= bar.y <= chart.floor
        assert chart.left <= bar.x
        assert bar.x + bar.width <= chart.width
    heights = {}
    for bar in chart.bars:
        heights[bar.x] = heights.get(bar.x, 0) + bar.height
        assert bar.y == pytest.approx(chart.floor - heights[bar.x], abs=0.05)


def test_a_stretch_without_a_value_leaves_a_gap():
    [line] = chart_geometry.draw_lines({"olympus": [1.0, 2.0, None, 4.0, None, 1.0, 1.0]}).lines

    assert [len(piece.split()) for piece in line.pieces] == [2, 2]
    assert len(line.dots) == 1


def test_nothing_is_drawn_of_nothing():
    assert chart_geometry.stack_columns({"sent": []}).bars == []
    assert chart_geometry.draw_lines({}).lines == []
    assert chart_geometry.draw_spark([]).line == ""


@pytest.mark.parametrize(
    ("values", "rungs"),
    [
        ([], [0.1, 0.3, 1]),
        ([0.2], [0.03, 0.1, 0.3]),
        ([0.12, 0.9], [0.1, 0.3, 1]),
        ([1, 10], [1, 3, 10]),
        ([0.004, 20], [0.001, 0.01, 0.1, 1, 10, 100]),
    ],
)
def test_a_logarithmic_axis_has_round_rungs_around_its_values(values, rungs):
    assert chart_geometry.choose_log_ticks(values) == pytest.approx(rungs)


@given(st.lists(st.floats(0.001, 1e5), min_size=1, max_size=60))
def test_columns_of_a_logarithmic_chart_stay_on_the_paper_the_last_at_the_right(values):
    chart = chart_geometry.draw_log_columns([("accepted", value) for value in values], 60)

    for bar in chart.bars:
        assert bar.y >= chart_geometry.LOW_TOP - 0.1
        assert bar.y + bar.height == pytest.approx(chart.floor)
        assert chart.left <= bar.x
    assert chart.bars[-1].x + chart.bars[-1].width == pytest.approx(chart.width, abs=2)
    assert chart.columns == sorted(chart.columns)


def test_what_took_longer_is_higher_and_what_has_no_time_is_seen():
    quick, slow, unknown = chart_geometry.draw_log_columns([("a", 0.1), ("a", 5.0), ("a", None)], 60).bars

    assert slow.height > quick.height > unknown.height > 0


def test_lines_of_a_logarithmic_chart_rise_by_the_same_for_the_same_factor():
    [line] = chart_geometry.draw_log_lines({"p50": [0.1, 1.0, 10.0]}).lines
    low, middle, high = (float(point.split(",")[1]) for point in line.pieces[0].split())

    assert low - middle == pytest.approx(middle - high, abs=0.05)


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (2, [0, 1, 2]),
        (5, [0, 1, 2, 3, 4, 5]),
        (6, [0, 2, 4, 6]),
        (21, [0, 5, 10, 15, 20, 25]),
        (36, [0, 10, 20, 30, 40]),
        (1001, [0, 500, 1000, 1500]),
    ],
)
def test_an_axis_of_counts_has_whole_numbers_only(highest, ticks):
    assert chart_geometry.choose_whole_ticks(highest) == ticks


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0 ms", "200 ms", "400 ms", "600 ms", "800 ms", "1 s"]),
        (0.004, ["0 ms", "1 ms", "2 ms", "3 ms", "4 ms"]),
        (0.0024, ["0 ms", "0.5 ms", "1 ms", "1.5 ms", "2 ms", "2.5 ms"]),
        (2.1, ["0 ms", "500 ms", "1 s", "1.5 s", "2 s", "2.5 s"]),
        (7, ["0 s", "2 s", "4 s", "6 s", "8 s"]),
        (128, ["0 s", "30 s", "60 s", "90 s", "120 s", "150 s"]),
        (1000, ["0 min", "5 min", "10 min", "15 min", "20 min"]),
        (5000, ["0 min", "20 min", "40 min", "60 min", "80 min", "100 min"]),
        (86_400, ["0 h", "6 h", "12 h", "18 h", "24 h"]),
        (86_400 * 30, ["0 d", "10 d", "20 d", "30 d"]),
    ],
)
def test_an_axis_of_time_counts_as_a_clock_does_and_in_one_unit(highest, labels):
    assert durations.format_ticks(chart_geometry.choose_time_ticks(highest)) == labels


@given(st.floats(1e-6, 86_400 * 365))
def test_the_labels_of_an_axis_of_time_are_short_and_differ(highest):
    ticks = chart_geometry.choose_time_ticks(highest)
    labels = durations.format_ticks(ticks)

    assert ticks[-1] >= highest * (1 - 1e-9)
    assert 2 <= len(ticks) <= 6
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 8 for label in labels)


def test_labels_of_a_logarithmic_axis_stay_short_above_a_minute():
    assert durations.format_ticks([0.01, 0.1, 1, 10, 100]) == ["10 ms", "100 ms", "1 s", "10 s", "100 s"]
    assert durations.format_ticks([10, 30, 100, 300, 1000]) == ["10 s", "30 s", "100 s", "300 s", "1,000 s"]


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (3, ["0", "1", "2", "3"]),
        (7000, ["0", "2,000", "4,000", "6,000", "8,000"]),
        (36_000, ["0", "10k", "20k", "30k", "40k"]),
        (1_400_000, ["0", "0.5M", "1M", "1.5M"]),
        (36_000_000, ["0", "10M", "20M", "30M", "40M"]),
    ],
)
def test_the_labels_of_an_axis_of_counts_are_short(highest, labels):
    assert pictures.label_counts(chart_geometry.choose_whole_ticks(highest)) == labels
