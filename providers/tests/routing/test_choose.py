"""The choice among accounts, and its reasons."""

import datetime as dt
from collections import Counter
from dataclasses import replace

import pytest

from providers.accounts.config import AccountConfig
from providers.accounts.registry import Candidate
from providers.health.breaker import BreakerSnapshot
from providers.models import BreakerMode, BreakerState
from providers.routing.capacity import measure_rooms
from providers.routing.choose import Shortlist
from providers.routing.rules import NO_CONSTRAINT, AccountLoad, Route, RoutingConstraint

NOW = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)


def account(name, *, weight=1, priority=1, rate=None, enabled=True, configured=True, **breaker):
    config = AccountConfig(name=name, kind="sandbox", options={}, weight=weight, priority=priority, rate=rate)
    return Candidate(
        id=hash(name),
        config=config,
        enabled=enabled,
        configured=configured,
        breaker=BreakerSnapshot(account_id=1, **breaker),
    )


def choose(*candidates, draw=0.0, tried=(), routing_constraint=NO_CONSTRAINT, in_flight=None, slots=None, permits=None):
    load = AccountLoad(now=NOW, in_flight=in_flight or {}, slots=slots, permits=permits or {})
    route = Route(tried=tried, constraint=routing_constraint)
    return Shortlist.build(candidates, NOW, route).choose(load, draw=draw)


def count_capacity(accounts, load):
    return sum(room.emails for room in measure_rooms(accounts, load).values())


def note(choice, name):
    return next(account.note for account in choice.evaluated if account.account == name)


def test_the_draw_follows_the_weights():
    accounts = [account("olympus", weight=3), account("hades", weight=1)]

    drawn = Counter(choose(*accounts, draw=number / 100).candidate.config.name for number in range(100))

    assert drawn == {"olympus": 75, "hades": 25}


def test_the_choice_says_why():
    choice = choose(account("olympus", weight=2), account("hades"), draw=0.5)

    assert choice.why == "weighted random choice among 2 eligible accounts"
    assert note(choice, "olympus") == "selected (drew 2 of 3)"
    assert [account.eligible for account in choice.evaluated] == [True, True]
    assert note(choice, "hades") == ""


def test_the_only_eligible_account_is_called_so():
    assert choose(account("olympus")).why == "the only eligible account"


OPEN = {"state": BreakerState.OPEN, "open_until": NOW + dt.timedelta(seconds=26)}


@pytest.mark.parametrize(
    ("excluded", "reason"),
    [
        (account("hades", enabled=False), "disabled"),
        (account("hades", configured=False), "not in this process's environment"),
        (account("hades", weight=0), "weight 0"),
        (account("hades", **OPEN), "breaker open until 03:00:26"),
        (account("hades", mode=BreakerMode.OPEN), "breaker forced open"),
        (account("hades", limited_until=NOW + dt.timedelta(seconds=9)), "asked to wait until 03:00:09"),
    ],
)
def test_who_is_left_out_and_why(excluded, reason):
    choice = choose(excluded, account("olympus"), draw=0.99)

    assert choice.candidate.config.name == "olympus"
    assert note(choice, "hades") == reason


def test_who_was_tried_in_this_round_is_left_out():
    choice = choose(account("olympus"), account("hades"), tried=("hades",), draw=0.99)

    assert choice.candidate.config.name == "olympus"
    assert note(choice, "hades") == "already tried in this round"


@pytest.mark.parametrize(
    ("routing_constraint", "reason"),
    [
        (RoutingConstraint(via="olympus"), "the email may use olympus only"),
        (RoutingConstraint(excluded=("hades",)), "already tried before the email was reprocessed"),
    ],
)
def test_who_is_out_of_bounds_is_left_out_in_every_round_and_not_waited_for(routing_constraint, reason):
    choice = choose(
        account("olympus", mode=BreakerMode.OPEN), account("hades", **OPEN), routing_constraint=routing_constraint
    )

    assert (choice.candidate, choice.free_at) == (None, None)
    assert note(choice, "hades") == reason
    assert RoutingConstraint.from_blob(routing_constraint.to_blob()) == routing_constraint


def test_an_account_has_its_share_of_the_slots():
    choice = choose(account("hades"), account("olympus"), in_flight={"hades": 4}, slots=4)

    assert note(choice, "hades") == "all 4 slots in use"


def test_a_recovering_account_has_few_slots():
    choice = choose(account("hades", slots=2), account("olympus"), in_flight={"hades": 2})

    assert note(choice, "hades") == "recovering, 2 requests at once; all in use"


def test_a_rate_limit_that_is_reached():
    choice = choose(account("hades", rate=14.0), account("olympus"), permits={"hades": 0})

    assert note(choice, "hades") == "rate limit 14/s reached"


def test_a_half_open_account_is_chosen_as_a_probe():
    due = account("hades", state=BreakerState.OPEN, open_until=NOW)
    choice = choose(due)

    assert choice.probe
    assert note(choice, "hades") == "selected (drew 1 of 1): breaker half-open, probe free"


