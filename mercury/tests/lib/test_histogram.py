"""Percentiles from buckets stay as near to the true ones as the module promises."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury.lib import histogram

durations = st.lists(st.floats(0.001, 400_000, allow_nan=False), min_size=1, max_size=300)
shares = st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0])


def buckets_of(seconds):
    return Counter(str(histogram.choose_bucket(duration)) for duration in seconds)


def true_percentile(seconds, share):
    return sorted(seconds)[max(1, math.ceil(share * len(seconds))) - 1]


@given(durations, shares)
def test_a_percentile_is_at_most_a_bucket_ratio_off(seconds, share):
    percentile = histogram.compute_percentile(buckets_of(seconds), share)

    true = true_percentile(seconds, share)
    assert abs(percentile - true) <= (histogram.ERROR + 1e-9) * true


@given(st.lists(st.floats(0, 0.00099), min_size=1, max_size=50), shares)
def test_below_a_millisecond_a_percentile_is_at_most_a_millisecond_off(seconds, share):
    percentile = histogram.compute_percentile(buckets_of(seconds), share)

    assert abs(percentile - true_percentile(seconds, share)) <= 0.001


@given(st.floats(0, 400_000, allow_nan=False))
def test_a_duration_lies_within_the_bounds_of_its_bucket(seconds):
    low, high = histogram.get_bounds(histogram.choose_bucket(seconds))

    assert low * (1 - 1e-9) <= seconds <= high * (1 + 1e-9)


def test_buckets_join_without_a_gap():
    for number in range(250):
        assert histogram.get_bounds(number)[1] == pytest.approx(histogram.get_bounds(number + 1)[0])


def test_the_promised_error_is_nine_percent():
    assert 0.09 < histogram.ERROR < 0.091


def test_of_nothing_there_is_no_percentile():
    assert histogram.compute_percentile({}, 0.5) is None


@given(durations)
def test_what_lies_below_a_power_of_two_is_counted_exactly(seconds):
    octaves = [0, 3, 10, 30]

    counts = histogram.count_at_most(buckets_of(seconds), octaves)

    assert counts == [sum(duration * 1000 < 2**octave for duration in seconds) for octave in octaves]
