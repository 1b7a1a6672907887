"""kill -9 of an import of the suppression list: what it has stored is whole, and the same file finishes it."""

import json
from pathlib import Path

from chaos.database import query
from chaos.scenario import Run, Scenario
from mercury.tests.instance import kill, wait_until

BATCH = 5000  # entries that an import stores in one transaction
ROWS, ROWS_SHORT = 200_000, 30_000


def kill_import(run: Run) -> None:
    """Kill an import as soon as it has stored something, while emails are sent, and import the same file again."""
    rows = ROWS_SHORT if run.short else ROWS
    file = Path(run.testbed.instance.environment["MERCURY_DATA"]) / f"{run.subjects}list.csv"
    file.write_text("address\n" + "".join(f"{run.subjects}{number}@olimpus.com\n" for number in range(rows)))
    run.testbed.wait_for_dispatchers()
    with run.post_mails(rate=50):
        importing = run.testbed.instance.start("manage.py", "suppressions", "import", str(file))
        wait_until(lambda: _count_entries(run) > 0, run.timeout, run.testbed.instance.logs.read_text)
        kill(importing)
        stored = _count_entries(run)
        report = json.loads(run.testbed.instance.manage("suppressions", "import", str(file), "--json"))
    run.wait_until_finished()
    run.report("entries stored when it was killed", stored)
    run.expect_at_least("entries not yet stored when it was killed", rows - stored, 1)
    run.expect_at_most("entries of a batch that was stored in part", stored % BATCH, 0)
    run.expect_at_most("entries missing after the same file again", rows - _count_entries(run), 0)
    run.expect_at_most("entries that the second report counts wrong", abs(report["skipped"] - stored), 0)


def _count_entries(run: Run) -> int:
    sql = "SELECT count(*) FROM mails_suppression WHERE address LIKE ?"
    return int(query(run.testbed.database_url, sql, f"{run.subjects}%")[0][0])


SCENARIOS = [
    Scenario(
        "kill-import",
        "kill -9 of an import of the suppression list",
        kill_import,
        1000,
        20,
        legs=("embedded", "full"),
    )
]
