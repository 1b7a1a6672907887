"""What quotas allow, as a table of cases: values and a time in, a decision out."""

import datetime as dt

import pytest

from providers.quotas.allowance import QuotaUse, give_back, measure, roll
from providers.quotas.rules import QuotaRules, build_rules
from providers.quotas.warm_up import parse_warm_up

pytestmark = pytest.mark.one_leg


def at(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def day(text):
    return dt.date.fromisoformat(text)


def used(on, number, *, month=None, in_month=None):
    begin = day(on).replace(day=1) if month is None else day(month)
    return QuotaUse(day=day(on), day_used=number, month=begin, month_used=number if in_month is None else in_month)


def allow(rules, use, now):
    return measure(rules, use, at(now), counts_recipients=False)


DAILY = QuotaRules(daily=500)
MONTHLY = QuotaRules(monthly=3000)
BOTH = QuotaRules(daily=200, monthly=3000)


@pytest.mark.parametrize(
    ("rules", "use", "now", "left"),
    [
        (DAILY, QuotaUse(), "2026-12-01T10:00", 500),
        (DAILY, used("2026-12-01", 499), "2026-12-01T10:00", 1),
        (DAILY, used("2026-12-01", 500), "2026-12-01T23:59:59", 0),
        (DAILY, used("2026-12-01", 500), "2026-12-02T00:00", 500),
        (DAILY, used("2026-12-01", 700), "2026-12-01T12:00", 0),  # the quota was lowered
        # A clock that goes back begins no day of its own, and its count stays.
        (DAILY, used("2026-12-02", 400), "2026-12-01T23:59", 100),
        (DAILY, used("2027-12-02", 500), "2026-12-01T23:59", 0),
        # What is left of the month, over the days that are left of it, today with them.
        (MONTHLY, QuotaUse(), "2026-11-01T10:00", 100),
        (MONTHLY, QuotaUse(), "2026-12-01T10:00", 97),
        (MONTHLY, used("2026-11-16", 0, in_month=0), "2026-11-16T10:00", 200),
        (MONTHLY, used("2026-11-16", 50, in_month=50), "2026-11-16T10:00", 150),
        (MONTHLY, used("2026-11-29", 100, in_month=2900), "2026-11-30T00:00", 100),
        (MONTHLY, used("2026-11-30", 100, in_month=3000), "2026-11-30T23:59", 0),
        (MONTHLY, used("2026-11-30", 100, in_month=3000), "2026-12-01T00:00", 97),
        (MONTHLY, used("2026-11-10", 3000, in_month=3000), "2026-11-11T00:00", 0),
        # Leap days: February has 29 days, or 28.
        (QuotaRules(monthly=2900), QuotaUse(), "2028-02-01T00:00", 100),
        (QuotaRules(monthly=2900), used("2028-02-28", 100, in_month=2800), "2028-02-29T00:00", 100),
        (QuotaRules(monthly=2800), QuotaUse(), "2027-02-01T00:00", 100),
        (QuotaRules(monthly=2800), used("2027-02-27", 100, in_month=2700), "2027-02-28T00:00", 100),
        # Few emails: a part of one is one, and a month never gives more than it has.
        (QuotaRules(monthly=10), QuotaUse(), "2026-12-01T00:00", 1),
        (QuotaRules(monthly=10), used("2026-12-20", 1, in_month=10), "2026-12-21T00:00", 0),
        # With a daily quota the month is not spread, unless somebody wants that.
        (BOTH, QuotaUse(), "2026-11-01T10:00", 200),
        (BOTH, used("2026-11-14", 200, in_month=2950), "2026-11-15T00:00", 50),
        (QuotaRules(daily=200, monthly=3000, spread=True), QuotaUse(), "2026-11-01T10:00", 100),
        (QuotaRules(monthly=3000, spread=False), QuotaUse(), "2026-11-01T10:00", 3000),
        # A month that begins on another day.
        (QuotaRules(monthly=3100, month_day=15), used("2026-12-14", 0, month="2026-11-15", in_month=3100), "2026-12-15T00:00", 100),
        (QuotaRules(monthly=300, month_day=15), used("2026-12-13", 0, month="2026-11-15", in_month=0), "2026-12-13T00:00", 150),
        (QuotaRules(monthly=310, month_day=28), used("2027-01-27", 5, month="2026-12-28", in_month=5), "2027-01-28T00:00", 10),
    ],
)  # fmt: skip
def test_what_may_be_sent_now(rules, use, now, left):
    assert allow(rules, use, now).left == left


@pytest.mark.parametrize(
    ("rules", "use", "now", "words", "free_at"),
    [
        (DAILY, used("2026-12-01", 500), "2026-12-01T10:00", "daily quota 500 reached", "2026-12-02T00:00"),
        (MONTHLY, used("2026-11-10", 1, in_month=3000), "2026-11-10T10:00", "monthly quota 3,000 reached", "2026-12-01T00:00"),
        (MONTHLY, used("2026-11-01", 100), "2026-11-01T10:00", "today's share 100 of the monthly quota 3,000 reached", "2026-11-02T00:00"),
        (BOTH, used("2026-12-31", 200, in_month=3000), "2026-12-31T10:00", "monthly quota 3,000 reached", "2027-01-01T00:00"),
        (DAILY, used("2026-12-02", 500), "2026-12-01T23:00", "daily quota 500 reached", "2026-12-03T00:00"),
    ],
)  # fmt: skip
def test_what_is_used_up_and_when_more_may_be_sent(rules, use, now, words, free_at):
    said, until = allow(rules, use, now).explain_shortage(1)

    assert said.startswith(words)
    assert until == at(free_at)


def test_the_reason_names_the_next_moment():
    words, _ = allow(DAILY, used("2026-12-01", 500), "2026-12-01T10:00").explain_shortage(1)

    assert words == "daily quota 500 reached; next at 2026-12-02 00:00:00 UTC"


def test_an_email_to_more_recipients_than_are_left_waits_for_the_next_day():
    allowance = measure(DAILY, used("2026-12-01", 490), at("2026-12-01T10:00"), counts_recipients=True)

    assert (allowance.count(12), allowance.left) == (12, 10)
    assert allowance.explain_shortage(12) == (
        "daily quota 500: 10 left, and the email has 12 recipients; next at 2026-12-02 00:00:00 UTC",
        at("2026-12-02T00:00"),
    )


WARM_UP = QuotaRules(warm_up=parse_warm_up("2026-12-01:24,48,100"))


@pytest.mark.parametrize(
    ("use", "now", "left"),
    [
        (QuotaUse(), "2026-11-30T23:59", 0),  # nothing before its first day
        (QuotaUse(), "2026-12-01T00:00", 1),
        (QuotaUse(), "2026-12-01T00:59:59", 1),
        (QuotaUse(), "2026-12-01T12:00", 13),  # what was not used earlier is not lost
        (used("2026-12-01", 13), "2026-12-01T12:30", 0),
        (used("2026-12-01", 13), "2026-12-01T13:00", 1),
        (used("2026-12-01", 24), "2026-12-01T23:59", 0),
        (used("2026-12-01", 24), "2026-12-02T00:00", 2),
        (QuotaUse(), "2026-12-03T00:00", 5),  # a part of an email is one
        (used("2026-12-03", 100), "2026-12-03T23:59", 0),
        (used("2026-12-03", 100), "2026-12-04T00:00", 1_000_000_000),  # warm
    ],
)
def test_a_warm_up_adds_a_part_of_its_day_each_hour(use, now, left):
    assert allow(WARM_UP, use, now).left == left


def test_a_warm_up_says_when_its_next_email_may_go():
    words, free_at = allow(WARM_UP, used("2026-12-01", 13), "2026-12-01T12:30").explain_shortage(1)
    assert words == "warm-up day 1, 13 of 24 emails by this hour reached; next at 13:00:00 UTC"
    assert free_at == at("2026-12-01T13:00")

    assert allow(WARM_UP, used("2026-12-01", 24), "2026-12-01T12:30").explain_shortage(1)[1] == at("2026-12-02T00:00")
    assert allow(WARM_UP, QuotaUse(), "2026-11-29T12:30").explain_shortage(1)[1] == at("2026-12-01T00:00")


def test_a_warm_up_and_a_daily_quota_both_count():
    rules = QuotaRules(daily=10, warm_up=WARM_UP.warm_up)

    assert allow(rules, QuotaUse(), "2026-12-01T20:00").left == 10
    assert allow(rules, QuotaUse(), "2026-12-01T05:00").left == 6
    assert allow(rules, QuotaUse(), "2026-12-01T05:00").allowed_today == 10


def test_a_day_begins_in_the_time_zone_of_the_provider():
    rules = build_rules({"daily_quota": 500, "quota_zone": "America/Los_Angeles"})

    assert allow(rules, used("2026-12-01", 500), "2026-12-02T07:59").left == 0
    assert allow(rules, used("2026-12-01", 500), "2026-12-02T08:00").left == 500
    assert allow(rules, used("2026-07-01", 500), "2026-07-02T07:00").left == 500


def test_each_hour_of_a_day_with_changed_clocks_has_its_part():
    rules = build_rules({"warm_up": "2026-03-29:23,100", "quota_zone": "Europe/Berlin"})

    assert allow(rules, QuotaUse(), "2026-03-28T23:00").left == 1
    assert allow(rules, QuotaUse(), "2026-03-29T21:30").left == 23


def test_a_day_that_was_never_counted_loses_nothing_of_its_month():
    allowance = allow(MONTHLY, used("2026-11-01", 100), "2026-11-29T00:00")

    assert (allowance.use.day_used, allowance.use.month_used, allowance.left) == (0, 100, 1450)


def test_the_last_day_of_a_spread_month_may_use_all_that_is_left():
    use, total = QuotaUse(), 0
    for number in range(30):
        allowance = allow(MONTHLY, use, f"2026-11-{number + 1:02}T12:00")
        total += allowance.left
        use = allowance.take(allowance.left).use

    assert total == 3000
    assert allow(MONTHLY, use, "2026-11-30T23:00").left == 0


def test_what_is_given_back_counts_for_the_day_it_was_taken_from():
    today = used("2026-12-01", 10, in_month=40)

    assert give_back(DAILY, today, 3, began_at=at("2026-12-01T23:59")) == used("2026-12-01", 7, in_month=37)
    assert give_back(DAILY, today, 3, began_at=at("2026-11-30T23:59")) == today
    assert give_back(DAILY, used("2026-12-02", 1, in_month=40), 3, began_at=at("2026-12-01T23:59")) == used(
        "2026-12-02", 1, in_month=37
    )


def test_a_new_month_begins_with_what_its_day_has():
    assert roll(MONTHLY, used("2026-11-30", 7, in_month=900), at("2026-12-01T00:00")) == used("2026-12-01", 0)
