"""Failing providers: one hangs, one flaps, answers get lost."""

import threading
import time
from collections.abc import Sequence

from chaos.database import query
from chaos.records import MailOnRecord, convert_to_ns
from chaos.scenario import AT_MOST_ONCE, GUARANTEES, Run, Scenario

EDGE = 500_000_000  # nanoseconds after a breaker opened in which attempts may begin that were planned before
NOISE = 500.0  # milliseconds that may be lost where other tests share the machine


def hang_one_account(run: Run) -> None:
    """Submit half of the emails normally, the other half while one account never answers."""
    run.testbed.configure(delay_ms=50)
    run.testbed.wait_for_dispatchers()
    with run.post_mails(rate=40 if run.short else 50):
        run.wait_until_posted(run.mails // 2)
        run.testbed.providers["olympus"].configure(answer="hang")
    run.wait_until_finished()
    run.testbed.configure(answer="ok", delay_ms=0)
    half = run.mails // 2
    numbered = {int(mail.subject.rpartition("-")[2]): mail for mail in run.records.mails.values()}
    normal = _measure_p95(run, [mail for number, mail in numbered.items() if half // 5 <= number < half])
    hanging = _measure_p95(
        run, [mail for number, mail in numbered.items() if number >= half and _is_only_tried_by(mail, "hades")]
    )
    run.report(
        "emails sent to the account that hangs",
        sum(not _is_only_tried_by(mail, "hades") for number, mail in numbered.items() if number >= half),
    )
    run.report("p95 from stored to the provider's socket, normally", normal, "ms")
    bound = max(2 * normal, NOISE) if run.short else 2 * normal
    run.expect_at_most("p95 of the others while one account hangs", hanging, bound, "ms")


def _is_only_tried_by(mail: MailOnRecord, account: str) -> bool:
    return {attempt.account for attempt in mail.attempts} == {account}


def _measure_p95(run: Run, mails: Sequence[MailOnRecord]) -> float:
    """Return the 95th percentile of the milliseconds from ACCEPTED to the arrival at a provider."""
    deliveries = run.records.deliveries_by_mail
    times = sorted(
        (deliveries[mail.id][0].at_ns - next(event.at_ns for event in mail.events if event.name == "ACCEPTED")) / 1e6
        for mail in mails
        if mail.id in deliveries
    )
    return times[len(times) * 95 // 100]


def flap_account(run: Run) -> None:
    """Let one account refuse everything, and recover, every few seconds."""
    spell = 1.5 if run.short else 4.0
    olympus = run.testbed.providers["olympus"]
    run.testbed.configure(delay_ms=100)
    began = time.time_ns()
    run.testbed.instance.manage(
        "providers", "breaker", "olympus", "auto"
    )  # forgets the attempts of an earlier scenario
    run.testbed.wait_for_dispatchers()
    over = threading.Event()

    def flap() -> None:
        while not over.is_set():
            olympus.configure(answer="503")
            over.wait(spell)
            olympus.configure(answer="ok")
            over.wait(spell)

    thread = threading.Thread(target=flap)
    with run.post_mails(rate=50):
        thread.start()
    over.set()
    thread.join()
    olympus.configure(answer="ok")
    run.wait_until_finished()
    run.testbed.configure(delay_ms=0)
    probes = _find_probes(run, olympus.read_calls(), since=began)
    run.expect_at_least("times that the breaker opened", len(probes), 1)
    run.report("probes", sum(len(calls) for calls in probes))
    run.expect_at_most("most probes at once", max((_count_most_at_once(calls) for calls in probes), default=0), 1)
    run.expect_at_most("unknown outcomes", run.unknowns, 0)


def _find_probes(run: Run, calls: Sequence[tuple[int, int]], *, since: int) -> list[list[tuple[int, int]]]:
    """Return for each time that the account's breaker was open or half-open when its requests began and ended.

    By the provider's own list of calls: a call that a closed breaker let through reaches it after the change was
    written, while Mercury dates it by the beginning of its claim, which may lie before.
    """
    rows = query(
        run.testbed.database_url,
        "SELECT providers_breakerchange.created_at, state FROM providers_breakerchange JOIN providers_account"
        " ON providers_account.id = account_id WHERE name = 'olympus' ORDER BY providers_breakerchange.id",
    )
    spells, opened = [], None
    for at, state in ((convert_to_ns(created_at), state) for created_at, state in rows):
        if at < since:
            continue
        if state == "open" and opened is None:
            opened = at
        elif state == "closed" and opened is not None:
            spells.append([call for call in calls if opened + EDGE < call[0] < at])
            opened = None
    if opened is not None:  # it ended before the account was well again
        spells.append([call for call in calls if opened + EDGE < call[0]])
    return spells


def _count_most_at_once(calls: Sequence[tuple[int, int]]) -> int:
    return max((sum(began <= at < ended for began, ended in calls) for at, _ in calls), default=0)


def lose_answers(run: Run) -> None:
    """Let the providers accept some requests and break the connection before the answer, and let some hang."""
    mix = {"reset-after": 0.2, "hang": 0.05} if run.short else {"reset-after": 0.05, "hang": 0.02}
    run.testbed.configure(mix=mix, delay_ms=20)
    run.testbed.wait_for_dispatchers()
    with run.post_mails(rate=50 if run.short else 100):
        pass
    run.wait_until_finished()
    run.testbed.configure(mix={}, delay_ms=0)
    run.report("unknown outcomes", run.unknowns)
    if run.delivery_guarantee == AT_MOST_ONCE:
        run.expect_at_most("emails sent twice", run.sent_twice, 0)
        run.report("held", sum(mail.status == "held" for mail in run.records.mails.values()))
    else:
        run.report("emails sent twice, each with an unknown outcome on record", run.sent_twice)


SCENARIOS = [
    Scenario("one-account-hangs", "one account hangs, the others go on", hang_one_account, 4000, 160),
    Scenario("flapping", "an account that comes and goes: never two probes at once", flap_account, 6000, 250),
    Scenario(
        "lost-answers",
        "answers lost 5 %, hangs 2 %",
        lose_answers,
        5000,
        60,
        legs=("embedded", "full"),
        guarantees=GUARANTEES,
    ),
]
