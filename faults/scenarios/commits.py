"""PostgreSQL commits, and its answer never arrives: whoever asked cannot know."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from faults.proxy import Proxy
from faults.scenario import POLICIES, Run, Scenario
from mercury.tests.house import kill

SHARE = 0.1  # of all COMMITs


def on_web(run: Run) -> None:
    """The web process loses answers: clients get a 503, and repeat with the same key."""
    with _proxy(run, web=True) as proxy:
        _strike(run, proxy)
    answers = run.clients.answers.statuses if run.clients else {}
    run.at_least("answers 503 for mails that were stored", answers["503"], 1)


def on_worker(run: Run) -> None:
    """The workers lose answers: of claims, of attempts about to be made, of results."""
    with _proxy(run, web=False) as proxy:
        _strike(run, proxy)
    run.at_most("unknown outcomes", run.unknowns, 0)
    run.figure("results that came late", sum(mail.count("LATE RESULT") for mail in run.ledgers.mails.values()))


def _strike(run: Run, proxy: Proxy) -> None:
    run.rig.behave(delay_ms=50)
    proxy.lose(SHARE)
    with run.posting(rate=25 if run.short else 50):
        pass
    settled = run.settle()
    proxy.lose(0.0)
    run.at_least("COMMITs whose answer was lost", proxy.lost, 1)
    run.figure("all settled after the last mail", settled, "s")
    run.at_most("mails taken twice", run.taken_twice, 0)


@contextmanager
def _proxy(run: Run, *, web: bool) -> Iterator[Proxy]:
    """Web or workers on the other side of a proxy, and back again at the end."""
    rig = run.rig
    proxy = Proxy(urlsplit(rig.database_url).port or 5432)
    through = {"DATABASE_URL": rig.database_url.replace(f":{urlsplit(rig.database_url).port}/", f":{proxy.port}/")}
    try:
        if web:
            rig.web_settings |= through
            rig.kill_web()
        else:
            for settings in rig.worker_settings:
                settings |= through
            _renew_workers(run)
        yield proxy
    finally:
        rig.web_settings.pop("DATABASE_URL", None)
        for settings in rig.worker_settings:
            settings.pop("DATABASE_URL", None)
        if web:
            rig.kill_web()
        else:
            _renew_workers(run)
        proxy.close()


def _renew_workers(run: Run) -> None:
    for number, worker in enumerate(run.rig.workers):
        kill(worker)
        run.rig.start_worker(number)
    run.rig.await_drains()


SCENARIOS = [
    Scenario("commit-lost-web", "the answer to COMMIT is lost on the way to the web process", on_web, 2000, 60),
    Scenario(
        "commit-lost-worker",
        "the answer to COMMIT is lost on the way to workers",
        on_worker,
        2000,
        60,
        policies=POLICIES,
    ),
]
