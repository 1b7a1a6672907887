"""kill -9 of workers that send up to an account's daily quota: it never sends more, and the other account sends the rest."""

import math

from chaos.database import query
from chaos.scenario import Run, Scenario

SLOTS = 256  # calls that a killed worker leaves open at most
PART = 0.25  # of the run's emails may be sent through the account, which without a quota would get half of them
NO_LIMIT = "none"


def kill_at_quota(run: Run) -> None:
    """Kill one worker, then the other, while an account uses its quota up; in embedded mode the web process, twice."""
    quota = math.ceil(run.mails * PART)
    run.testbed.configure(delay_ms=200)
    run.testbed.instance.manage("providers", "quota", "olympus", "--daily", str(quota))
    run.testbed.wait_for_dispatchers()
    kill = run.testbed.kill_worker if run.testbed.leg == "full" else lambda _: run.testbed.kill_web()
    with run.post_mails(rate=max(50, run.mails / 40)):
        for number in range(2):
            run.wait_until_posted((number + 1) * quota)
            kill(number)
    run.wait_until_finished()
    used = _read_used(run)
    run.testbed.instance.manage("providers", "quota", "olympus", "--daily", NO_LIMIT)
    attempts = [attempt for mail in run.records.mails.values() for attempt in mail.attempts]
    begun = sum(attempt.account == "olympus" and attempt.state in {"accepted", "unknown"} for attempt in attempts)
    arrived = sum(delivery.account == "olympus" for delivery in run.records.deliveries)
    run.expect_at_most("emails that arrived at the account with the quota", arrived, quota)
    run.expect_at_most("attempts at it, accepted or with an unknown outcome", begun, quota)
    run.expect_at_least("used of the quota, by Mercury's count", used, quota)
    run.expect_at_most("attempts that the count lacks, or has twice", abs(used - begun), 0)
    run.expect_at_most("unknown outcomes", run.unknowns, 2 * 2 * SLOTS)
    run.report("emails sent twice, each with an unknown outcome on record", run.sent_twice)


def _read_used(run: Run) -> int:
    """Return what has been used of the quota today."""
    sql = "SELECT quota_day_used FROM providers_breaker JOIN providers_account ON providers_account.id = account_id WHERE name = ?"
    return int(query(run.testbed.database_url, sql, "olympus")[0][0])


SCENARIOS = [
    Scenario(
        "kill-at-quota",
        "kill -9 of workers while an account reaches its daily quota",
        kill_at_quota,
        5000,
        150,
        legs=("embedded", "full"),
    )
]
