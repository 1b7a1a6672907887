"""Answers from the roll-ups: what is counted comes out again, with rates, shares and times."""

import datetime as dt

import pytest

from mails.lifecycle.counters import CounterKey, Counters, CounterSum
from mails.models import PeriodicTask, Rollup
from mails.reporting import rollups, statistics
from mails.reporting.statistics import PeriodTooLong
from mails.states import AttemptState, Counted, Ending, Level
from mails.tests.builders import a_mail
from mails.timeline.facts import Usual
from mercury.lib.database import database_clock
from providers.health import breaker_store
from providers.models import BreakerMode
from providers.outcomes import FailureClass

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def count(*keys, at=NOON, seconds=None, times=1):
    counters = Counters()
    for key in keys:
        for _ in range(times):
            counters.count(key, seconds)
    Rollup.objects.bulk_create([Rollup(**row) for row in counters.build_rows(at)])


def call(account, outcome=AttemptState.ACCEPTED, failure_class=""):
    return CounterKey(Counted.CALL, "text", account, outcome=outcome, failure_class=failure_class)


def end(ending=Ending.DONE, account="olympus", *, queue="text", application=0):
    return CounterKey(Counted.END, queue, account, application, ending)


def test_what_is_usual_in_a_queue_are_its_medians_of_the_last_hour():
    count(CounterKey(Counted.FIRST_SEND, "text"), seconds=0.3, times=3)
    count(end(), end(Ending.FAILOVER), seconds=0.7)
    count(end(Ending.DISCARDED), end(queue="bulk"), seconds=50, times=9)

    usual = statistics.load_usual_times("text", NOON + HOUR / 2)

    assert usual.wait == pytest.approx(0.3, rel=0.1)
    assert usual.acceptance == pytest.approx(0.7, rel=0.1)
    assert statistics.load_usual_times("text", NOON + 2 * HOUR) == statistics.load_usual_times("html", NOON) == Usual()


def test_queues_tell_counts_rates_and_times():
    count(CounterKey(Counted.ARRIVAL, "text", outcome="accepted"), times=120)
    count(CounterKey(Counted.ARRIVAL, "text", outcome="rejected"), times=3)
    count(CounterKey(Counted.FIRST_SEND, "text"), seconds=0.1, times=120)
    count(end(), seconds=0.3, times=90)
    count(end(Ending.FAILOVER), seconds=0.9, times=10)
    count(end(Ending.DISCARDED), seconds=60, times=5)
    count(end(Ending.HELD), times=2)
    count(end(queue="bulk"), seconds=5)

    bulk, text = statistics.summarize_queues(statistics.load_statistics(NOON, NOON + HOUR))

    assert (text.arrived, text.rejected, text.arrived_per_minute) == (120, 3, 2.0)
    assert (text.sent, text.failover, text.discarded, text.held) == (100, 10, 5, 2)
    assert text.queue_time.p50 == pytest.approx(0.1, rel=0.091)
    assert text.acceptance.p50 == pytest.approx(0.3, rel=0.091)
    assert text.acceptance.p95 == pytest.approx(0.9, rel=0.091)
    assert text.acceptance.mean == pytest.approx(0.36)
    assert text.processing.count == 105
    assert text.processing.p99 == pytest.approx(60, rel=0.091)
    assert (bulk.sent, bulk.arrived) == (1, 0)


def test_all_emails_are_the_sum_of_the_queues():
    count(end(), end(queue="bulk"), seconds=1)

    assert statistics.summarize_all(statistics.load_statistics(NOON, NOON + HOUR)).sent == 2


def test_providers_tell_failures_by_kind_share_and_the_fastest():
    count(call("olympus"), seconds=0.2, times=6)
    count(call("olympus", AttemptState.REFUSED, "provider"), seconds=1, times=2)
    count(call("olympus", AttemptState.REFUSED, "message"), seconds=1)
    count(call("olympus", AttemptState.UNKNOWN), seconds=20)
    count(call("hades"), seconds=0.8, times=2)
    count(end(account="olympus"), times=6)
    count(end(Ending.FAILOVER, "hades"), times=2)

    olympus, hades = statistics.summarize_accounts(statistics.load_statistics(NOON, NOON + HOUR))

    assert (olympus.attempts, olympus.accepted, olympus.unknown) == (10, 6, 1)
    assert olympus.refused == {"message": 1, "account": 0, "recipient": 0, "rate": 0, "provider": 2, "local": 0}
    assert olympus.failure_rate == pytest.approx(0.3)
    assert (olympus.share, hades.share) == (0.75, 0.25)
    assert (olympus.fastest, hades.fastest) == (True, False)
    assert olympus.latency.p50 == pytest.approx(0.2, rel=0.091)


