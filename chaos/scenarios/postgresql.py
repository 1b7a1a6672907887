"""PostgreSQL is restarted, crashes, and loses a session: clients are asked to wait, and nothing is lost."""

import time
from collections.abc import Callable
from functools import partial

from chaos.scenario import GUARANTEES, Run, Scenario
from chaos.servers import Postgresql

RATE = 50.0  # emails per second
STRIKES = 3
DOWN, DOWN_IN_CI = 5.0, 1.0  # seconds
SENDING_AGAIN = 5.0  # seconds


def restart(run: Run) -> None:
    """Stop it as an upgrade does, and start it again at once."""
    _strike(run, _restart_server)


def crash(run: Run) -> None:
    """SIGKILL all of its processes, and start it seconds later: it recovers from its log."""
    _strike(run, partial(_crash_server, down=DOWN_IN_CI if run.short else DOWN))


def kill_session(run: Run) -> None:
    """SIGKILL one of its processes: it ends all sessions and recovers by itself."""
    _strike(run, Postgresql.kill_session)


def _restart_server(postgresql: Postgresql) -> None:
    postgresql.stop()
    postgresql.start()


def _crash_server(postgresql: Postgresql, *, down: float) -> None:
    postgresql.kill()
    time.sleep(down)
    postgresql.start()


def _strike(run: Run, strike: Callable[[Postgresql], object]) -> None:
    postgresql = run.testbed.postgresql
    assert postgresql is not None
    strikes = 1 if run.short else STRIKES
    run.testbed.configure(delay_ms=50)
    run.testbed.wait_for_dispatchers()
    back = []
    with run.post_mails(rate=RATE, forgetful=0.0) as clients:
        for number in range(strikes):
            run.wait_until_posted((number + 1) * run.mails // (strikes + 1))
            strike(postgresql)
            back.append(time.time_ns())
    finished = run.wait_until_finished()
    statuses = clients.answers.statuses
    run.report("answers 503, each a problem document with Retry-After", statuses["503"])
    run.expect_at_most(
        "answers other than 202 and 503", len(clients.answers.each) - statuses["202"] - statuses["503"], 0
    )
    run.expect_at_most("sending again after", max(map(run.measure_time_to_first_attempt, back)), SENDING_AGAIN, "s")
    run.report("all finished after the last email was submitted", finished, "s")
    run.report("unknown outcomes", run.unknowns)
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


SCENARIOS = [
    Scenario("postgresql-restarted", "PostgreSQL is restarted under load", restart, 1500, 100, guarantees=GUARANTEES),
    Scenario(
        "postgresql-crashed",
        "PostgreSQL is killed under load, and down for 5 s",
        crash,
        1500,
        100,
        guarantees=GUARANTEES,
    ),
    Scenario("postgresql-session", "one process of PostgreSQL is killed under load", kill_session, 1500, 100),
]
