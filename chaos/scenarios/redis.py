"""Redis is flushed, killed, silent, full, has a new password, is gone: the queue is a hint, so nobody notices much."""

import time
from collections.abc import Callable
from functools import partial

from chaos.scenario import Run, Scenario, percentile
from chaos.servers import Redis

RATE = 50.0  # mails a second
CALM = 0.2  # of the mails come in before the fault strikes …
MENDED = 0.8  # … and the fault lasts until so many have
POST = 300.0  # milliseconds that 99 of 100 requests may take at most, while the fault lasts
POST_IN_CI = 1000.0  # where other tests share the machine
EXTRA_WAIT = 3.0  # seconds


def _strike(run: Run, *, strike: Callable[[Redis], object], mend: Callable[[Redis], object]) -> None:
    redis = run.testbed.redis
    assert redis is not None
    run.testbed.await_dispatchers()
    with run.posting(rate=RATE, forgetful=0.0) as clients:
        run.until_posted(int(run.mails * CALM))
        struck, struck_ns = time.monotonic(), time.time_ns()
        strike(redis)
        run.until_posted(int(run.mails * MENDED))
        mended, mended_ns = time.monotonic(), time.time_ns()
        mend(redis)
    run.settle()
    posts = clients.answers.between(struck, mended)
    calm = percentile(run.waits(ended=struck_ns), 50)
    run.figure("the fault lasted", mended - struck, "s")
    run.at_most("answers other than 202", len(clients.answers.each) - clients.answers.statuses["202"], 0)
    p99 = 1000 * percentile([answer.seconds for answer in posts], 99)
    run.at_most("p99 of POST meanwhile", p99, POST_IN_CI if run.short else POST, "ms")
    extra = max(run.waits(struck_ns, mended_ns), default=0.0) - calm
    run.at_most("longest extra wait for the first call", extra, EXTRA_WAIT, "s")
    run.figure("median wait before, meanwhile and after", 1000 * calm, "ms")
    run.at_most("mails taken twice", run.taken_twice, 0)


def _nothing(redis: Redis) -> None:
    """Do nothing: this failure needs no repair."""


def _scenario(name: str, about: str, strike: Callable[[Redis], object], mend: Callable[[Redis], object]) -> Scenario:
    return Scenario(f"redis-{name}", f"Redis {about}", partial(_strike, strike=strike, mend=mend), SHORT_FAULT, IN_CI)


SHORT_FAULT = 1500  # mails: a fault of 18 s
LONG_FAULT = 10_000  # mails: a fault of 120 s
IN_CI = 80
SCENARIOS = [
    _scenario("flushed", "loses all that it holds", Redis.flush, _nothing),
    _scenario("killed", "is killed, and comes back empty", Redis.kill, Redis.start),
    _scenario("silent", "takes connections and never answers (SIGSTOP)", Redis.freeze, Redis.thaw),
    _scenario("full", "refuses to write", lambda redis: redis.limit(1), lambda redis: redis.limit(0)),
    _scenario(
        "password",
        "has a new password",
        lambda redis: redis.change_password("not what it was"),
        lambda redis: redis.change_password(""),
    ),
    Scenario(
        "redis-gone",
        "Redis is gone for 120 s",
        partial(_strike, strike=Redis.kill, mend=Redis.start),
        LONG_FAULT,
        IN_CI,
    ),
]
