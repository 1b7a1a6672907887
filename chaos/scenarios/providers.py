"""All providers are down for minutes: emails wait untouched, and are sent at once when one is back."""

import time
from itertools import pairwise

from chaos.database import query
from chaos.records import convert_to_ns
from chaos.scenario import Run, Scenario
from chaos.testbed import Testbed

OUTAGE, OUTAGE_IN_CI = 300.0, 4.0  # seconds
PERIOD, PERIOD_IN_CI = 10.0, 1.0  # seconds that a breaker is open before the first probe, the shortest of its periods
OPENING = 1.0  # seconds in which attempts that were planned before a breaker opened may still begin
SENT_WITHIN = 60.0  # seconds
WRITES = 2.0  # rows per email
AS_IT_COMES = {"MERCURY_RETRY_BACKOFF": "30s,2m,10m,30m,1h,2h"}
# What intake writes: an email with its body, recipient, idempotency key and first events.
AT_INTAKE = ("NEW", "ACCEPTED", "ENQUEUE")
ROWS_AT_INTAKE = 4


def stop_all_providers(run: Run) -> None:
    """Answer every request with 503, from before the first email until minutes after the last one."""
    testbed = run.testbed
    testbed.wait_for_dispatchers()
    calls_before = {name: len(provider.read_calls()) for name, provider in testbed.providers.items()}
    before, down = _count_rows_written(testbed), time.time_ns()
    testbed.configure(answer="503")
    with run.post_mails(forgetful=0.0):
        pass
    time.sleep(max(0.0, (OUTAGE_IN_CI if run.short else OUTAGE) - (time.time_ns() - down) / 1e9))
    written = _count_rows_written(testbed) - before
    back = time.time_ns()
    calls = {name: provider.read_calls()[calls_before[name] :] for name, provider in testbed.providers.items()}
    testbed.configure(answer="ok")
    all_sent = run.wait_until_finished()
    run.report("the providers were down for", (back - down) / 1e9, "s")
    run.expect_at_most("DISCARDED", sum(mail.status == "discarded" for mail in run.records.mails.values()), 0)
    period = PERIOD_IN_CI if run.short else PERIOD
    probes = {name: _find_probes(testbed, name, [began for began, _ in made], down) for name, made in calls.items()}
    run.report("probes of all accounts", sum(map(len, probes.values())))
    run.expect_at_most(
        "probes that came too soon after another", sum(_count_too_soon(each, period) for each in probes.values()), 0
    )
    run.report("emails tried", sum(len(mail.attempts) > 1 for mail in run.records.mails.values()))
    if testbed.leg == "full" and not run.short:
        run.expect_at_most("rows written per email, after intake's", _count_rows_beyond_intake(run, written), WRITES)
    run.expect_at_most("all sent after the providers were back", all_sent, SENT_WITHIN, "s")
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


def _find_probes(testbed: Testbed, account: str, began: list[int], down: int) -> list[int]:
    """Return when requests began that were made while the account's breaker was open."""
    sql = (
        "SELECT change.created_at FROM providers_breakerchange AS change JOIN providers_account AS account"
        " ON account.id = change.account_id WHERE account.name = ? AND change.state = 'open' ORDER BY change.id"
    )
    opened = [convert_to_ns(moment) for (moment,) in query(testbed.database_url, sql, account)]
    first = next(moment for moment in opened if moment >= down)
    return sorted(moment for moment in began if moment > first + OPENING * 1e9)


def _count_too_soon(probes: list[int], period: float) -> int:
    return sum(later - earlier < period * 0.9e9 for earlier, later in pairwise(probes))


def _count_rows_written(testbed: Testbed) -> int:
    """Return the rows inserted, changed or deleted so far: PostgreSQL's own count, which may be 10 s old."""
    if testbed.leg != "full":
        return 0
    sql = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
    return int(query(testbed.database_url, sql)[0][0])


def _count_rows_beyond_intake(run: Run, written: int) -> float:
    mails = run.records.mails.values()
    at_intake = sum(ROWS_AT_INTAKE + sum(mail.count(name) for name in AT_INTAKE) for mail in mails)
    return (written - at_intake) / len(mails)


SCENARIOS = [
    Scenario(
        "providers-down",
        "all providers are down for 5 minutes",
        stop_all_providers,
        5000,
        100,
        legs=("embedded", "full"),
        settings=AS_IT_COMES,
    )
]
