"""The breaker's arithmetic as tables of cases, and its one row under two writers."""

import datetime as dt
from dataclasses import replace

import pytest

from providers.health import breaker_store
from providers.health.breaker import (
    FIRST_WAIT,
    LONGEST_WAIT,
    SLOTS_AFTER_PROBE,
    SLOTS_UNLIMITED,
    WINDOW,
    BreakerSnapshot,
    Observation,
    begin_probe,
    check_permission,
    describe_breaker,
    observe,
)
from providers.models import Account, Breaker, BreakerChange, BreakerMode, BreakerState
from providers.tests.support.builders import sandbox_account

NOW = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)
CLOSED = BreakerSnapshot(account_id=1)
OPEN = replace(CLOSED, state=BreakerState.OPEN, epoch=1, trips=1, opened_at=NOW, open_until=NOW + FIRST_WAIT)
HALF_OPEN = replace(OPEN, state=BreakerState.HALF_OPEN, epoch=2, probe_until=NOW + dt.timedelta(seconds=50))


def failures(number, epoch=0, answered=0):
    return Observation(epoch=epoch, failures=number, answered=answered, last_failure="503 Service Unavailable")


def test_good_calls_change_nothing():
    assert observe(CLOSED, Observation(epoch=0, answered=1000), NOW) is CLOSED


@pytest.mark.parametrize(
    ("observation", "state"),
    [
        (failures(4), BreakerState.CLOSED),
        (failures(5), BreakerState.OPEN),
        (failures(5, answered=5), BreakerState.OPEN),
        (failures(5, answered=6), BreakerState.CLOSED),
        (failures(50, answered=1000), BreakerState.CLOSED),
    ],
)
def test_it_opens_at_five_failures_that_are_half_of_the_calls(observation, state):
    assert observe(CLOSED, observation, NOW).state == state


def test_failures_add_up_within_the_window_and_are_forgotten_after_it():
    four = observe(CLOSED, failures(4), NOW)

    assert observe(four, failures(1), NOW + WINDOW).state == BreakerState.OPEN
    late = observe(four, failures(1), NOW + WINDOW + dt.timedelta(seconds=1))
    assert (late.state, late.window_failures) == (BreakerState.CLOSED, 1)


def test_an_open_breaker_lets_nothing_through_until_its_time():
    before = check_permission(OPEN, NOW)
    after = check_permission(OPEN, NOW + FIRST_WAIT)

    assert (before.allowed, before.until) == (False, OPEN.open_until)
    assert (after.allowed, after.probe, after.slots) == (True, True, 1)


def test_one_probe_at_a_time():
    probing = begin_probe(OPEN, NOW + FIRST_WAIT, dt.timedelta(seconds=50))

    assert not check_permission(probing, NOW + FIRST_WAIT).allowed
    assert check_permission(probing, NOW + FIRST_WAIT + dt.timedelta(seconds=51)).probe


def test_a_probe_that_was_not_made_is_free_for_the_next_mail():
    after = observe(HALF_OPEN, Observation(epoch=2), NOW)

    assert after.state == BreakerState.HALF_OPEN
    assert check_permission(HALF_OPEN, NOW).probe is False
    assert check_permission(after, NOW).probe is True
    assert observe(HALF_OPEN, Observation(epoch=1), NOW) == HALF_OPEN


def test_a_good_probe_closes_it_and_slots_grow():
    closed = observe(HALF_OPEN, Observation(epoch=2, answered=1), NOW)
    assert (closed.state, closed.slots) == (BreakerState.CLOSED, 2)

    grown = [closed.slots]
    while closed.slots is not None:
        closed = observe(closed, Observation(epoch=closed.epoch, answered=1), NOW)
        grown.append(closed.slots)
    assert grown == [2, 4, 8, 16, 32, 64, 128, None]
    assert closed.trips == 0


def test_two_failures_while_recovering_open_it_again():
    closed = observe(HALF_OPEN, Observation(epoch=2, answered=1), NOW)

    once = observe(closed, failures(1, epoch=closed.epoch), NOW)
    assert (once.state, once.slots) == (BreakerState.CLOSED, 2)
    assert observe(once, failures(1, epoch=closed.epoch), NOW).state == BreakerState.OPEN
    assert observe(closed, failures(2, epoch=closed.epoch), NOW).state == BreakerState.OPEN


def test_an_account_that_fails_now_and_then_recovers_nevertheless():
    breaker = observe(HALF_OPEN, Observation(epoch=2, answered=1), NOW)

    while breaker.slots is not None:
        breaker = observe(breaker, Observation(epoch=breaker.epoch, answered=4, failures=1, last_failure="503"), NOW)

    assert (breaker.state, breaker.window_calls, breaker.window_failures) == (BreakerState.CLOSED, 0, 0)


def test_each_failed_probe_doubles_the_wait_up_to_its_bound():
    waits, breaker, now = [], CLOSED, NOW
    breaker = observe(breaker, failures(5), now)
    for _ in range(4):
        waits.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = begin_probe(breaker, now, dt.timedelta(seconds=50))
        breaker = observe(breaker, failures(1, epoch=breaker.epoch), now)

    assert waits == [FIRST_WAIT, FIRST_WAIT * 2, LONGEST_WAIT, LONGEST_WAIT]


def test_results_of_an_older_epoch_do_not_count():
    assert observe(HALF_OPEN, Observation(epoch=1, answered=9), NOW).state == BreakerState.HALF_OPEN
    assert observe(HALF_OPEN, failures(9, epoch=1), NOW).state == BreakerState.HALF_OPEN


