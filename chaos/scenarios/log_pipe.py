"""Nobody reads the log: emails are sent all the same, and the process still ends when asked to."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.scenario import Run, Scenario
from mercury.lib import durations
from mercury.tests.instance import Instance, kill

RATE = 50.0  # emails per second
REFUSED = 0.1  # of the requests; each writes a line to the log
GRACE = 5.0  # seconds that a stop may last beyond the time limit of a request
PATIENCE = 60.0  # seconds
FULL = b"x" * 4096


def fill_pipe(run: Run) -> None:
    """Let the sending processes write to a full pipe, and stop them at the end."""
    testbed = run.testbed
    testbed.configure(mix={"503": REFUSED}, delay_ms=50)
    with _use_full_pipe(run):
        with run.post_mails(rate=RATE, forgetful=0.0):
            pass
        finished = run.wait_until_finished()
        exits = _stop(run)
    testbed.configure(mix={}, delay_ms=0)
    deadline = durations.parse_duration(testbed.instance.environment.get("MERCURY_SEND_TIMEOUT", "20s")).total_seconds()
    run.expect_at_most("all finished after the last email was submitted", finished, PATIENCE, "s")
    run.expect_at_most("slowest exit after SIGTERM", max(exits), deadline + GRACE, "s")
    run.expect_at_most("unknown outcomes", run.unknowns, 0)
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


def _stop(run: Run) -> list[float]:
    began, took = time.monotonic(), []
    for process in run.testbed.dispatchers:
        process.send_signal(signal.SIGTERM)
    for process in run.testbed.dispatchers:
        process.wait(120)
        took.append(time.monotonic() - began)
    return took


@contextmanager
def _use_full_pipe(run: Run) -> Iterator[None]:
    """Run sending processes with a log that nobody reads, and replace them at the end."""
    testbed = run.testbed
    reads, writes = os.pipe()
    try:
        with _redirect_output(testbed.instance, writes):
            _replace(run, LOG_LEVEL="INFO")
        testbed.wait_for_dispatchers()
        _fill(writes)
        yield
    finally:
        os.close(reads)
        os.close(writes)
        _replace(run)


def _fill(writes: int) -> None:
    os.set_blocking(writes, False)
    try:
        while True:
            os.write(writes, FULL)
    except BlockingIOError:
        os.set_blocking(writes, True)


@contextmanager
def _redirect_output(instance: Instance, output: int) -> Iterator[None]:
    instance.output = output
    try:
        yield
    finally:
        instance.output = None


def _replace(run: Run, **settings: str) -> None:
    """Kill the processes that send, and start others in their places."""
    testbed = run.testbed
    for process in testbed.dispatchers:
        kill(process)
    if testbed.leg == "full":
        testbed.workers = [testbed.instance.start_worker(**options, **settings) for options in testbed.worker_settings]
    else:
        testbed.web = testbed.instance.start_web(**testbed.web_settings, **settings)


SCENARIOS = [
    Scenario(
        "log-pipe-full", "nobody reads the log, whose pipe is full", fill_pipe, 1500, 100, legs=("embedded", "full")
    )
]
