"""PostgreSQL commits, and its answer never arrives: the client cannot know."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from chaos.proxy import Proxy
from chaos.scenario import GUARANTEES, Run, Scenario
from mercury.tests.instance import kill

SHARE = 0.1  # of all COMMITs


def lose_commits_of_web(run: Run) -> None:
    """Let the web process lose answers: clients get a 503, and repeat with the same key."""
    with _insert_proxy(run, web=True) as proxy:
        _strike(run, proxy)
    answers = run.clients.answers.statuses if run.clients else {}
    run.expect_at_least("answers 503 for stored emails", answers["503"], 1)


def lose_commits_of_workers(run: Run) -> None:
    """Let the workers lose answers: of claims, of attempts about to be made, of results."""
    with _insert_proxy(run, web=False) as proxy:
        _strike(run, proxy)
    run.expect_at_most("unknown outcomes", run.unknowns, 0)
    run.report("results that came late", sum(mail.count("LATE RESULT") for mail in run.records.mails.values()))


def _strike(run: Run, proxy: Proxy) -> None:
    run.testbed.configure(delay_ms=50)
    proxy.lose(SHARE)
    with run.post_mails(rate=25 if run.short else 50):
        pass
    finished = run.wait_until_finished()
    proxy.lose(0.0)
    run.expect_at_least("COMMITs whose answer was lost", proxy.lost, 1)
    run.report("all finished after the last email", finished, "s")
    run.expect_at_most("emails sent twice", run.sent_twice, 0)


@contextmanager
def _insert_proxy(run: Run, *, web: bool) -> Iterator[Proxy]:
    """Put a proxy between web or workers and PostgreSQL, and remove it at the end."""
    testbed = run.testbed
    proxy = Proxy(urlsplit(testbed.database_url).port or 5432)
    through = {
        "DATABASE_URL": testbed.database_url.replace(f":{urlsplit(testbed.database_url).port}/", f":{proxy.port}/")
    }
    try:
        if web:
            testbed.web_settings |= through
            testbed.kill_web()
        else:
            for settings in testbed.worker_settings:
                settings |= through
            _replace_workers(run)
        yield proxy
    finally:
        testbed.web_settings.pop("DATABASE_URL", None)
        for settings in testbed.worker_settings:
            settings.pop("DATABASE_URL", None)
        if web:
            testbed.kill_web()
        else:
            _replace_workers(run)
        proxy.close()


def _replace_workers(run: Run) -> None:
    for number, worker in enumerate(run.testbed.workers):
        kill(worker)
        run.testbed.start_worker(number)
    run.testbed.wait_for_dispatchers()


SCENARIOS = [
    Scenario(
        "commit-lost-web", "the answer to COMMIT is lost on the way to the web process", lose_commits_of_web, 2000, 60
    ),
    Scenario(
        "commit-lost-worker",
        "the answer to COMMIT is lost on the way to workers",
        lose_commits_of_workers,
        2000,
        60,
        guarantees=GUARANTEES,
    ),
]