@pytest.mark.parametrize(("mode", "allowed"), [(BreakerMode.OPEN, False), (BreakerMode.CLOSED, True)])
def test_a_forced_breaker_ignores_what_happens(mode, allowed):
    forced = replace(CLOSED, mode=mode)

    assert check_permission(forced, NOW).allowed is allowed
    assert observe(forced, failures(50), NOW).state == BreakerState.CLOSED


def test_a_rate_limit_is_no_failure():
    limited = observe(CLOSED, Observation(epoch=0, answered=1, limited_until=NOW + dt.timedelta(seconds=30)), NOW)

    assert limited.state == BreakerState.CLOSED
    assert not check_permission(limited, NOW).allowed
    assert check_permission(limited, NOW + dt.timedelta(seconds=30)).allowed


@pytest.mark.parametrize(
    ("breaker", "words"),
    [
        (CLOSED, "no recent errors"),
        (replace(CLOSED, window_started_at=NOW, window_failures=1), "1 failure of 5"),
        (replace(CLOSED, window_started_at=NOW, window_failures=3), "3 failures of 5"),
        (OPEN, "probe in 10 s"),
        (replace(OPEN, open_until=NOW), "probe with the next email"),
        (HALF_OPEN, "one probe in progress"),
        (replace(CLOSED, slots=4), "recovering, 4 requests at once"),
        (replace(CLOSED, mode=BreakerMode.OPEN), "Forced open"),
    ],
)
def test_it_says_what_it_does(breaker, words):
    assert describe_breaker(breaker, NOW) == words


@pytest.mark.django_db
def test_of_two_writers_one_wins():
    account = sandbox_account("olympus").account
    seen = BreakerSnapshot.from_row(account.breaker)
    opened = observe(seen, failures(5), NOW)

    assert breaker_store.save(seen, opened, by="one")
    assert not breaker_store.save(seen, opened, by="two")

    assert Breaker.objects.get(account=account).state == BreakerState.OPEN
    [change] = BreakerChange.objects.filter(account=account, by="one")
    assert change.what == "5 failures in 5 requests: 503 Service Unavailable"


@pytest.mark.django_db
def test_forcing_writes_who_and_why():
    account = sandbox_account("olympus").account
    breaker_store.change(account.pk, lambda breaker: observe(breaker, failures(5), NOW), by="Dispatcher")

    breaker_store.force("olympus", BreakerMode.CLOSED, by="hermes", why="SendGrid says resolved")

    breaker = Breaker.objects.get(account=account)
    assert (breaker.mode, breaker.state) == (BreakerMode.CLOSED, BreakerState.CLOSED)
    newest = BreakerChange.objects.filter(account=account).first()
    assert (newest.by, newest.what) == ("hermes", "forced closed, “SendGrid says resolved”")


@pytest.mark.django_db
def test_forcing_an_account_that_is_not_there_says_so():
    with pytest.raises(Account.DoesNotExist):
        breaker_store.force("tartarus", BreakerMode.OPEN, by="hermes")


def full(at_once, *, epoch=0):
    """A group of calls, one of which was refused because the account had too many already."""
    return Observation(epoch=epoch, answered=1, at_once=at_once, at_capacity=True)


def after(breaker, observation, seconds=0.0):
    return observe(breaker, observation, NOW + dt.timedelta(seconds=seconds))


def test_a_refusal_of_one_more_call_teaches_how_many_the_account_takes():
    learned = after(CLOSED, full(3))

    assert (learned.state, learned.window_failures, learned.limited_until) == (BreakerState.CLOSED, 0, None)
    assert check_permission(learned, NOW).slots == 3
    assert describe_breaker(learned, NOW) == "accepts 3 requests at once"


def test_more_refusals_of_one_burst_only_lower_the_limit():
    learned = after(after(after(CLOSED, full(20)), full(3), 0.1), full(9), 0.2)

    assert learned.call_limit == 3


def test_a_limit_grows_by_one_a_second_while_it_is_used_up():
    learned = after(CLOSED, full(2))

    assert after(learned, Observation(epoch=0, answered=2, at_once=2), 0.5).call_limit == 2
    assert after(learned, Observation(epoch=0, answered=1, at_once=1), 1).call_limit == 2
    assert after(learned, Observation(epoch=0, answered=2, at_once=2), 1).call_limit == 3


def test_a_limit_that_was_raised_too_far_is_kept_for_a_minute():
    grown = after(after(CLOSED, full(3)), Observation(epoch=0, answered=3, at_once=3), 1)

    lowered = after(grown, full(3), 2.5)

    assert (grown.call_limit, lowered.call_limit) == (4, 3)
    assert after(lowered, Observation(epoch=0, answered=3, at_once=3), 60).call_limit == 3
    assert after(lowered, Observation(epoch=0, answered=3, at_once=3), 62.5).call_limit == 4


def test_a_process_that_was_refused_its_only_call_lowers_no_limit_of_the_others():
    assert after(CLOSED, full(0)) == CLOSED
    assert after(after(CLOSED, full(3)), full(0), 5).call_limit == 3


def test_a_limit_is_forgotten_once_it_is_as_high_as_any():
    high = replace(CLOSED, call_limit=SLOTS_UNLIMITED - 1, call_limit_until=NOW)

    assert after(high, Observation(epoch=0, answered=1, at_once=255)).call_limit is None


def test_after_a_wait_that_was_asked_for_the_account_opens_little_by_little():
    until = NOW + dt.timedelta(seconds=30)
    limited = observe(CLOSED, Observation(epoch=0, answered=1, limited_until=until), NOW)

    assert check_permission(limited, until).slots == SLOTS_AFTER_PROBE
    wider = observe(limited, Observation(epoch=0, answered=2), until)
    assert check_permission(wider, until).slots == 2 * SLOTS_AFTER_PROBE
