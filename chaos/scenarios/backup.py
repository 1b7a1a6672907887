"""An old backup is restored: emails wait in it that were sent long ago, so nothing may be sent before someone has checked."""

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from chaos.scenario import Run, Scenario
from chaos.servers import find_program
from chaos.testbed import Testbed
from mercury.tests.instance import wait_until

SILENCE, SILENCE_IN_CI = 20.0, 3.0  # seconds that the restored instance is watched for


def restore_old_backup(run: Run) -> None:
    """Back up while emails wait, send them, restore, start paused, cancel what was sent, resume."""
    testbed = run.testbed
    testbed.wait_for_dispatchers()
    testbed.configure(answer="503")
    with run.post_mails(forgetful=0.0):
        pass
    copy = Path(testbed.instance.environment["MERCURY_DATA"]).parent / "backup"
    _save_backup(testbed, copy)
    testbed.configure(answer="ok")
    run.wait_until_finished()
    sent = _count_deliveries(run)
    testbed.kill()
    _restore(testbed, copy)
    with _start_paused(testbed):
        testbed.start()
        testbed.wait_for_dispatchers()
        run.report("emails waiting in the backup that were sent since", run.count_unfinished())
        answer = testbed.instance.post(subject=f"{run.subjects}new")
        run.expect_at_most("answers other than 202 while sending is paused", int(answer.status_code != 202), 0)
        time.sleep(SILENCE_IN_CI if run.short else SILENCE)
        run.expect_at_most("attempts before sending is resumed", _count_deliveries(run) - sent, 0)
        _cancel_what_was_sent(run)
        testbed.instance.manage("resume", "--all", "--yes")
        wait_until(lambda: testbed.instance.is_done(answer), 60, testbed.instance.logs.read_text)
    run.wait_until_finished()
    run.expect_at_most(
        "attempts after sending was resumed, except the new email's", _count_deliveries(run) - sent - 1, 0
    )
    run.expect_at_most("emails sent twice", run.sent_twice, 0)
    cancelled = sum(mail.status == "cancelled" for mail in run.records.mails.values())
    run.expect_at_least("emails cancelled on record, with who and why", cancelled, run.mails)


def _count_deliveries(run: Run) -> int:
    providers = run.testbed.providers.values()
    return sum(
        mail["subject"].startswith(run.subjects) for provider in providers for mail in provider.read_deliveries()
    )


def _cancel_what_was_sent(run: Run) -> None:
    """Cancel all emails that wait but the new one, as an operator with the providers' lists does."""
    waiting = [
        mail["id"]
        for state in ("queued", "waiting")
        for mail in map(
            json.loads, run.testbed.instance.manage("mails", "--json", "--limit=10000", f"--state={state}").splitlines()
        )
        if not mail["subject"].endswith("new")
    ]
    run.testbed.instance.manage("cancel", "--yes", "--note=sent before the restore", *waiting)


@contextmanager
def _start_paused(testbed: Testbed) -> Iterator[None]:
    testbed.instance.environment["MERCURY_START_PAUSED"] = "true"
    try:
        yield
    finally:
        del testbed.instance.environment["MERCURY_START_PAUSED"]


def _save_backup(testbed: Testbed, copy: Path) -> None:
    if testbed.leg == "full":
        with copy.open("wb") as file:
            subprocess.run([find_program("pg_dump"), testbed.database_url], stdout=file, check=True)
        return
    with closing(sqlite3.connect(_get_database_file(testbed))) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _restore(testbed: Testbed, copy: Path) -> None:
    if testbed.leg == "full":
        with closing(psycopg2.connect(testbed.database_url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        psql = [find_program("psql"), "--quiet", "--set=ON_ERROR_STOP=1", f"--file={copy}", testbed.database_url]
        subprocess.run(psql, stdout=subprocess.DEVNULL, check=True)
        return
    for end in ("-wal", "-shm"):
        Path(f"{_get_database_file(testbed)}{end}").unlink(missing_ok=True)
    shutil.copyfile(copy, _get_database_file(testbed))


def _get_database_file(testbed: Testbed) -> str:
    return urlsplit(testbed.database_url).path


SCENARIOS = [
    Scenario(
        "old-backup",
        "an old backup is restored, and nothing is sent twice",
        restore_old_backup,
        500,
        40,
        legs=("embedded", "full"),
    )
]
