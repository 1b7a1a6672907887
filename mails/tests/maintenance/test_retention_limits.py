import datetime as dt

import pytest

from mails.maintenance import retention_limits

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("bodies", "mails", "words"),
    [
        (DAY, 1.9 * DAY, "Keep them for 2d or longer"),
        (3 * DAY, 2 * DAY, "for as long as the texts, or longer"),
        (DAY, 40_000 * DAY, "a hundred years, is the longest"),
        (30 * DAY, 365 * DAY, ""),
        (2 * DAY, 2 * DAY, ""),
    ],
)
def test_ages_that_contradict_something_are_refused_with_a_cure(bodies, mails, words):
    fault = retention_limits.wrong(bodies, mails)

    assert words in fault
    assert bool(fault) == bool(words)
