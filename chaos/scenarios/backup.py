"""An old back-up is restored: it believes that mails wait which have long been sent, so nothing may leave unseen."""

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
from chaos.servers import program
from chaos.testbed import Testbed
from mercury.tests.instance import until

SILENCE, SILENCE_IN_CI = 20.0, 3.0  # seconds that the restored instance is watched for


def restore_old_backup(run: Run) -> None:
    """Back up while emails wait, send them, restore, start paused, cancel what was sent, resume."""
    testbed = run.testbed
    testbed.await_dispatchers()
    testbed.behave(answer="503")
    with run.posting(forgetful=0.0):
        pass
    copy = Path(testbed.instance.environment["MERCURY_DATA"]).parent / "back-up"
    _back_up(testbed, copy)
    testbed.behave(answer="ok")
    run.settle()
    taken = _taken(run)
    testbed.kill()
    _restore(testbed, copy)
    with _starting_paused(testbed):
        testbed.start()
        testbed.await_dispatchers()
        run.figure("mails that wait in the back-up and were sent since", run.in_hand())
        answer = testbed.instance.post(subject=f"{run.subjects}new")
        run.at_most("answers other than 202 while sending is paused", int(answer.status_code != 202), 0)
        time.sleep(SILENCE_IN_CI if run.short else SILENCE)
        run.at_most("calls before sending is resumed", _taken(run) - taken, 0)
        _cancel_what_was_sent(run)
        testbed.instance.manage("resume", "--all", "--yes")
        until(lambda: testbed.instance.is_done(answer), 60, testbed.instance.logs.read_text)
    run.settle()
    run.at_most("calls after sending was resumed, the new email's apart", _taken(run) - taken - 1, 0)
    run.at_most("mails taken twice", run.taken_twice, 0)
    cancelled = sum(mail.status == "cancelled" for mail in run.records.mails.values())
    run.at_least("mails on record as cancelled, with who and why", cancelled, run.mails)


def _taken(run: Run) -> int:
    providers = run.testbed.providers.values()
    return sum(mail["subject"].startswith(run.subjects) for provider in providers for mail in provider.taken())


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
def _starting_paused(testbed: Testbed) -> Iterator[None]:
    testbed.instance.environment["MERCURY_START_PAUSED"] = "true"
    try:
        yield
    finally:
        del testbed.instance.environment["MERCURY_START_PAUSED"]


def _back_up(testbed: Testbed, copy: Path) -> None:
    if testbed.leg == "full":
        with copy.open("wb") as file:
            subprocess.run([program("pg_dump"), testbed.database_url], stdout=file, check=True)
        return
    with closing(sqlite3.connect(_file(testbed))) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _restore(testbed: Testbed, copy: Path) -> None:
    if testbed.leg == "full":
        with closing(psycopg2.connect(testbed.database_url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        psql = [program("psql"), "--quiet", "--set=ON_ERROR_STOP=1", f"--file={copy}", testbed.database_url]
        subprocess.run(psql, stdout=subprocess.DEVNULL, check=True)
        return
    for end in ("-wal", "-shm"):
        Path(f"{_file(testbed)}{end}").unlink(missing_ok=True)
    shutil.copyfile(copy, _file(testbed))


def _file(testbed: Testbed) -> str:
    return urlsplit(testbed.database_url).path


SCENARIOS = [
    Scenario(
        "old-backup",
        "an old back-up is restored, and nothing leaves unseen",
        restore_old_backup,
        500,
        40,
        legs=("embedded", "full"),
    )
]
