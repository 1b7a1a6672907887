"""PostgreSQL runs and cannot serve: a row or a table is locked, it is read-only, it is silent, its clock jumps."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from chaos.database import query
from chaos.scenario import Run, Scenario
from chaos.servers import Postgresql, find_library
from mercury.tests.instance import wait_until

RATE = 50.0  # emails per second
DELAY = 300.0  # milliseconds until a provider answers
ANSWERED = 5.0  # seconds, whatever happens
ALIVE = 1.0  # seconds until /health/live has answered
SENDING_AGAIN = 5.0  # seconds
SILENT = (
    15.0  # seconds: heartbeats stop with the database, and no worker is considered dead until all could send one again
)
LOCKED, LOCKED_IN_CI = 70.0, 8.0  # seconds
SPELL, SPELL_IN_CI = 20.0, 6.0  # seconds
UNWRITTEN = "SELECT count(*) FROM mails_mail WHERE status = 'sending' AND subject LIKE ? AND id <> ?"
SENDING = "SELECT id FROM mails_mail WHERE status = 'sending' AND subject LIKE ? LIMIT 1"


def lock_row(run: Run) -> None:
    """Lock the row of one email with an attempt in progress, with another session's `SELECT … FOR UPDATE`, for longer than its lease."""
    run.testbed.configure(delay_ms=DELAY)
    run.testbed.wait_for_dispatchers()
    seconds = LOCKED_IN_CI if run.short else LOCKED
    with run.post_mails(rate=RATE, forgetful=0.0):
        run.wait_until_posted(run.mails // 5)
        with _open_session(run) as psql:
            mail_id = _lock_one(run, psql)
            ends = time.monotonic() + seconds
            most = 0
            while time.monotonic() < ends:
                time.sleep(0.5)
                if time.monotonic() > ends - seconds + ANSWERED:  # those of the first second had to wait for it
                    most = max(most, int(query(run.testbed.database_url, UNWRITTEN, f"{run.subjects}%", mail_id)[0][0]))
            released = time.time_ns()
    run.wait_until_finished()
    run.testbed.configure(delay_ms=0)
    done = next(event for event in run.records.mails[str(mail_id)].events if event.name == "DONE")
    run.report("the row was locked for", seconds, "s")
    run.expect_at_most("other emails being sent at once", most, 2 * RATE)
    run.expect_at_most(
        "the locked email was done after its release within", (done.at_ns - released) / 1e9, SENDING_AGAIN, "s"
    )
    _expect_nothing_unknown(run)


def lock_table(run: Run) -> None:
    """Lock the table of emails with another session's `LOCK TABLE`."""

    def lock(stack: ExitStack) -> None:
        stack.enter_context(_open_session(run)).execute("LOCK TABLE mails_mail")

    _strike(run, lock)


def make_read_only(run: Run) -> None:
    """Make every transaction read-only, as after a failover to a standby."""

    def forbid(stack: ExitStack) -> None:
        _get_postgresql(run).set_read_only("on")
        stack.callback(_get_postgresql(run).set_read_only, "off")

    _strike(run, forbid)


def stop_postgresql(run: Run) -> None:
    """Stop all of PostgreSQL's processes; the kernel still accepts connections for them."""

    def freeze(stack: ExitStack) -> None:
        _get_postgresql(run).freeze()
        stack.callback(_get_postgresql(run).thaw)

    _strike(run, freeze, again=SILENT)


def move_clock(run: Run) -> None:
    """Move PostgreSQL's clock an hour ahead, and an hour back."""
    postgresql = _get_postgresql(run)
    offset = Path(postgresql.log.parent, "clock")
    _set(offset, "+0")
    # The monotonic clock is left alone. Each look reads the file: with a cache, the sessions of one server would have
    # different clocks for a second, and whoever beats by one seems to be dead by the other.
    postgresql.environment = {
        "LD_PRELOAD": find_library("libfaketimeMT.so.1"),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    run.testbed.configure(delay_ms=DELAY)
    try:
        _restart(run)
        with run.post_mails(rate=RATE, forgetful=0.0), _watch_liveness(run):
            for number, jump in enumerate(("+3600", "+0"), start=1):
                run.wait_until_posted(number * run.mails // 3)
                _set(offset, jump)
        finished = run.wait_until_finished()
    finally:
        postgresql.environment = {}
        _restart(run)
    run.testbed.configure(delay_ms=0)
    back = sum(
        event.at_ns < before.at_ns
        for mail in run.records.mails.values()
        for before, event in zip(mail.events, mail.events[1:], strict=False)
    )
    run.expect_at_least("emails with events an hour apart, or dated an hour ahead", _count_ahead(run), 1)
    run.expect_at_most("events dated before the one before them", back, 0)
    run.report("all finished after the last email was submitted", finished, "s")
    _expect_nothing_unknown(run)


def _count_ahead(run: Run) -> int:
    later = time.time_ns() + 1800 * 10**9
    return sum(mail.events[-1].at_ns > later for mail in run.records.mails.values())


def _set(offset: Path, text: str) -> None:
    offset.write_text(text)
    offset.chmod(0o644)


def _restart(run: Run) -> None:
    _get_postgresql(run).stop()
    _get_postgresql(run).start()
    run.testbed.restart()
    run.testbed.wait_for_dispatchers()


def _strike(run: Run, strike: Callable[[ExitStack], None], *, again: float = SENDING_AGAIN) -> None:
    """Inject the failure while emails are submitted; leaving the stack ends it."""
    run.testbed.configure(delay_ms=DELAY)
    run.testbed.wait_for_dispatchers()
    with run.post_mails(rate=RATE, forgetful=0.0) as clients, _watch_liveness(run):
        run.wait_until_posted(run.mails // 4)
        with ExitStack() as stack:
            strike(stack)
            time.sleep(SPELL_IN_CI if run.short else SPELL)
        back = time.time_ns()
    finished = run.wait_until_finished()
    run.testbed.configure(delay_ms=0)
    statuses = clients.answers.statuses
    run.report("answers 503, each a problem document with Retry-After", statuses["503"])
    run.expect_at_most(
        "answers other than 202 and 503", len(clients.answers.each) - statuses["202"] - statuses["503"], 0
    )
    run.expect_at_most("slowest answer", max(answer.seconds for answer in clients.answers.each), ANSWERED, "s")
    run.expect_at_most("sending again after", run.measure_time_to_first_attempt(back), again, "s")
    run.report("all finished after the last email was submitted", finished, "s")
    _expect_nothing_unknown(run)


def _expect_nothing_unknown(run: Run) -> None:
    run.expect_at_most("unknown outcomes", run.unknowns, 0)
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


@contextmanager
def _watch_liveness(run: Run) -> Iterator[None]:
    """Ask `/health/live` twice a second while the block runs, and make goals of its answers."""
    over = threading.Event()
    seconds: list[float] = []

    def keep_asking() -> None:
        while not over.wait(0.5):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", run.testbed.instance.port, timeout=30)
            try:
                connection.request("GET", "/health/live")
                answered = connection.getresponse().status == 200
            except OSError:
                answered = False
            finally:
                connection.close()
            seconds.append(time.monotonic() - began if answered else float("inf"))

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        run.expect_at_most("slowest answer of /health/live", max(seconds, default=0.0), ALIVE, "s")


def _lock_one(run: Run, psql: Any) -> str:
    """Lock an email with an attempt in progress; return its id."""

    def try_one() -> bool:
        psql.execute(SENDING.replace("?", "%s") + " FOR UPDATE SKIP LOCKED", [f"{run.subjects}%"])
        return int(psql.rowcount) == 1

    wait_until(try_one, 60, run.testbed.instance.logs.read_text)
    return str(psql.fetchone()[0])


@contextmanager
def _open_session(run: Run) -> Iterator[Any]:
    """Open another session: a cursor in a transaction that is rolled back at the end."""
    with closing(psycopg2.connect(run.testbed.database_url)) as connection, connection.cursor() as cursor:
        yield cursor


def _get_postgresql(run: Run) -> Postgresql:
    assert run.testbed.postgresql is not None
    return run.testbed.postgresql


SCENARIOS = [
    Scenario("row-locked", "one email's row is locked for 70 s", lock_row, 4500, 200),
    Scenario("table-locked", "the table of emails is locked for 20 s", lock_table, 2000, 150),
    Scenario("postgresql-read-only", "PostgreSQL may only be read for 20 s", make_read_only, 2000, 150),
    Scenario("postgresql-stopped", "PostgreSQL is frozen for 20 s (SIGSTOP)", stop_postgresql, 2000, 150),
    Scenario("clock-jump", "PostgreSQL's clock jumps an hour ahead, and back", move_clock, 2000, 600),
]
