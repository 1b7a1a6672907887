import datetime as dt

import pytest

from mails.maintenance import retention_limits

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("bodies", "mails", "words"),
    [
        (DAY, 1.9 * DAY, "Keep them for at least 2d"),
        (3 * DAY, 2 * DAY, "at least as long as bodies"),
        (DAY, 40_000 * DAY, "maximum is 36500d"),
        (30 * DAY, 365 * DAY, ""),
        (2 * DAY, 2 * DAY, ""),
    ],
)
def test_ages_that_contradict_something_are_refused_with_a_cure(bodies, mails, words):
    error = retention_limits.find_error(bodies, mails)

    assert words in error
    assert bool(error) == bool(words)