def test_without_an_account_it_says_when_one_is_free():
    later = replace(account("hades", **OPEN))
    choice = choose(later, account("olympus", mode=BreakerMode.OPEN))

    assert choice.candidate is None
    assert choice.free_at == OPEN["open_until"]


def test_nobody_waits_for_an_account_that_was_tried():
    assert choose(account("hades", **OPEN), tried=("hades",)).free_at is None


@pytest.mark.parametrize(
    ("accounts", "capacity"),
    [
        ([account("olympus"), account("hades")], 8),
        ([account("olympus"), account("hades", **OPEN)], 4),
        ([account("olympus", **OPEN), account("hades", **OPEN)], 0),
        ([account("olympus", state=BreakerState.OPEN, open_until=NOW)], 1),
        ([account("olympus", slots=2)], 2),
    ],
)
def test_capacity_is_what_could_be_handed_over_now(accounts, capacity):
    found = count_capacity(accounts, AccountLoad(now=NOW, in_flight={}, slots=4, permits={}))

    assert found == capacity


def smtp(name, *, max_connections=None, **breaker):
    config = AccountConfig(name=name, kind="smtp", options={"max_connections": max_connections})
    return Candidate(
        id=hash(name), config=config, enabled=True, configured=True, breaker=BreakerSnapshot(account_id=1, **breaker)
    )


@pytest.mark.parametrize(
    ("max_connections", "processes", "room"),
    [(3, 1, 3), (3, 2, 1), (3, 8, 1), (100, 4, 25), (None, 1, 32), (None, 8, 32)],
)
def test_the_processes_share_an_accounts_connections(max_connections, processes, room):
    hades = smtp("hades", max_connections=max_connections)

    def load(busy):
        return AccountLoad(now=NOW, in_flight={"hades": busy}, permits={}, processes=processes)

    def routed(busy):
        return Shortlist.build([hades], NOW).choose(load(busy), draw=0)

    assert count_capacity([hades], load(0)) == room
    assert routed(room - 1).candidate is hades
    assert routed(room).candidate is None
    assert note(routed(room), "hades") == f"all {room} connections in use"


def test_a_learned_limit_counts_too():
    hades = smtp("hades", max_connections=8, call_limit=3)

    assert count_capacity([hades], AccountLoad(now=NOW, in_flight={}, permits={})) == 3
    assert note(choose(hades, in_flight={"hades": 3}), "hades") == "accepts 3 requests at once; all in use"


def test_accounts_of_the_next_priority_wait_until_the_first_cannot():
    first, reserve = account("hades"), account("olympus", weight=100, priority=2)

    choice = choose(first, reserve, draw=0.99)

    assert choice.candidate is first
    assert choice.why == "the only eligible account of priority 1"
    assert note(choice, "olympus") == "used when no account of priority 1 can take the email"
    assert choice.evaluated[1].eligible


@pytest.mark.parametrize("busy", [account("hades", **OPEN), account("hades", enabled=False)])
def test_the_next_priority_takes_what_the_first_cannot(busy):
    choice = choose(busy, account("olympus", priority=2), account("zeus", priority=3), draw=0.5)

    assert choice.candidate.config.name == "olympus"
    assert choice.why == "the only eligible account of priority 2"
    assert note(choice, "zeus") == "used when no account of priority 2 can take the email"


def test_a_full_account_lets_the_next_priority_take_over():
    full = choose(account("hades"), account("olympus", priority=2), in_flight={"hades": 4}, slots=4)
    limited = choose(account("hades", rate=14.0), account("olympus", priority=2), permits={"hades": 0})

    assert full.candidate.config.name == limited.candidate.config.name == "olympus"


def test_weights_count_within_a_priority_only():
    accounts = [account("olympus", weight=3), account("zeus", weight=1), account("hades", weight=96, priority=7)]

    drawn = Counter(choose(*accounts, draw=number / 100).candidate.config.name for number in range(100))

    assert drawn == {"olympus": 75, "zeus": 25}


def test_the_event_names_a_priority_only_where_it_is_not_the_first():
    blob = choose(account("olympus"), account("hades", priority=2)).build_evaluated_blob()

    assert [line.get("priority") for line in blob] == [None, 2]


def test_emails_share_a_decision_until_an_account_is_full():
    hades, olympus = account("hades", slots=2), account("olympus")
    shortlist = Shortlist.build([hades, olympus], NOW)
    idle, busy = (AccountLoad(now=NOW, in_flight={"hades": calls}, permits={}) for calls in (1, 2))

    shared = shortlist.choose(idle, draw=0.0)
    assert shared.candidate is hades
    assert shortlist.choose(idle, draw=0.49) is shared
    assert shortlist.choose(idle, draw=0.5).candidate is olympus

    alone = shortlist.choose(busy, draw=0.0)
    assert alone.candidate is olympus
    assert note(alone, "hades") == "recovering, 2 requests at once; all in use"
    assert shortlist.choose(idle, draw=0.0) is shared
