"""One machine's clock is an hour off: leases, schedules and events go by the database's clock, so nobody notices."""

import os
import subprocess
import sys
import time

from chaos.database import query
from chaos.scenario import Run, Scenario
from chaos.servers import find_library
from mercury.tests.instance import wait_until

RATE = 50.0  # emails per second
DELAY = 300.0  # milliseconds until a provider answers
REFUSED = 0.2  # of the requests, so that emails wait for their next round
ASTRAY = 5.0  # seconds that an event may be dated before the first request or after the last look
# The time of day alone is shifted; without the second one, Python's threads wait for each other in vain.
SHIFTED = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
FINISHED_WITHIN = 30.0  # seconds


def shift_worker_clock(run: Run) -> None:
    """Run one of two workers an hour ahead for the first half of the emails, and an hour behind for the second."""
    testbed = run.testbed
    testbed.configure(mix={"503": REFUSED}, delay_ms=DELAY)
    testbed.worker_settings[1] = {"MERCURY_MAX_CONCURRENCY": "4"}  # too few for all, so that the other one is needed
    _restart(run, 1)
    began = time.time_ns()
    skewed = [_start_worker_with_clock(run, "+1h")]
    with run.post_mails(rate=RATE, forgetful=0.0) as clients:
        run.wait_until_posted(run.mails // 2)
        wait_until(lambda: _count_claimed_by(run, skewed[0]) > 0, 60, testbed.instance.logs.read_text)
        with clients.pause():  # so that half of the emails are left for it, however long its start lasts
            skewed.append(_start_worker_with_clock(run, "-1h"))
    finished = run.wait_until_finished()
    ended = time.time_ns()
    testbed.configure(mix={}, delay_ms=0)
    testbed.worker_settings = [{}, {}]
    _restart(run, 0)
    _restart(run, 1)
    events = [event.at_ns for mail in run.records.mails.values() for event in mail.events]
    astray = [moment for moment in events if not began - ASTRAY * 1e9 <= moment <= ended + ASTRAY * 1e9]
    for offset, pid in zip(("an hour ahead", "an hour behind"), skewed, strict=True):
        run.expect_at_least(f"emails claimed by the worker that was {offset}", _count_claimed_by(run, pid), 1)
    run.expect_at_most("events dated outside of the run", len(astray), 0)
    run.expect_at_most("all finished after the last email was submitted", finished, FINISHED_WITHIN, "s")
    run.expect_at_most("unknown outcomes", run.unknowns, 0)
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


def _start_worker_with_clock(run: Run, offset: str) -> int:
    """Stop the first worker, start one whose clock is off by `offset`, and return its process id."""
    testbed = run.testbed
    shifted = SHIFTED | {"FAKETIME": offset, "LD_PRELOAD": find_library("libfaketimeMT.so.1")}
    testbed.worker_settings[0] = shifted
    _restart(run, 0)
    testbed.wait_for_dispatchers()
    run.report(f"a clock set to {offset} differs by", _measure_difference(shifted), "s")
    return testbed.workers[0].pid


def _restart(run: Run, number: int) -> None:
    """Stop a worker as an upgrade does, and start it again."""
    run.testbed.workers[number].terminate()
    run.testbed.workers[number].wait(60)
    run.testbed.start_worker(number)


def _measure_difference(environment: dict[str, str]) -> float:
    """Return how many seconds a process started like this is ahead of us."""
    shown = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return round(float(shown.stdout) - time.time())


def _count_claimed_by(run: Run, pid: int) -> int:
    sql = (
        "SELECT count(*) FROM mails_event AS event JOIN mails_mail AS mail ON mail.id = event.mail_id"
        " WHERE event.event = 'DEQUEUE' AND event.blob LIKE ? AND mail.subject LIKE ?"
    )
    return int(query(run.testbed.database_url, sql, f"%:{pid}:%", f"{run.subjects}%")[0][0])


SCENARIOS = [
    Scenario(
        "clock",
        "one worker's clock is an hour ahead, then an hour behind",
        shift_worker_clock,
        1500,
        200,
        plant="sleep-by-waiting",
    )
]
