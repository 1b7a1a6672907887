"""What answers mean, beyond the lines of the table in docs/providers.md that `test_over_http` calls for."""

import datetime as dt

import pytest

from providers import classify
from providers.outcomes import Fault, Refused, Unknown

NOW = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize("status", [100, 408, 500, 501, 502, 504, 505, 507, 511, *range(520, 528), 599, 999])
def test_these_leave_a_doubt(status):
    assert isinstance(classify.http_status(status, "", now=NOW), Unknown)


@pytest.mark.parametrize("status", [*range(300, 309), *(s for s in range(400, 500) if s != 408), 503])
def test_these_are_surely_not_sent(status):
    assert isinstance(classify.http_status(status, "", now=NOW), Refused)


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        (Fault.ACCOUNT, [401, 402, 403, 404, 405, 407, 410, 451]),
        (Fault.MESSAGE, [400, 406, 411, 413, 414, 415, 422, 431, 499]),
        (Fault.PROVIDER, [301, 302, 307, 409, 421, 423, 425, 503]),
        (Fault.RATE, [429]),
    ],
)
def test_whose_fault_it_is(fault, statuses):
    for status in statuses:
        outcome = classify.http_status(status, "", now=NOW)
        assert isinstance(outcome, Refused)
        assert outcome.fault is fault


def test_only_the_500_can_be_trusted():
    assert isinstance(classify.http_status(500, "", trust_500=True, now=NOW), Refused)
    assert isinstance(classify.http_status(502, "", trust_500=True, now=NOW), Unknown)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1", 1),
        (" 120 ", 120),
        ("900", 900),
        ("901", 900),
        ("9" * 400, 900),
        ("0", 30),
        ("-5", 30),
        ("1.5", 30),
        ("²", 30),
        ("", 30),
        (None, 30),
        ("soon", 30),
        ("Tue, 24 Nov 2026 13:05:00 GMT", 300),
        ("Tue, 24 Nov 2026 13:05:00 -0000", 300),
        ("Tue, 24 Nov 2026 12:00:00 GMT", 30),
        ("Tue, 24 Nov 9999 12:00:00 GMT", 900),
        ("Tue, 99 Nov 2026 12:00:00 GMT", 30),
    ],
)
def test_how_long_a_rate_limit_lasts(header, seconds):
    assert classify.wait(header, "", now=NOW) == seconds


def test_a_reason_is_cut_cleaned_and_keeps_no_secret():
    clean = classify.cleaner(["thunderbolt", "abc", "thunder"])

    assert clean("a\x00b\x1b[31mc\u202ed\r\ne\ud800f\u2028g") == "a b [31mc d e f g"
    assert clean("key thunderbolt, half of it: thunder") == "key [secret], half of it: [secret]"
    assert clean("abc is too short to be told from a word") == "abc is too short to be told from a word"
    assert len(clean("ü" * 5000).encode()) <= 2048


def test_without_secrets_a_reason_stays_as_it_is():
    assert classify.cleaner([])("all well") == "all well"
