"""The rate of a key: exact under threads, in this process or in Redis, and never an obstacle when Redis is away."""

import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import fakeredis
import pytest
from django.db import DatabaseError
from redis.exceptions import RedisError, ResponseError
from structlog.testing import capture_logs

from mails.access import api_keys, rate_limits
from mails.access.rate_limits import Counts
from mails.dispatch import wake
from mails.dispatch.wake import Wakers
from mails.models import ApiKey, Rollup
from mercury.lib.runtime import process_state

POOL = 16


@pytest.fixture
def a_key():
    """Makes a key that no other test counts in a shared Redis. Not stored: nothing here asks the database for it."""
    ours = secrets.token_hex(4)

    def made(rate="10/m", prefix=ours):
        return ApiKey(pk=7, name="zeus", prefix=prefix, rate=rate)

    return made


@pytest.fixture
def at_noon(monkeypatch, settings):
    """A clock that the test sets; only in this process, since Redis has its own."""
    settings.REDIS_URL = ""
    clock = SimpleNamespace(now=1_795_867_200.0)
    monkeypatch.setattr(time, "time", lambda: clock.now)
    return clock


def test_writes_within_the_rate_pass_and_the_next_learns_when_to_retry(at_noon, a_key):
    key = a_key("3/m")

    found = []
    for _ in range(4):
        found.append(rate_limits.count_write(key))
        at_noon.now += 1

    assert [status.allowed for status in found] == [True, True, True, False]
    assert [status.remaining for status in found] == [2, 1, 0, 0]
    assert [status.reset_after for status in found] == [60, 59, 58, 57]
    assert {(status.quota, status.window) for status in found} == {(3, 60)}


def test_seconds_to_wait_are_rounded_up_and_at_least_one(at_noon, a_key):
    key = a_key("1/s")
    rate_limits.count_write(key)

    at_noon.now += 0.999

    refused = rate_limits.count_write(key)
    assert (refused.allowed, refused.reset_after) == (False, 1)


def test_no_stretch_of_the_windows_length_has_more_than_the_rate(at_noon, a_key):
    key, passed = a_key("10/m"), []
    for _ in range(1000):
        at_noon.now += 0.7
        if rate_limits.count_write(key).allowed:
            passed.append(at_noon.now)

    assert all(later - earlier > 60 for earlier, later in zip(passed, passed[10:], strict=False))
    assert len(passed) >= 10 * 11


def test_a_refused_mail_uses_nothing_up(at_noon, a_key):
    key = a_key("1/m")
    rate_limits.count_write(key)
    for _ in range(59):
        at_noon.now += 1
        assert not rate_limits.count_write(key).allowed

    at_noon.now += 1.1

    assert rate_limits.count_write(key).allowed


def test_a_clock_that_is_set_back_locks_nobody_out(at_noon, a_key):
    key = a_key("2/s")
    for _ in range(3):
        rate_limits.count_write(key)

    at_noon.now -= 3600

    assert [rate_limits.count_write(key).allowed for _ in range(3)] == [True, True, False]


def test_keys_are_counted_separately_and_a_changed_rate_starts_at_zero(a_key):
    assert [rate_limits.count_write(a_key("1/m")).allowed for _ in range(2)] == [True, False]

    assert rate_limits.count_write(a_key("1/m", prefix=secrets.token_hex(4))).allowed
    assert rate_limits.count_write(a_key("2/m")).allowed


@pytest.fixture
def warnings(monkeypatch):
    """What is logged here and where Redis is asked, whatever the tests before made of the logging."""
    heard = []
    log = SimpleNamespace(warning=lambda event, **fields: heard.append((event, fields)), info=lambda event: None)
    for module in (wake, rate_limits):
        monkeypatch.setattr(module, "log", log)
    return heard


def at_once(key, times):
    """Count `times` requests of the key at once, in threads."""
    with ThreadPoolExecutor(POOL) as pool:
        return list(pool.map(rate_limits.count_write, [key] * times))


def test_of_many_that_come_at_once_exactly_the_rate_passes(a_key):
    """In memory on the embedded leg, in a real Redis on the full one."""
    found = at_once(a_key("50/m"), 400)

    assert sum(status.allowed for status in found) == 50
    assert min(status.remaining for status in found) == 0


def test_exactly_the_rate_passes_also_in_memory_without_redis(settings, a_key):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    found = at_once(a_key("50/m"), 400)

    assert sum(status.allowed for status in found) == 50


@pytest.fixture
def redis(settings, monkeypatch):
    server = fakeredis.FakeStrictRedis()
    settings.REDIS_URL = "redis://fake"
    monkeypatch.setattr(wake, "connect", lambda: server)
    return server


