"""The disk is full for a minute: clients are asked for patience, and mails leave once there is room again."""

import time

from chaos.scenario import Run, Scenario
from chaos.servers import ProgramMissing
from chaos.testbed import Testbed
from mercury.tests.instance import until

RATE = 50.0  # mails a second
FULL, FULL_IN_CI = 60.0, 3.0  # seconds
SENDING_AGAIN = 5.0  # seconds
DISK = 250  # MB
NEARLY = 32  # MB that are free before


def full(run: Run) -> None:
    """No byte is free on the disk that holds the data folder, its logs and PostgreSQL's cluster."""
    testbed = run.testbed
    if testbed.disk is None:
        raise ProgramMissing("This testbed has no disk of its own to be filled.")
    testbed.behave(delay_ms=50)
    testbed.await_dispatchers()
    testbed.disk.fill(but=NEARLY)  # what is left takes no time to fill, however many mails come in meanwhile
    with run.posting(rate=RATE, forgetful=0.0) as clients:
        run.until_posted(run.mails // 4)
        ends = time.monotonic() + (FULL_IN_CI if run.short else FULL)
        while time.monotonic() < ends:  # a checkpoint makes room, too
            testbed.disk.fill()
            time.sleep(0.1)
        testbed.disk.make_room()
        ended = _restart_postgresql(testbed)
        room = time.time_ns()
    settled = run.settle()
    testbed.behave(delay_ms=0)
    statuses = clients.answers.statuses
    run.figure("answers 503, each a problem document with Retry-After", statuses["503"])
    run.at_most("answers other than 202 and 503", len(clients.answers.each) - statuses["202"] - statuses["503"], 0)
    if testbed.leg == "full":
        run.figure("PostgreSQL had ended by itself and was started again", ended)
    run.at_most("sending again after there was room", run.first_call_after(room), SENDING_AGAIN, "s")
    run.figure("settled after the last mail was handed in", settled, "s")
    run.figure("unknown outcomes", run.unknowns)
    run.at_most("mails taken twice without a doubt on record", max(0, run.taken_twice - run.unknowns), 0)


def _restart_postgresql(testbed: Testbed) -> int:
    """Wait until PostgreSQL answers; started again if it had ended for want of room, as its supervisor would. 1 if so."""
    postgresql = testbed.postgresql
    if postgresql is None or postgresql.process is None:
        return 0
    process = postgresql.process
    until(lambda: postgresql.answers() or process.poll() is not None, 60, postgresql.log.read_text)
    if process.poll() is None:
        return 0
    postgresql.start()
    return 1


SCENARIOS = [Scenario("disk-full", "the disk is full for 60 s", full, 1500, 200, legs=("embedded", "full"), disk=DISK)]
