"""Cost of the monthly partitions of events: `python bench/partitions.py [--groups N]`.

Writes groups of events as `lifecycle.record` does into a plain table and into a partitioned one, in turn and each in
a transaction of its own, once with a foreign key to the mails and once without. Prints the median of the ratios.
"""

import argparse
import statistics
import time
from dataclasses import dataclass, field

import instance

MAILS = 64  # mails of a group, as many as a dispatcher closes at once
NAMES = ("DEQUEUE", "READY TO SEND", "SEND", "DONE")
MONTHS_AHEAD = 4
BLOB = '{"service": "olympus", "why": "weighted choice of 2", "attempt": 1, "round": 1, "to": ["hera@olimpus.com"]}'
DEFINITION = "(LIKE mails_event INCLUDING DEFAULTS INCLUDING IDENTITY)"


@dataclass(slots=True)
class Series:
    """Seconds that each group took."""

    plain: list[float] = field(default_factory=list)
    partitioned: list[float] = field(default_factory=list)

    def ratio(self) -> float:
        """Return how much longer a group takes in the partitioned table: the median of neighbours."""
        return statistics.median(after / before for before, after in zip(self.plain, self.partitioned, strict=True))


def measure(groups: int) -> dict[str, Series]:
    """Write `groups` groups into each of four tables; runs inside the instance."""
    import dispatch
    from django.db import connection

    from mails.models import Mail

    dispatch.fill(MAILS)
    mail_ids = list(Mail.objects.values_list("id", flat=True))
    found = {}
    for words, foreign_key in (("with a foreign key", True), ("without", False)):
        with connection.cursor() as cursor:
            for table in ("plain", "partitioned"):
                for statement in _table(table, foreign_key=foreign_key):
                    cursor.execute(statement)
        found[words] = series = Series()
        for number in range(groups):
            order = ("plain", "partitioned") if number % 2 else ("partitioned", "plain")
            for table in order:
                getattr(series, table).append(_write(table, mail_ids))
    return found


def _table(table: str, *, foreign_key: bool) -> list[str]:
    key = ", ADD FOREIGN KEY (mail_id) REFERENCES mails_mail DEFERRABLE INITIALLY DEFERRED" if foreign_key else ""
    partitioned = table == "partitioned"
    return [
        f"DROP TABLE IF EXISTS {table}",
        f"CREATE TABLE {table} {DEFINITION} {'PARTITION BY RANGE (created_at)' if partitioned else ''}",
        *(_partitions(table) if partitioned else ()),
        f"ALTER TABLE {table} ADD PRIMARY KEY (id{', created_at' if partitioned else ''}){key}",
        f"CREATE INDEX ON {table} (mail_id, id)",
        f"CREATE INDEX ON {table} USING brin (created_at) WITH (autosummarize = on)",
        f"CREATE TRIGGER append_only BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION mails_event_is_append_only()",
    ]


def _partitions(table: str) -> list[str]:
    month = 30 * 86400 * 10**9
    first = time.time_ns() // month * month
    return [
        f"CREATE TABLE {table}_{number} PARTITION OF {table}"
        f" FOR VALUES FROM ({first + number * month}) TO ({first + (number + 1) * month})"
        for number in range(MONTHS_AHEAD)
    ] + [f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT"]


def _write(table: str, mail_ids: list[object]) -> float:
    from django.db import connection, transaction

    from mercury.lib.database import recordset

    columns = {"mail_id": "uuid", "created_at": "int", "created_by": "text", "event": "text", "blob": "text"}
    names = ", ".join(columns)
    now = time.time_ns()
    rows = recordset.encode(
        {"mail_id": mail_id, "created_at": now, "created_by": "Dispatcher", "event": name, "blob": BLOB}
        for mail_id in mail_ids
        for name in NAMES
    )
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {recordset.source('r', columns)}", [rows])
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Events, partitioned by month against a plain table")
    parser.add_argument("--groups", type=int, default=300, help="Groups written into each table.")
    options = parser.parse_args()
    with instance.build("full") as built:
        found = built.run(measure, options.groups)
    for words, series in found.items():
        plain, partitioned = (
            1e6 * statistics.median(seconds) / MAILS / len(NAMES) for seconds in (series.plain, series.partitioned)
        )
        print(
            f"{words}: plain {plain:.1f} µs an event, partitioned {partitioned:.1f}; ratio {series.ratio():.3f}"
            f" ({options.groups} groups of {MAILS * len(NAMES)} events each)"
        )


if __name__ == "__main__":
    main()
