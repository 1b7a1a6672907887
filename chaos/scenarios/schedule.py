"""kill -9 while thousands of scheduled emails become due: none is sent early, and none is lost."""

import datetime as dt
import math
import time

from chaos.scenario import GUARANTEES, Run, Scenario

SUBMITTED_PER_SECOND = 150.0  # at least; so much time is left until the emails are due
KILLS = (-0.5, 0.3, 1.5)  # seconds after the moment at which all are due
SLOTS_AND_GROUP = 512  # unknown outcomes that the death of a sending process leaves at most
FINISHED_WITHIN = 60.0  # seconds after the last kill


def kill_when_due(run: Run) -> None:
    """Schedule all emails for one moment, and kill everything shortly before it and twice after."""
    run.testbed.configure(delay_ms=50)
    run.testbed.wait_for_dispatchers()
    due = math.ceil(time.time() + 5 + run.mails / SUBMITTED_PER_SECOND)
    run.send_at = dt.datetime.fromtimestamp(due, tz=dt.UTC).isoformat()
    with run.post_mails():
        pass
    run.report("all submitted before they were due", due - time.time(), "s")
    for moment in KILLS:
        time.sleep(max(0.0, due + moment - time.time()))
        run.testbed.kill_all()
    finished = run.wait_until_finished()
    deliveries = run.records.deliveries_by_mail
    arrived = [found[0].at_ns / 1e9 - due for found in deliveries.values()]
    sends = [mail.find_first("SEND").at_ns / 1e9 - due for mail in run.records.mails.values() if mail.count("SEND")]
    run.expect_at_least("first email at a provider after it was due", min(arrived, default=math.inf) * 1000, 0, "ms")
    run.expect_at_least("first SEND after it was due", min(sends, default=math.inf) * 1000, 0, "ms")
    run.expect_at_most("all finished after the last kill", finished, FINISHED_WITHIN, "s")
    run.expect_at_most("unknown outcomes", run.unknowns, len(KILLS) * 2 * SLOTS_AND_GROUP)
    run.report("emails sent twice, each with an unknown outcome on record", run.sent_twice)


SCENARIOS = [
    Scenario(
        "kill-when-due",
        "kill -9 of everything when scheduled emails become due",
        kill_when_due,
        10_000,
        100,
        legs=("embedded", "full"),
        guarantees=GUARANTEES,
    )
]
