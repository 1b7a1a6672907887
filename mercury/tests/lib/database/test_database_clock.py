"""The database's clock, as this process reads it."""

from types import SimpleNamespace

import pytest

from mercury.lib.database import database_clock


class Database:
    """A database whose answers take some ms, and were given a few ms off the middle of that."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.here = 0  # ns, this process's clock; the database's is an hour ahead

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def execute(self, sql):
        took, off = self.answers.pop(0)
        self.read = self.here + int((took / 2 + off) * 1e6)
        self.here += int(took * 1e6)

    def fetchone(self):
        return [self.read // 1000 + 3600 * 10**6]


@pytest.fixture
def database(monkeypatch):
    def answers(*answers):
        database = Database(*answers)
        monkeypatch.setattr(database_clock, "connection", database)
        monkeypatch.setattr(database_clock, "get_vendor", lambda: "postgresql")
        monkeypatch.setattr(database_clock, "time", SimpleNamespace(monotonic_ns=lambda: database.here))
        return database

    return answers


def off_by(database):
    return (database_clock.now_ns() - database.here) / 1e6 - 3600 * 1000


def test_a_quick_answer_is_enough(database):
    clock = database((0.5, 0.1))

    assert off_by(clock) == pytest.approx(0.1)


def test_the_quickest_of_some_slow_answers_counts(database):
    clock = database((80, 40), (20, -10), (4, 1), (200, 100), (30, 15))

    assert off_by(clock) == pytest.approx(1)
    assert clock.answers == []


def test_no_more_is_asked_once_an_answer_was_quick(database):
    clock = database((80, 40), (0.8, 0))

    assert off_by(clock) == pytest.approx(0)


def test_the_clock_is_asked_again_after_five_seconds(database):
    clock = database((0.5, 0), (0.5, 0.2))
    database_clock.now_ns()

    clock.here += 4 * 10**9
    assert off_by(clock) == pytest.approx(0)
    clock.here += 2 * 10**9
    assert off_by(clock) == pytest.approx(0.2)
    assert not database_clock.has_jumped_within(60)


def test_nobody_waits_for_a_reading_that_another_thread_makes(database):
    clock = database((0.5, 0))
    database_clock.now_ns()
    clock.here += 6 * 10**9
    others = []

    def execute(sql):  # as long as this query lasts, others go on with what was read before
        others.append(off_by(clock))
        clock.answers.append((0.5, 0.2))
        Database.execute(clock, sql)

    clock.execute = execute

    assert off_by(clock) == pytest.approx(0.2)
    assert others == [pytest.approx(0)]


@pytest.mark.parametrize(("jump", "back"), [(3_600_000, False), (-3_600_000, True), (1_200, False)])
def test_a_jump_is_noticed_at_the_next_look_and_forgotten_in_time(database, jump, back):
    clock = database((0.5, 0), (0.5, jump), (0.5, jump))
    database_clock.look()
    assert not database_clock.has_jumped_within(60)

    clock.here += 2 * 10**9
    database_clock.look()

    assert off_by(clock) == pytest.approx(jump)
    assert database_clock.has_jumped_within(10)
    assert database_clock.has_gone_back_within(10) is back
    clock.here += 11 * 10**9
    database_clock.look()
    assert not database_clock.has_jumped_within(10)
    assert not database_clock.has_gone_back_within(10)


def test_what_two_clocks_drift_apart_is_no_jump(database):
    clock = database((0.5, 0), (0.5, 800))
    database_clock.look()
    clock.here += 2 * 10**9
    database_clock.look()

    assert not database_clock.has_jumped_within(10)


def test_a_jump_of_the_machine_is_noticed_where_its_clock_is_the_database_s(monkeypatch):
    now = SimpleNamespace(here=0, there=10**18)
    clock = SimpleNamespace(monotonic_ns=lambda: now.here, time_ns=lambda: now.there)
    monkeypatch.setattr(database_clock, "get_vendor", lambda: "sqlite")
    monkeypatch.setattr(database_clock, "time", clock)
    database_clock.look()
    now.there += 3600 * 10**9
    database_clock.look()

    assert database_clock.has_jumped_within(10)
