"""Everything through pgbouncer in transaction mode, before a PostgreSQL whose sessions are few and not in UTC."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import requests

from chaos.database import query
from chaos.scenario import Run, Scenario
from chaos.servers import Pgbouncer
from chaos.testbed import Testbed

RATE = 50.0  # emails per second
SESSIONS = 5  # of PostgreSQL, for all that Mercury does
REFUSED = 0.2  # of the requests, so that emails wait for their next round
ELSEWHERE, UTC = "America/St_Johns", "UTC"  # half an hour off every whole one
PAGES = ("", "mails/mail/", "mails/apikey/", "providers/account/", "auth/user/")
PASSWORD = "a long word for operators"


def use_pgbouncer(run: Run) -> None:
    """Run intake, dispatch, sweeper, API and admin, while a worker is killed and some requests are refused."""
    testbed = run.testbed
    with _insert_pgbouncer(testbed):
        testbed.configure(mix={"503": REFUSED}, delay_ms=20)
        with run.post_mails(rate=RATE, forgetful=0.0) as clients:
            run.wait_until_posted(run.mails // 2)
            testbed.kill_worker(0)
            most = _count_sessions(testbed)
        finished = run.wait_until_finished()
        testbed.configure(mix={}, delay_ms=0)
        pages = _open_pages(testbed)
        run.records  # noqa: B018 (read while the API still speaks through pgbouncer)
    statuses = clients.answers.statuses
    run.expect_at_most("answers other than 202", len(clients.answers.each) - statuses["202"], 0)
    run.expect_at_most("sessions of PostgreSQL", most, SESSIONS)
    run.report("all finished after the last email was submitted", finished, "s")
    run.expect_at_least("pages of the admin, each answered 200", pages.count(200), len(PAGES))


@contextmanager
def _insert_pgbouncer(testbed: Testbed) -> Iterator[None]:
    """Restart everything with pgbouncer in between, and without it at the end."""
    assert testbed.postgresql is not None
    environment = testbed.instance.environment
    direct = environment["DATABASE_URL"]
    pool = Pgbouncer(testbed.postgresql, database_url=direct, sessions=SESSIONS)
    try:
        _set_time_zone(direct, ELSEWHERE)
        environment["DATABASE_URL"] = pool.url
        testbed.web_settings["DEBUG"] = "true"  # serves the admin's styles without collectstatic
        testbed.restart()
        testbed.wait_for_dispatchers()
        yield
    finally:
        testbed.kill()
        pool.kill()
        _set_time_zone(direct, UTC)
        environment["DATABASE_URL"] = direct
        del testbed.web_settings["DEBUG"]
        testbed.start()


def _set_time_zone(database_url: str, zone: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            cursor.execute(f'ALTER DATABASE "{cursor.fetchone()[0]}" SET timezone = %s', [zone])


def _count_sessions(testbed: Testbed) -> int:
    """Return the number of PostgreSQL's client sessions, without this one."""
    sql = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return int(query(testbed.database_url, sql)[0][0])


def _open_pages(testbed: Testbed) -> list[int]:
    """Log in as an operator and return the statuses of some admin pages."""
    testbed.instance.environment |= {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    testbed.instance.manage("createsuperuser", "--noinput", "--username=hermes", "--email=hermes@olimpus.com")
    site = f"http://127.0.0.1:{testbed.instance.port}/"
    with requests.Session() as browser:
        form = browser.get(f"{site}login/", timeout=30).text
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token is not None
        fields = {"username": "hermes", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        browser.post(f"{site}login/", fields, timeout=30, headers={"Referer": f"{site}login/"})
        return [browser.get(f"{site}admin/{page}", timeout=30, allow_redirects=False).status_code for page in PAGES]


SCENARIOS = [Scenario("pgbouncer", "all of it through pgbouncer in transaction mode", use_pgbouncer, 1500, 80)]
