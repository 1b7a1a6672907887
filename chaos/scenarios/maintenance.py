"""A periodic task that takes long: emails leave as before, and those of a dead worker are recovered."""

import time
from pathlib import Path

from chaos.scenario import Run, Scenario, compute_percentile
from mercury.tests.instance import wait_until

RATE = 20.0  # emails per second
LASTS, LASTS_IN_CI = 30.0, 4.0  # seconds
SLOWER = 0.5  # seconds, for a machine that is busy with other things
RECOVERED, RECOVERED_IN_CI = 15.0, 10.0  # seconds after a kill: silence of 10 s, and a heartbeat of whoever sweeps
DELAY = 300.0  # milliseconds until a provider answers, so that a killed worker has requests in progress


def hang_task(run: Run) -> None:
    """Let a periodic task of every process hang, and kill one of them during that."""
    run.testbed.wait_for_dispatchers()
    flag = Path(run.testbed.instance.environment["MERCURY_DATA"], "slow-task")
    lasts = LASTS_IN_CI if run.short else LASTS
    with run.post_mails(rate=RATE, forgetful=0.0):
        run.wait_until_posted(run.mails // 3)
        before = time.time_ns()
        flag.touch()
        _wait_until_all_hang(run, flag)
        began = time.time_ns()
        time.sleep(lasts)
        ended = time.time_ns()
        run.testbed.configure(delay_ms=DELAY)
        time.sleep(2 * DELAY / 1000)
        killed = time.monotonic()
        if run.testbed.leg == "full":
            run.testbed.kill_worker(0)
        else:
            run.testbed.kill_web()
        run.wait_for(lambda: run.testbed.count_leased_by_dead() == 0)
        recovered = time.monotonic() - killed
        flag.unlink()
    run.testbed.configure(delay_ms=0)
    run.wait_until_finished()
    usual, during = _measure_delays(run, 0, before), _measure_delays(run, began, ended)
    run.report("the task lasted", lasts, "s")
    run.report("emails during the task", len(during))
    for name, delays in (("without", usual), ("during", during)):
        run.report(f"median from 202 to the provider {name}", 1000 * compute_percentile(delays, 50), "ms")
    run.expect_at_most(
        "99 of 100 from 202 to the provider during the task",
        1000 * compute_percentile(during, 99),
        1000 * (compute_percentile(usual, 99) + SLOWER),
        "ms",
    )
    run.report("99 of 100 without", 1000 * compute_percentile(usual, 99), "ms")
    run.expect_at_most(
        "emails of a killed process recovered after", recovered, RECOVERED_IN_CI if run.short else RECOVERED, "s"
    )


def _wait_until_all_hang(run: Run, flag: Path) -> None:
    """Wait until the task has begun in each process that sends."""

    def do_all_hang() -> bool:
        return len([*flag.parent.glob(f"{flag.name}-*")]) >= len(run.testbed.dispatchers)

    wait_until(do_all_hang, 60, run.testbed.instance.logs.read_text)


def _measure_delays(run: Run, began: int, ended: int) -> list[float]:
    """Return the seconds from the 202 to the provider for emails that were answered between these moments."""
    assert run.clients is not None
    arrived = {mail_id: found[0].at_ns for mail_id, found in run.records.deliveries_by_mail.items()}
    return [
        (arrived[answer.mail_id] - answer.answered) / 1e9
        for answer in run.clients.client_records
        if answer.mail_id in arrived and began <= answer.answered < ended
    ]


SCENARIOS = [
    Scenario(
        "slow-task",
        "a periodic task hangs for 30 s in every process, and one of them is killed",
        hang_task,
        1800,
        200,
        legs=("embedded", "full"),
        plant="slow-task",
    )
]
