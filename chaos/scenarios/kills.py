"""SIGKILL: of workers, of the web process, of everything at once."""

import time
from collections.abc import Callable

from chaos.scenario import AT_MOST_ONCE, GUARANTEES, Run, Scenario

PLACES = 256  # MERCURY_MAX_CONCURRENCY as it comes
GROUP = 64  # results that may be waiting to be written
RECOVERY = 15.0  # seconds


def workers(run: Run) -> None:
    """Kill one worker after the other."""
    _strike(run, kills=max(2, run.mails // 100), kill=lambda number: run.testbed.kill_worker(number % 2), lost=1)


def web(run: Run) -> None:
    """Kill the web process while clients wait for its answers; in embedded mode it also sends."""
    lost = 1 if run.testbed.leg == "embedded" else 0
    _strike(run, kills=max(2, run.mails // 100), kill=lambda _: run.testbed.kill_web(), lost=lost)


def everything(run: Run) -> None:
    """Web and workers are killed at the same moment."""
    _strike(run, kills=max(1, run.mails // 100), kill=lambda _: run.testbed.kill_all(), lost=2)


def _strike(run: Run, *, kills: int, kill: Callable[[int], object], lost: int) -> None:
    """`lost`: processes that send and that each kill takes away."""
    run.testbed.behave(delay_ms=400)
    run.testbed.await_dispatchers()
    with run.posting(rate=run.mails / (kills * (2.0 if lost else 3.0))):
        for number in range(kills):
            run.until_posted((number + 1) * run.mails // (kills + 1))
            killed = time.monotonic()
            kill(number)
        run.patiently(lambda: not run.testbed.held_by_the_dead())
        taken_up = time.monotonic() - killed
    settled = run.settle()
    run.figure("kills", kills)
    run.at_most("unknown outcomes", run.unknowns, kills * lost * (PLACES + GROUP))
    run.at_most("what the last one held was taken up within", taken_up, RECOVERY, "s")
    run.figure("all settled after the last mail", settled, "s")
    run.at_least("shortest time from SEND to its arrival, by both clocks", run.shortest_way, 0, "ms")
    if run.delivery_guarantee == AT_MOST_ONCE:
        run.at_most("mails taken twice", run.taken_twice, 0)
    else:
        run.figure("mails taken twice, each with its doubt on record", run.taken_twice)


SCENARIOS = [
    Scenario("kill-workers", "kill -9 of workers, one in a hundred mails", workers, 10_000, 100, guarantees=GUARANTEES),
    Scenario(
        "kill-web", "kill -9 of the web process", web, 2000, 100, legs=("embedded", "full"), guarantees=GUARANTEES
    ),
    Scenario("kill-all", "kill -9 of web and workers at once", everything, 2000, 100, guarantees=GUARANTEES),
]
