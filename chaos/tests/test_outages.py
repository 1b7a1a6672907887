"""A short version of each outage."""

import pytest
from django.conf import settings

from chaos import scenarios
from chaos.run import execute
from chaos.scenario import AT_LEAST_ONCE
from chaos.servers import ProgramMissing
from chaos.testbed import Testbed
from chaos.tests.missing import missing_is_told

FULL = bool(settings.REDIS_URL)
only_full = pytest.mark.skipif(not FULL, reason="strikes at Redis and PostgreSQL: the full leg runs it")


def is_broken(name: str, built: Testbed) -> bool:
    """Run the short version of a scenario; pytest shows what it printed if it failed."""
    scenario = scenarios.find()[name]
    with missing_is_told():
        return execute(scenario, built, mails=scenario.short, delivery_guarantee=AT_LEAST_ONCE, short=True)


def test_a_missing_program_skips_its_test_and_fails_it_in_ci(monkeypatch):
    def miss():
        with missing_is_told():
            raise ProgramMissing("pgbouncer is not installed.")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(ProgramMissing):
        miss()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="pgbouncer"):
        miss()


@only_full
@pytest.mark.parametrize("name", ["redis-flushed", "redis-killed", "redis-silent", "redis-full", "redis-password"])
def test_nobody_notices_what_happens_to_redis(built, name):
    assert not is_broken(name, built)


@only_full
@pytest.mark.parametrize("name", ["postgresql-restarted", "postgresql-crashed", "postgresql-session"])
def test_clients_are_asked_for_patience_while_postgresql_is_away(built, name):
    assert not is_broken(name, built)


@only_full
@pytest.mark.parametrize("name", ["row-locked", "table-locked", "postgresql-read-only", "postgresql-stopped"])
def test_a_database_that_stands_and_cannot_serve_is_waited_for_within_bounds(built, name):
    assert not is_broken(name, built)


@only_full
def test_a_database_whose_clock_jumps_makes_nobody_dead(built):
    assert not is_broken("clock-jump", built)


def test_a_log_that_nobody_reads_stops_nothing(built):
    assert not is_broken("log-pipe-full", built)


def test_mails_wait_untouched_while_all_providers_are_down(built):
    assert not is_broken("providers-down", built)


@only_full
def test_a_clock_that_is_an_hour_off_moves_nothing(built):
    assert not is_broken("clock", built)


@only_full
def test_all_of_it_runs_through_pgbouncer_in_transaction_mode(built):
    assert not is_broken("pgbouncer", built)


def test_a_full_disk_loses_nothing(built):
    assert not is_broken("disk-full", built)


def test_a_restored_back_up_sends_nothing_until_it_is_released(built):
    assert not is_broken("old-backup", built)


@only_full
def test_a_short_soak_leaves_nothing_behind(built):
    assert not is_broken("soak", built)
