import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury.console import charts as pictures
from mercury.lib import chart_geometry

amounts = st.lists(st.floats(0, 1e9), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.03, 0.05), (1, 1), (7, 10), (128, 200), (214, 250), (1000, 1000), (1001, 2000)]
)
def test_the_top_of_an_axis_is_a_round_number(highest, top):
    assert chart_geometry.round_up(highest) == pytest.approx(top)


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


def test_no_label_of_an_axis_is_repeated():
    chart = chart_geometry.draw_lines({"p50": [1.0]})

    picture = pictures.build_picture(
        key="k",
        title="T",
        period="p",
        sentence="S",
        chart=chart,
        legend=[],
        points=[],
        table={},
        describe=lambda value: f"{value:.0f}",
    )

    assert [words for _, words in picture.y_labels if words] == ["0", "1"]
