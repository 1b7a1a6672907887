"""Processes that are asked to stop, and one that is frozen longer than its lease."""

import os
import signal
import subprocess
import time

from chaos.scenario import Run, Scenario
from mercury.lib import durations

GRACE = 5.0  # seconds that a stop may last beyond the time limit of a request


def stop_dispatchers(run: Run) -> None:
    """Stop the sending processes in turn while emails arrive, and replace each by a new one."""
    run.testbed.configure(delay_ms=500)
    run.testbed.wait_for_dispatchers()
    stops = max(2, run.mails // 100)
    took = []
    with run.post_mails(rate=run.mails / (stops * (1.5 if run.short else 3.0))):
        for number in range(stops):
            run.wait_until_posted((number + 1) * run.mails // (stops + 1))
            took.append(_stop(run, number))
    run.wait_until_finished()
    deadline = durations.parse_duration(
        run.testbed.instance.environment.get("MERCURY_SEND_TIMEOUT", "20s")
    ).total_seconds()
    run.report("stops under load", stops)
    run.expect_at_most("slowest exit", max(took), deadline + GRACE, "s")
    run.expect_at_most("unknown outcomes", run.unknowns, 0)
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


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


def freeze_worker(run: Run) -> None:
    """Freeze a worker with requests in progress while the other one goes on, then let it continue.

    One spell is longer than its lease; the others outlast its heartbeats only, so that its requests still end well.
    """
    spells = (5.0,) if run.short else (15.0, 55.0, 15.0)
    run.testbed.configure(delay_ms=300)
    run.testbed.wait_for_dispatchers()
    with run.post_mails(rate=run.mails / (1.2 * sum(spells))):
        for number, seconds in enumerate(spells):
            run.wait_until_posted((number + 1) * run.mails // (len(spells) + 2))
            _freeze(run, run.testbed.workers[number % 2], seconds)
    run.wait_until_finished()
    late = sum(mail.count("LATE RESULT") for mail in run.records.mails.values())
    second = sum(mail.count("DONE") > 1 for mail in run.records.mails.values())
    run.report("spells", len(spells))
    run.report("the longest of them", max(spells), "s")
    run.report("results that came late, kept on record", late)
    run.report("emails sent twice, each with an unknown outcome on record", run.sent_twice)
    run.expect_at_most("second DONE", second, 0)


def _freeze(run: Run, worker: subprocess.Popen[bytes], seconds: float) -> None:
    held = len(run.clients.client_records) if run.clients else 0
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
    run.wait_until_posted(min(held + 1, run.mails))
    for _ in range(2):  # the first may have been under way
        run.testbed.wait_for_heartbeat(worker)


SCENARIOS = [
    Scenario(
        "sigterm",
        "SIGTERM under load, once per hundred emails",
        stop_dispatchers,
        2000,
        100,
        legs=("embedded", "full"),
    ),
    Scenario(
        "frozen-worker",
        "a worker frozen beyond its lease, then continued",
        freeze_worker,
        3000,
        150,
        settings={"MERCURY_SEND_TIMEOUT": "20s", "MERCURY_LEASE": "50s"},
    ),
]
