"""Each alert by the situation that calls for it, and none when all is well."""

import datetime as dt
from dataclasses import replace

import pytest

from mails import alerts
from mails.situation import Held, Situation, Standing, Waiting, Working
from mails.stats import ProviderFigures, Spread
from providers.models import BreakerMode, BreakerState

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
NONE = Spread(0, None, None, None, None)


def account(name, **changes):
    well = Standing(
        id=1,
        name=name,
        kind="sandbox",
        enabled=True,
        configured=True,
        weight=1,
        rate=None,
        state=BreakerState.CLOSED,
        mode=BreakerMode.AUTO,
        words="no faults",
        open_until=None,
        limited_until=None,
        last_fault="",
        last_fault_at=None,
        told="",
        told_until=None,
    )
    return replace(well, **changes)


def took(name, accepted, calls=None):
    return ProviderFigures(name, calls or accepted, accepted, {}, 0, 0.0, accepted, 0.0, NONE, fastest=False)


def refused(name, calls):
    return replace(took(name, 0, calls=calls), refused={"account": calls})


WORKER = Working("one", True, ["text"], 256, 0, 0, 0, NOON, NOON, NOON)
WELL = Situation(
    at=NOON,
    waiting=[Waiting("text", 0, None, 0, None, None)],
    in_hand=0,
    house_held_by=None,
    oldest_unsent=None,
    held=Held(0, 0, 0),
    expired=0,
    workers=[WORKER],
    accounts=[account("olympus"), account("hades")],
    recent=[took("olympus", 50), took("hades", 50)],
    redis="answers",
    disk_free=0.5,
    disk_free_bytes=10**11,
    counted_until=NOON - dt.timedelta(seconds=25),
)

CASES = [
    ({"house_held_by": "hermes"}, "house_held", ""),
    ({"workers": []}, "no_worker", ""),
    ({"workers": [replace(WORKER, alive=False, seen_at=NOON - dt.timedelta(minutes=3))]}, "no_worker", ""),
    ({"counted_until": NOON - dt.timedelta(minutes=4)}, "figures_late", ""),
    ({"waiting": [Waiting("bulk", 7, 61.0, 0, None, None)]}, "oldest_waiting", "bulk"),
    ({"waiting": [Waiting("bulk", 7, 61.0, 0, None, None, NOON, "hermes")]}, "lane_paused", "bulk"),
    ({"oldest_unsent": 1000.0}, "oldest_unsent", ""),
    ({"accounts": [account("olympus", enabled=False)]}, "no_account", ""),
    ({"accounts": [account("olympus", configured=False)]}, "account_unusable", "olympus"),
    ({"accounts": [account("olympus", state=BreakerState.OPEN)]}, "breaker_open", "olympus"),
    ({"accounts": [account("olympus", state=BreakerState.HALF_OPEN)]}, "breaker_open", "olympus"),
    ({"accounts": [account("olympus", mode=BreakerMode.OPEN)]}, "breaker_open", "olympus"),
    ({"recent": [took("olympus", 0, calls=30), took("hades", 100)]}, "silent_failover", "olympus"),
    ({"recent": [took("hades", 100)]}, "silent_failover", "olympus"),
    ({"recent": [refused("olympus", 3), took("hades", 100)]}, "account_refuses", "olympus"),
    (
        {
            "accounts": [
                account("olympus", told="refuse=503", told_until=NOON + dt.timedelta(minutes=5)),
                account("hades"),
            ]
        },
        "sandbox_fault",
        "olympus",
    ),
    (
        {
            "accounts": [account("olympus", told="refuse=503", told_until=NOON), account("hades")],
            "recent": [took("hades", 100)],
        },
        "sandbox_fault",
        "olympus",
    ),
    ({"held": Held(1, 0, 0)}, "held_unknown", ""),
    ({"held": Held(0, 2, 0)}, "held_poison", ""),
    ({"held": Held(0, 0, 3)}, "held_operator", ""),
    ({"expired": 1}, "expired", ""),
    ({"redis": "away"}, "redis_away", ""),
    ({"disk_free": 0.04}, "disk_nearly_full", ""),
    ({"disk_free_bytes": 10**8}, "disk_nearly_full", ""),
]


@pytest.mark.parametrize(("changes", "code", "about"), CASES)
def test_a_situation_calls_for_its_alert_and_no_other(changes, code, about):
    [alert] = alerts.of(replace(WELL, **changes))

    assert (alert.code, alert.about) == (code, about)
    assert alert.sentence.endswith((".", ")"))
    assert alert.cure


def test_a_paused_lane_tells_since_when_by_whom_why_and_how_many_wait():
    lane = Waiting("bulk", 7, 1.0, 1200, None, None, NOON, "hermes", "wrong template")

    [alert] = alerts.of(replace(WELL, waiting=[lane]))

    since = "Lane bulk is paused since 2026-11-24 12:00 UTC by hermes"
    assert alert.sentence == f"{since} (“wrong template”): 1,207 mails wait."
    assert alert.cure.endswith("manage.py lanes resume bulk")


def test_a_well_house_has_no_alert_and_says_so():
    assert alerts.of(WELL) == []
    assert alerts.verdict(WELL, []) == "All is well. No mail waits; 1 worker at work."


@pytest.mark.parametrize(
    "recent",
    [
        [took("hades", 19)],  # too few to say
        [replace(refused("olympus", 2), accepted=1), took("hades", 100)],
        [took("olympus", 1), took("hades", 1000)],
        [],
    ],
)
def test_an_account_is_not_suspected_without_reason(recent):
    assert alerts.of(replace(WELL, recent=recent)) == []


def test_an_account_of_weight_zero_is_not_expected_to_take_mail():
    accounts = [account("olympus", weight=0), account("hades")]

    assert alerts.of(replace(WELL, accounts=accounts, recent=[took("hades", 1000)])) == []


def test_a_disabled_account_with_an_open_breaker_is_no_alert():
    accounts = [account("olympus", enabled=False, state=BreakerState.OPEN), account("hades")]

    assert alerts.of(replace(WELL, accounts=accounts, recent=[])) == []


def test_the_worst_comes_first_and_is_the_verdict():
    situation = replace(WELL, redis="away", held=Held(3, 0, 0), workers=[])

    listed = alerts.of(situation)

    assert [alert.code for alert in listed] == ["no_worker", "held_unknown", "redis_away"]
    assert alerts.verdict(situation, listed) == "No worker is at work: nothing is sent. 2 more alerts."
