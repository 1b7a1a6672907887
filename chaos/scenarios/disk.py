"""The disk is full for a minute: clients are asked to wait, and emails are sent once there is room again."""

import time

from chaos.scenario import Run, Scenario
from chaos.servers import ProgramMissing
from chaos.testbed import Testbed
from mercury.tests.instance import wait_until

RATE = 50.0  # emails per second
FULL, FULL_IN_CI = 60.0, 3.0  # seconds
SENDING_AGAIN = 5.0  # seconds
DISK = 250  # MB
NEARLY = 32  # MB that are free before


def fill_disk(run: Run) -> None:
    """Fill the disk that holds the data folder, its logs and PostgreSQL's cluster, to the last byte."""
    testbed = run.testbed
    if testbed.disk is None:
        raise ProgramMissing("This testbed has no disk of its own to be filled.")
    testbed.configure(delay_ms=50)
    testbed.wait_for_dispatchers()
    testbed.disk.fill(but=NEARLY)  # the rest is filled at once, however many emails are submitted before
    with run.post_mails(rate=RATE, forgetful=0.0) as clients:
        run.wait_until_posted(run.mails // 4)
        ends = time.monotonic() + (FULL_IN_CI if run.short else FULL)
        while time.monotonic() < ends:  # a checkpoint makes room, too
            testbed.disk.fill()
            time.sleep(0.1)
        testbed.disk.make_room()
        ended = _restart_postgresql(testbed)
        room = time.time_ns()
    finished = run.wait_until_finished()
    testbed.configure(delay_ms=0)
    statuses = clients.answers.statuses
    run.report("answers 503, each a problem document with Retry-After", statuses["503"])
    run.expect_at_most(
        "answers other than 202 and 503", len(clients.answers.each) - statuses["202"] - statuses["503"], 0
    )
    if testbed.leg == "full":
        run.report("PostgreSQL had ended by itself and was started again", ended)
    run.expect_at_most(
        "sending again after there was room", run.measure_time_to_first_attempt(room), SENDING_AGAIN, "s"
    )
    run.report("all finished after the last email was submitted", finished, "s")
    run.report("unknown outcomes", run.unknowns)
    run.expect_at_most(
        "emails sent twice without an unknown outcome on record", max(0, run.sent_twice - run.unknowns), 0
    )


def _restart_postgresql(testbed: Testbed) -> int:
    """Wait until PostgreSQL answers. Start it again if it had ended for lack of room, as its supervisor would; return 1 then."""
    postgresql = testbed.postgresql
    if postgresql is None or postgresql.process is None:
        return 0
    process = postgresql.process
    wait_until(lambda: postgresql.is_ready() or process.poll() is not None, 60, postgresql.log.read_text)
    if process.poll() is None:
        return 0
    postgresql.start()
    return 1


SCENARIOS = [
    Scenario("disk-full", "the disk is full for 60 s", fill_disk, 1500, 200, legs=("embedded", "full"), disk=DISK)
]
