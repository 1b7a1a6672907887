"""The rate limit's arithmetic."""

import datetime as dt

import pytest

from mercury.lib.rates import MIN_PER_SECOND
from providers.health import rate_limit

NOW = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)


def test_a_rested_account_has_a_second_worth_of_calls():
    assert rate_limit.count_available(None, 14, NOW) == 14
    assert rate_limit.count_available(None, 0.1, NOW) == 1


def test_spent_capacity_returns_with_time():
    stored = rate_limit.reserve(None, 10, NOW, 10)

    assert rate_limit.count_available(stored, 10, NOW) == 0
    assert rate_limit.count_available(stored, 10, NOW + dt.timedelta(seconds=0.5)) == 5
    assert rate_limit.count_available(stored, 10, NOW + dt.timedelta(hours=1)) == 10


@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-300, MIN_PER_SECOND])
def test_no_rate_is_so_slow_that_a_call_costs_more_than_a_day(rate):
    assert rate_limit.reserve(None, rate, NOW, 1) == NOW + dt.timedelta(days=1)


def test_over_a_minute_no_more_than_the_rate_goes_out():
    stored, sent, now = None, 0, NOW
    for _ in range(6000):
        if rate_limit.count_available(stored, 14, now):
            stored = rate_limit.reserve(stored, 14, now, 1)
            sent += 1
        now += dt.timedelta(milliseconds=10)

    assert 14 * 60 <= sent <= 14 * 61
