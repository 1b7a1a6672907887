"""One machine's clock is an hour off: leases, schedules and events go by the database's clock, so nobody notices."""

import os
import subprocess
import sys
import time

from chaos.database import query
from chaos.scenario import Run, Scenario
from chaos.servers import library
from mercury.tests.instance import until

RATE = 50.0  # mails a second
DELAY = 300.0  # milliseconds that a provider takes
REFUSED = 0.2  # of the calls, so that mails wait for their next round
ASTRAY = 5.0  # seconds that an event may be dated before the first request or after the last look
# The time of day alone is shifted; without the second one, Python's threads wait for each other in vain.
SHIFTED = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
SETTLED = 30.0  # seconds


def one_worker(run: Run) -> None:
    """Run one of two workers an hour ahead for the first half of the emails, and an hour behind for the second."""
    testbed = run.testbed
    testbed.behave(mix={"503": REFUSED}, delay_ms=DELAY)
    testbed.worker_settings[1] = {"MERCURY_MAX_CONCURRENCY": "4"}  # too few for all, so that the other one is needed
    _restart(run, 1)
    began = time.time_ns()
    skewed = [_worker_with_clock(run, "+1h")]
    with run.posting(rate=RATE, forgetful=0.0) as clients:
        run.until_posted(run.mails // 2)
        until(lambda: _in_hands_of(run, skewed[0]) > 0, 60, testbed.instance.logs.read_text)
        with clients.silent():  # so that half of the mails are left for it, however long it takes to start
            skewed.append(_worker_with_clock(run, "-1h"))
    settled = run.settle()
    ended = time.time_ns()
    testbed.behave(mix={}, delay_ms=0)
    testbed.worker_settings = [{}, {}]
    _restart(run, 0)
    _restart(run, 1)
    events = [event.at_ns for mail in run.records.mails.values() for event in mail.events]
    astray = [moment for moment in events if not began - ASTRAY * 1e9 <= moment <= ended + ASTRAY * 1e9]
    for offset, pid in zip(("an hour ahead", "an hour behind"), skewed, strict=True):
        run.at_least(f"mails in the hands of the worker that was {offset}", _in_hands_of(run, pid), 1)
    run.at_most("events dated outside of the run", len(astray), 0)
    run.at_most("settled after the last mail was handed in", settled, SETTLED, "s")
    run.at_most("unknown outcomes", run.unknowns, 0)
    run.at_most("mails taken twice", run.taken_twice, 0)


def _worker_with_clock(run: Run, offset: str) -> int:
    """Stop the first worker and start one whose clock is off by so much; its process number."""
    testbed = run.testbed
    shifted = SHIFTED | {"FAKETIME": offset, "LD_PRELOAD": library("libfaketimeMT.so.1")}
    testbed.worker_settings[0] = shifted
    _restart(run, 0)
    testbed.await_dispatchers()
    run.figure(f"a clock set to {offset} differs by", _difference(shifted), "s")
    return testbed.workers[0].pid


def _restart(run: Run, number: int) -> None:
    """Stop a worker as an upgrade does, and start it again."""
    run.testbed.workers[number].terminate()
    run.testbed.workers[number].wait(60)
    run.testbed.start_worker(number)


def _difference(environment: dict[str, str]) -> float:
    """Seconds that a process started like this is ahead of us."""
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return round(float(told.stdout) - time.time())


def _in_hands_of(run: Run, pid: int) -> int:
    sql = (
        "SELECT count(*) FROM mails_event AS event JOIN mails_mail AS mail ON mail.id = event.mail_id"
        " WHERE event.event = 'DEQUEUE' AND event.blob LIKE ? AND mail.subject LIKE ?"
    )
    return int(query(run.testbed.database_url, sql, f"%:{pid}:%", f"{run.subjects}%")[0][0])


SCENARIOS = [
    Scenario(
        "clock",
        "one worker's clock is an hour ahead, then an hour behind",
        one_worker,
        1500,
        200,
        plant="sleep-by-waiting",
    )
]
