"""Rates as people write them."""

import pytest

from mercury.lib import rates
from mercury.lib.rates import Rate


@pytest.mark.parametrize(
    ("text", "a_second"), [("14/s", 14), ("600/m", 10), ("3600/h", 1), ("86400/d", 1), ("2.5", 2.5), (" 1/s ", 1)]
)
def test_a_rate_is_a_number_and_a_unit(text, a_second):
    assert rates.parse_rate(text).per_second == a_second


@pytest.mark.parametrize("text", ["", " ", "none", "None"])
def test_none_is_no_limit(text):
    assert rates.parse_rate(text) is None


def test_a_rate_keeps_what_it_was_written_in():
    assert rates.parse_rate("600/m") == Rate(600, "m")
    assert rates.parse_rate("600/m").seconds == 60


def test_one_a_day_is_the_slowest_rate():
    assert rates.parse_rate("1/d").per_second == rates.MIN_PER_SECOND


@pytest.mark.parametrize("text", ["fast", "10/y", "10/", "/s", "-1/s", "0/s", "10/s, 600/m", "1e3/s"])
def test_what_is_no_rate_is_refused_with_how_to_write_one(text):
    with pytest.raises(ValueError, match="A rate is a number and a unit, such as 14/s, 600/m, 1000/h or 50000/d"):
        rates.parse_rate(text)


@pytest.mark.parametrize("text", ["0.9/d", f"0.{'0' * 320}1/s", "100001/s", "9" * 400])
def test_a_rate_beyond_reason_is_refused_with_words(text):
    with pytest.raises(ValueError, match="must be between 1/d and 100000/s"):
        rates.parse_rate(text)
