"""Redis is flushed, killed, silent, full, has a new password, is gone: Redis only carries hints, so clients notice little."""

import time
from collections.abc import Callable
from functools import partial

from chaos.scenario import Run, Scenario, compute_percentile
from chaos.servers import Redis

RATE = 50.0  # emails per second
CALM = 0.2  # of the emails are submitted before the outage …
REPAIRED = 0.8  # … and it lasts until this share is submitted
POST = 300.0  # milliseconds that 99 of 100 requests may take at most, during the outage
POST_IN_CI = 1000.0  # where other tests share the machine
EXTRA_WAIT = 3.0  # seconds


def _strike(run: Run, *, strike: Callable[[Redis], object], repair: Callable[[Redis], object]) -> None:
    redis = run.testbed.redis
    assert redis is not None
    run.testbed.wait_for_dispatchers()
    with run.post_mails(rate=RATE, forgetful=0.0) as clients:
        run.wait_until_posted(int(run.mails * CALM))
        struck, struck_ns = time.monotonic(), time.time_ns()
        strike(redis)
        run.wait_until_posted(int(run.mails * REPAIRED))
        repaired, repaired_ns = time.monotonic(), time.time_ns()
        repair(redis)
    run.wait_until_finished()
    posts = clients.answers.find_between(struck, repaired)
    calm = compute_percentile(run.measure_waits(ended=struck_ns), 50)
    run.report("the outage lasted", repaired - struck, "s")
    run.expect_at_most("answers other than 202", len(clients.answers.each) - clients.answers.statuses["202"], 0)
    p99 = 1000 * compute_percentile([answer.seconds for answer in posts], 99)
    run.expect_at_most("p99 of POST during the outage", p99, POST_IN_CI if run.short else POST, "ms")
    extra = max(run.measure_waits(struck_ns, repaired_ns), default=0.0) - calm
    run.expect_at_most("longest extra wait for the first attempt", extra, EXTRA_WAIT, "s")
    run.report("median wait before the outage", 1000 * calm, "ms")
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


def _do_nothing(redis: Redis) -> None:
    """Do nothing: this failure needs no repair."""


def _build_scenario(
    name: str, about: str, strike: Callable[[Redis], object], repair: Callable[[Redis], object]
) -> Scenario:
    return Scenario(
        f"redis-{name}", f"Redis {about}", partial(_strike, strike=strike, repair=repair), SHORT_OUTAGE, IN_CI
    )


SHORT_OUTAGE = 1500  # emails: an outage of 18 s
LONG_OUTAGE = 10_000  # emails: an outage of 120 s
IN_CI = 80
SCENARIOS = [
    _build_scenario("flushed", "loses all that it holds", Redis.flush, _do_nothing),
    _build_scenario("killed", "is killed, and comes back empty", Redis.kill, Redis.start),
    _build_scenario("silent", "accepts connections and never answers (SIGSTOP)", Redis.freeze, Redis.thaw),
    _build_scenario("full", "refuses to write", lambda redis: redis.limit(1), lambda redis: redis.limit(0)),
    _build_scenario(
        "password",
        "has a new password",
        lambda redis: redis.change_password("not what it was"),
        lambda redis: redis.change_password(""),
    ),
    Scenario(
        "redis-gone",
        "Redis is gone for 120 s",
        partial(_strike, strike=Redis.kill, repair=Redis.start),
        LONG_OUTAGE,
        IN_CI,
    ),
]