def test_applications_have_the_names_of_their_keys():
    count(end(application=7), times=3)
    count(end(), times=1)

    shop, people = statistics.summarize_applications(
        statistics.load_statistics(NOON, NOON + HOUR), {7: "shop", 0: statistics.USERS_AND_CLI}
    )

    assert (shop.name, shop.sent) == ("shop", 3)
    assert (people.name, people.sent) == (statistics.USERS_AND_CLI, 1)


def test_a_series_has_each_interval_also_the_empty_ones():
    count(end(), seconds=1, at=NOON)
    count(end(), seconds=1, at=NOON + dt.timedelta(minutes=2), times=3)

    points = statistics.build_series(statistics.load_statistics(NOON, NOON + dt.timedelta(minutes=4)))

    assert [point.done for point in points] == [1, 0, 3, 0]
    assert points[1].acceptance.p50 is None


@pytest.mark.parametrize("level", statistics.LEVELS)
def test_folding_changes_no_answer(level):
    count(end(), seconds=1, times=5)
    count(call("olympus"), seconds=0.5, times=5)
    since, until = NOON - dt.timedelta(days=1), NOON + dt.timedelta(days=1)
    before = statistics.load_statistics(since, until, level)

    rollups.fold(NOON)

    after = statistics.load_statistics(since, until, level)
    assert statistics.summarize_queues(after) == statistics.summarize_queues(before)
    assert statistics.summarize_accounts(after) == statistics.summarize_accounts(before)
    assert statistics.build_series(after) == statistics.build_series(before)


def test_totals_never_shrink_by_folding_or_removal():
    count(end(), seconds=1, times=5)
    before = statistics.load_totals()

    rollups.fold(NOON)
    rollups.fold(NOON + dt.timedelta(days=5000))

    assert statistics.load_totals() == before == [(end(), CounterSum(5, 5_000_000, {"80": 5}))]


@pytest.mark.parametrize(
    ("length", "level"),
    [
        (dt.timedelta(hours=1), Level.MINUTE),
        (dt.timedelta(hours=24), Level.TEN_MINUTES),
        (dt.timedelta(days=7), Level.HOUR),
        (dt.timedelta(days=90), Level.DAY),
    ],
)
def test_a_period_has_intervals_that_fit_it(length, level):
    assert statistics.choose_intervals(NOON - length, NOON)[1] == level


def test_a_period_of_too_many_intervals_is_refused_with_a_remedy():
    with pytest.raises(PeriodTooLong, match="longer intervals"):
        statistics.load_statistics(NOON - dt.timedelta(days=30), NOON, Level.MINUTE)


def test_statistics_need_three_queries_however_many_rows(django_assert_num_queries):
    for minute in range(50):
        count(end(), call("olympus"), seconds=1, at=NOON + dt.timedelta(minutes=minute))

    with django_assert_num_queries(3):
        figures = statistics.load_statistics(NOON, NOON + HOUR)
        assert len(statistics.build_series(figures)) == 60


def test_changes_of_breakers_are_listed_newest_first(olympus):
    breaker_store.force("olympus", BreakerMode.OPEN, by="hermes", why="maintenance")
    now = database_clock.now()

    changes = statistics.load_breaker_history(now - HOUR, now + HOUR)

    newest = changes[0]
    assert (newest.account.name, newest.what, newest.by) == ("olympus", "forced open, “maintenance”", "hermes")


def test_arrivals_that_no_roll_up_holds_yet_count_at_once_and_once_only():
    now = database_clock.now()
    PeriodicTask.objects.create(name=rollups.TASK, done_until=now)
    for _ in range(3):
        a_mail()
    since, until = now - HOUR, database_clock.now() + dt.timedelta(seconds=1)

    before = statistics.summarize_all(statistics.load_statistics(since, until)).arrived
    rollups.count_arrivals(until + rollups.ARRIVALS_LAG)
    after = statistics.summarize_all(statistics.load_statistics(since, until + HOUR)).arrived

    assert (before, after) == (3, 3)


def test_success_is_what_did_not_fail_because_of_account_rate_or_provider():
    count(call("olympus"), at=NOON)
    count(call("olympus", AttemptState.REFUSED, FailureClass.MESSAGE), at=NOON)
    count(call("olympus", AttemptState.REFUSED, FailureClass.PROVIDER), at=NOON)
    count(call("olympus", AttemptState.UNKNOWN), at=NOON)

    [olympus] = statistics.summarize_accounts(statistics.load_statistics(NOON, NOON + HOUR))

    assert olympus.success == 50.0
