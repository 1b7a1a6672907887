"""The options of quotas: what is accepted, what is refused with a remedy, what is warned of."""

import datetime as dt

import pytest

from providers.quotas.rules import QuotaInvalid, QuotaRules, build_rules, list_values, read_texts
from providers.quotas.warm_up import parse_warm_up

pytestmark = pytest.mark.one_leg


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"daily_quota": 0}, "daily_quota", "disable it or give it the weight 0"),
        ({"monthly_quota": 0}, "monthly_quota", "disable it or give it the weight 0"),
        ({"daily_quota": -5}, "daily_quota", "whole number from 1"),
        ({"monthly_quota": 2_000_000_000}, "monthly_quota", "from 1 to 1,000,000,000"),
        ({"quota_zone": "Olympus"}, "quota_zone", "America/Los_Angeles"),
        ({"quota_zone": "../../etc/passwd"}, "quota_zone", "time zone"),
        ({"quota_month_day": 31}, "quota_month_day", "from 1 to 28"),
        ({"quota_month_day": 0}, "quota_month_day", "from 1 to 28"),
        ({"warm_up": "tomorrow:30d"}, "warm_up", "2026-12-01:30d"),
        ({"warm_up": "2026-12-01"}, "warm_up", "2026-12-01:50,100,500"),
        ({"warm_up": "2026-12-01:50,,100"}, "warm_up", "2026-12-01:50,100,500"),
        ({"warm_up": "2026-12-01:50,0"}, "warm_up", "1 to 100,000,000"),
        ({"warm_up": "2026-12-01:43d"}, "warm_up", "1 to 42"),
        ({"warm_up": "9999-12-31:2d"}, "warm_up", "no date"),
    ],
)
def test_an_impossible_value_is_refused_with_its_remedy(values, field, words):
    with pytest.raises(QuotaInvalid) as caught:
        build_rules(values)

    assert words in caught.value.errors[field]


def test_what_contradicts_itself_is_warned_of():
    [warning] = build_rules({"daily_quota": 500, "monthly_quota": 100}).find_warnings()
    assert warning.startswith("The daily quota 500 is larger than the monthly quota 100")

    assert list(build_rules({"daily_quota": 500, "monthly_quota": 10_000}).find_warnings()) == []
    assert len(list(build_rules({"daily_quota": 500, "quota_spread": True}).find_warnings())) == 1


def test_a_month_is_spread_where_it_is_the_only_quota_unless_said_otherwise():
    assert QuotaRules(monthly=10).is_spread
    assert not QuotaRules(monthly=10, daily=5).is_spread
    assert QuotaRules(monthly=10, daily=5, spread=True).is_spread
    assert not QuotaRules(monthly=10, spread=False).is_spread


@pytest.mark.parametrize("warm_up", ["", "2026-12-01:50,100,500", "2026-12-01:30d", "2026-12-01:480"])
def test_what_is_stored_is_what_was_given(warm_up):
    values = read_texts(
        {"daily_quota": "500", "monthly_quota": "none", "quota_spread": "on", "quota_zone": "UTC", "warm_up": warm_up}
    )

    stored = list_values(build_rules(values))

    assert stored == values | {"quota_month_day": 1, "warm_up": str(parse_warm_up(warm_up) or "")}
    assert build_rules(stored) == build_rules(values)


def test_a_ramp_by_days_grows_as_the_schedule_of_sendgrid():
    ramp = parse_warm_up("2026-12-01:13d")

    hourly = [ramp.find_step(dt.date(2026, 12, 1) + dt.timedelta(days=number)) / 24 for number in range(13)]
    published = [20, 28, 39, 55, 77, 108, 151, 211, 295, 413, 579, 810, 1000]
    assert all(abs(ours - theirs) <= 0.14 * theirs for ours, theirs in zip(hourly, published, strict=True))
    assert ramp.find_step(dt.date(2026, 12, 14)) is None
    assert ramp.end == dt.date(2026, 12, 14)


@pytest.mark.parametrize("text", ["daily_quota", "quota_month_day"])
def test_a_text_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=text):
        read_texts({text: "many"})


def test_a_spread_that_is_no_switch_is_refused():
    with pytest.raises(ValueError, match="on, off or auto"):
        read_texts({"quota_spread": "maybe"})
