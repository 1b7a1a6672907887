"""SIGKILL: of workers, of the web process, of everything at once."""

import time
from collections.abc import Callable

from chaos.scenario import AT_MOST_ONCE, GUARANTEES, Run, Scenario

SLOTS = 256  # MERCURY_MAX_CONCURRENCY by default
GROUP = 256  # results that may be waiting to be written, as many as slots
RECOVERY = 15.0  # seconds
BATCHES = 10  # of a run


def kill_workers(run: Run) -> None:
    """Kill one worker after the other."""
    _strike(run, kills=max(2, run.mails // 100), kill=lambda number: run.testbed.kill_worker(number % 2), lost=1)


def kill_web(run: Run) -> None:
    """Kill the web process while clients wait for its answers; in embedded mode it also sends."""
    lost = 1 if run.testbed.leg == "embedded" else 0
    _strike(run, kills=max(2, run.mails // 100), kill=lambda _: run.testbed.kill_web(), lost=lost)


def kill_web_in_batches(run: Run) -> None:
    """Kill the web process again and again while it judges and stores batches: each is stored whole or not at all, and once."""
    size = run.mails // BATCHES
    run.testbed.configure(delay_ms=10)
    run.testbed.wait_for_dispatchers()
    with run.post_mails(batch=size, threads=4):
        for number in range(3):
            run.wait_until_posted(number * 2 * size)
            time.sleep(0.02 * (number + 1))  # into the next ones, each time further
            run.testbed.kill_web()
    finished = run.wait_until_finished()
    moments: dict[int, set[int]] = {}
    for mail in run.records.mails.values():
        batch = int(mail.subject.removeprefix(run.subjects)) // size
        moments.setdefault(batch, set()).add(mail.find_first("NEW").at_ns)
    run.expect_at_most("batches stored in pieces", sum(len(found) > 1 for found in moments.values()), 0)
    run.report("all finished after the last email", finished, "s")


def kill_all(run: Run) -> None:
    """Kill web and workers at the same moment."""
    _strike(run, kills=max(1, run.mails // 100), kill=lambda _: run.testbed.kill_all(), lost=2)


def _strike(run: Run, *, kills: int, kill: Callable[[int], object], lost: int) -> None:
    """Kill again and again under load. `lost`: sending processes that each kill ends."""
    run.testbed.configure(delay_ms=400)
    run.testbed.wait_for_dispatchers()
    with run.post_mails(rate=run.mails / (kills * (2.0 if lost else 3.0))):
        for number in range(kills):
            run.wait_until_posted((number + 1) * run.mails // (kills + 1))
            killed = time.monotonic()
            kill(number)
        run.wait_for(lambda: not run.testbed.count_leased_by_dead())
        recovered_within = time.monotonic() - killed
    finished = run.wait_until_finished()
    run.report("kills", kills)
    run.expect_at_most("unknown outcomes", run.unknowns, kills * lost * (SLOTS + GROUP))
    run.expect_at_most("emails of the last killed process recovered within", recovered_within, RECOVERY, "s")
    run.report("all finished after the last email", finished, "s")
    run.expect_at_least("shortest time from SEND to its arrival, by both clocks", run.shortest_delivery, 0, "ms")
    if run.delivery_guarantee == AT_MOST_ONCE:
        run.expect_at_most("emails sent twice", run.sent_twice, 0)
    else:
        run.report("emails sent twice, each with an unknown outcome on record", run.sent_twice)


SCENARIOS = [
    Scenario(
        "kill-workers", "kill -9 of workers, once per hundred emails", kill_workers, 10_000, 100, guarantees=GUARANTEES
    ),
    Scenario(
        "kill-web", "kill -9 of the web process", kill_web, 2000, 100, legs=("embedded", "full"), guarantees=GUARANTEES
    ),
    Scenario(
        "kill-web-in-batches",
        "kill -9 of the web process while it stores batches",
        kill_web_in_batches,
        5000,
        500,
        legs=("embedded", "full"),
    ),
    Scenario("kill-all", "kill -9 of web and workers at once", kill_all, 2000, 100, guarantees=GUARANTEES),
]
