"""A short version of each outage."""

import pytest
from django.conf import settings

from chaos import scenarios
from chaos.run import execute
from chaos.scenario import AT_LEAST_ONCE
from chaos.servers import ProgramMissing
from chaos.testbed import Testbed
from chaos.tests.missing import skip_if_program_missing

FULL = bool(settings.REDIS_URL)
only_full = pytest.mark.skipif(not FULL, reason="needs Redis and PostgreSQL: the full leg runs it")


def is_broken(name: str, built: Testbed) -> bool:
    """Run the short version of a scenario; pytest shows what it printed if it failed."""
    scenario = scenarios.find()[name]
    with skip_if_program_missing():
        return execute(scenario, built, mails=scenario.short, delivery_guarantee=AT_LEAST_ONCE, short=True)


def test_a_missing_program_skips_its_test_and_fails_it_in_ci(monkeypatch):
    def miss():
        with skip_if_program_missing():
            raise ProgramMissing("pgbouncer is not installed.")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(ProgramMissing):
        miss()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="pgbouncer"):
        miss()


@only_full
@pytest.mark.parametrize("name", ["redis-flushed", "redis-killed", "redis-silent", "redis-full", "redis-password"])
def test_clients_notice_no_failure_of_redis(built, name):
    assert not is_broken(name, built)


@only_full
@pytest.mark.parametrize("name", ["postgresql-restarted", "postgresql-crashed", "postgresql-session"])
def test_clients_are_asked_to_wait_while_postgresql_is_down(built, name):
    assert not is_broken(name, built)


@only_full
@pytest.mark.parametrize("name", ["row-locked", "table-locked", "postgresql-read-only", "postgresql-stopped"])
def test_clients_wait_within_limits_for_a_database_that_cannot_serve(built, name):
    assert not is_broken(name, built)


@only_full
def test_a_database_whose_clock_jumps_makes_nobody_dead(built):
    assert not is_broken("clock-jump", built)


def test_a_log_that_nobody_reads_stops_nothing(built):
    assert not is_broken("log-pipe-full", built)


def test_emails_wait_untouched_while_all_providers_are_down(built):
    assert not is_broken("providers-down", built)


@only_full
def test_a_clock_that_is_an_hour_off_moves_nothing(built):
    assert not is_broken("clock", built)


@only_full
def test_everything_works_through_pgbouncer_in_transaction_mode(built):
    assert not is_broken("pgbouncer", built)


def test_a_full_disk_loses_nothing(built):
    assert not is_broken("disk-full", built)


def test_a_restored_backup_sends_nothing_until_sending_is_resumed(built):
    assert not is_broken("old-backup", built)


@only_full
def test_a_short_soak_leaves_nothing_behind(built):
    assert not is_broken("soak", built)