def test_processes_share_the_count_in_redis(redis, a_key, begin_process):
    first = [rate_limits.count_write(a_key("2/m")).allowed for _ in range(2)]

    begin_process()

    assert first == [True, True]
    assert not rate_limits.count_write(a_key("2/m")).allowed


def test_what_is_counted_in_redis_goes_by_itself(redis, a_key):
    rate_limits.count_write(a_key("2/m"))

    [name] = redis.keys()
    assert name.decode() == f"mercury:rate/{a_key().prefix}/2/60/second"
    assert 0 < redis.ttl(name) <= 60


def test_a_redis_that_fails_is_asked_once_and_the_process_counts_by_itself(redis, monkeypatch, warnings, a_key):
    monkeypatch.setattr(wake, "FIRST_LOOK_SECONDS", 60.0)
    asked = []

    def refuse(limiter, limit, name):
        asked.append(name)
        raise RedisError("OOM command not allowed when used memory > 'maxmemory'")

    monkeypatch.setattr(
        rate_limits, "_make_redis_limiter", lambda redis: SimpleNamespace(hit=lambda *of, cost: refuse(redis, *of))
    )

    found = [rate_limits.count_write(a_key("2/m")).allowed for _ in range(4)]
    wake.wake_workers("text")

    assert found == [True, True, False, False]
    assert asked == [a_key().prefix]
    assert [event for event, _fields in warnings] == ["redis_away", "rate_limit_exceeded"]
    assert redis.keys() == []  # and who wakes queues knows it too


def test_a_silent_redis_costs_a_quarter_of_a_second_once(settings, a_key):
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.REDIS_URL = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        began = time.monotonic()
        for _ in range(50):
            rate_limits.count_write(a_key())
            wake.wake_workers("text")
        took = time.monotonic() - began

    assert took < 0.25 + 0.5


def test_a_rate_limit_exceeded_is_logged_once_a_window(at_noon, warnings, a_key):
    for _ in range(5):
        rate_limits.count_write(a_key("1/m"))
    at_noon.now += 61
    for _ in range(5):
        rate_limits.count_write(a_key("1/m"))

    assert warnings == [("rate_limit_exceeded", {"key": a_key().prefix, "rate": "1/m"})] * 2


@pytest.mark.django_db
def test_refused_mails_are_added_to_the_figures_in_one_row_a_key(a_key):
    key, _text = api_keys.create("zeus", scopes=[], senders=[], rate="1/m")
    for _ in range(5):
        rate_limits.count_write(key)

    rate_limits.write_refused()
    rate_limits.write_refused()

    [row] = Rollup.objects.all()
    assert (row.kind, row.outcome, row.application, row.count) == ("arrival", "throttled", key.pk, 4)


@pytest.mark.django_db
def test_what_the_database_did_not_take_is_written_with_the_next(monkeypatch):
    key, _text = api_keys.create("zeus", scopes=[], senders=[], rate="1/m")
    for _ in range(3):
        rate_limits.count_write(key)

    with monkeypatch.context() as away:
        away.setattr(rate_limits.counters, "append_counts", lambda counts: (_ for _ in ()).throw(DatabaseError("away")))
        rate_limits.write_refused()
    rate_limits.count_write(key)
    rate_limits.write_refused()

    assert Rollup.objects.get().count == 3


@pytest.mark.django_db(transaction=True)
def test_the_figures_are_written_by_themselves(monkeypatch):
    monkeypatch.setattr(rate_limits, "WRITE_SECONDS", 0.01)
    key, _text = api_keys.create("zeus", scopes=[], senders=[], rate="1/m")
    rate_limits.count_write(key)

    rate_limits.count_write(key)
    if (writer := process_state.get(Counts).writer) is not None:
        writer.join(10)

    assert Rollup.objects.get().count == 1


def test_a_redis_that_refuses_to_count_is_not_treated_as_down(a_key, settings, monkeypatch):
    def refuse(redis):
        raise ResponseError("NOPERM this user has no permissions to run the 'evalsha' command")

    settings.REDIS_URL = "redis://fake"
    monkeypatch.setattr(wake, "connect", fakeredis.FakeStrictRedis)
    monkeypatch.setattr(rate_limits, "_make_redis_limiter", refuse)
    key = a_key("2/m")

    with capture_logs() as logged:
        found = [rate_limits.count_write(key).allowed for _ in range(3)]

    assert found == [True, True, False]
    assert [line["event"] for line in logged] == ["rate_limit_sharing_failed", "rate_limit_exceeded"]
    assert process_state.get(Wakers).watch is None
