import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury.lib import charts

amounts = st.lists(st.floats(0, 1e9), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.03, 0.05), (1, 1), (7, 10), (128, 200), (214, 250), (1000, 1000), (1001, 2000)]
)
def test_the_top_of_an_axis_is_a_round_number(highest, top):
    assert charts.nice(highest) == pytest.approx(top)


@given(amounts, amounts)
def test_columns_stay_on_the_paper_and_upon_each_other(first, second):
    length = min(len(first), len(second))
    chart = charts.stacked({"sent": first[:length], "failover": second[:length]})

    for bar in chart.bars:
        assert charts.TOP - 0.1 <= bar.y <= chart.floor
        assert chart.left <= bar.x
        assert bar.x + bar.width <= chart.width
    heights = {}
    for bar in chart.bars:
        heights[bar.x] = heights.get(bar.x, 0) + bar.height
        assert bar.y == pytest.approx(chart.floor - heights[bar.x], abs=0.05)


def test_a_stretch_without_a_value_leaves_a_gap():
    [line] = charts.lines({"olympus": [1.0, 2.0, None, 4.0, None, 1.0, 1.0]}).lines

    assert [len(piece.split()) for piece in line.pieces] == [2, 2]
    assert len(line.dots) == 1


def test_nothing_is_drawn_of_nothing():
    assert charts.stacked({"sent": []}).bars == []
    assert charts.lines({}).lines == []
    assert charts.spark([]).line == ""
