"""Processes that are asked to stop, and one that stands still longer than its lease."""

import os
import signal
import subprocess
import time

from chaos.scenario import Run, Scenario
from mercury.lib import durations

GRACE = 5.0  # seconds that a stop may take beyond the deadline of a call


def sigterm(run: Run) -> None:
    """Stop the sending processes in turn while emails arrive, and replace each by a new one."""
    run.testbed.behave(delay_ms=500)
    run.testbed.await_dispatchers()
    stops = max(2, run.mails // 100)
    took = []
    with run.posting(rate=run.mails / (stops * (1.5 if run.short else 3.0))):
        for number in range(stops):
            run.until_posted((number + 1) * run.mails // (stops + 1))
            took.append(_stop(run, number))
    run.settle()
    deadline = durations.parse_duration(
        run.testbed.instance.environment.get("MERCURY_SEND_TIMEOUT", "20s")
    ).total_seconds()
    run.figure("stops under load", stops)
    run.at_most("slowest exit", max(took), deadline + GRACE, "s")
    run.at_most("unknown outcomes", run.unknowns, 0)
    run.at_most("mails taken twice", run.taken_twice, 0)


def _stop(run: Run, number: int) -> float:
    testbed = run.testbed
    process = testbed.dispatchers[number % len(testbed.dispatchers)]
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(120)
    seconds = time.monotonic() - began
    if testbed.leg == "full":
        testbed.start_worker(number % len(testbed.dispatchers))
    else:
        testbed.web = testbed.instance.start_web()
    return seconds


def frozen(run: Run) -> None:
    """Freeze a worker with requests in progress while the other one goes on, then let it continue.

    One spell is longer than its lease; the others outlast its heartbeats only, so that its calls still end well.
    """
    spells = (5.0,) if run.short else (15.0, 55.0, 15.0)
    run.testbed.behave(delay_ms=300)
    run.testbed.await_dispatchers()
    with run.posting(rate=run.mails / (1.2 * sum(spells))):
        for number, seconds in enumerate(spells):
            run.until_posted((number + 1) * run.mails // (len(spells) + 2))
            _freeze(run, run.testbed.workers[number % 2], seconds)
    run.settle()
    late = sum(mail.count("LATE RESULT") for mail in run.records.mails.values())
    second = sum(mail.count("DONE") > 1 for mail in run.records.mails.values())
    run.figure("spells", len(spells))
    run.figure("the longest of them", max(spells), "s")
    run.figure("results that came late, kept as evidence", late)
    run.figure("mails taken twice, each with its doubt on record", run.taken_twice)
    run.at_most("second DONE", second, 0)


def _freeze(run: Run, worker: subprocess.Popen[bytes], seconds: float) -> None:
    held = len(run.clients.told) if run.clients else 0
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
    run.until_posted(min(held + 1, run.mails))
    for _ in range(2):  # the first may have been under way
        run.testbed.await_beat(worker)


SCENARIOS = [
    Scenario("sigterm", "SIGTERM under load, one in a hundred mails", sigterm, 2000, 100, legs=("embedded", "full")),
    Scenario(
        "frozen-worker",
        "a worker frozen beyond its lease, then continued",
        frozen,
        3000,
        150,
        settings={"MERCURY_SEND_TIMEOUT": "20s", "MERCURY_LEASE": "50s"},
    ),
]
