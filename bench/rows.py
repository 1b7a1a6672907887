"""Cost of an email in a large instance: `python bench/rows.py [--mails N] [--rows N …]`.

The same mails are accepted and sent in a PostgreSQL database that holds ten thousand old ones, and in one that holds a
million with their seven million events. Give `--rows` once or more for other sizes.
"""

import argparse
import time

import fill
import instance
import intake
from instance import Instance

ROWS = (10_000, 1_000_000)


def measure(rows: int, mails: int) -> None:
    """Print what accepting and sending cost with this many old emails."""
    with instance.build("full") as built:
        key = built.run(instance.make_key)
        began = time.monotonic()
        built.run(fill.history, rows)
        built.run(fill.vacuum)
        print(f"{rows} old mails, filled in within {time.monotonic() - began:.0f} s", flush=True)
        empty = instance.wait_for(built.start("manage.py", "worker", "--burst"))
        with instance.serving(built, processes=intake.PROCESSES["full"]) as (port, web):
            intake.post(port, key, intake.WARM_UP, idempotent=True)
            instance.wait_for(built.start("manage.py", "worker", "--burst"))
            print(f"  taking in: {_take(port, web, key, mails)}", flush=True)
        print(f"  sending:   {_send(built, mails, empty)}", flush=True)


def _take(port: int, web: int, key: str, mails: int) -> str:
    processes = instance.family(web)
    cpu, database_cpu, began = instance.cpu_of(processes), instance.database_cpu(), time.monotonic()
    intake.post(port, key, mails, idempotent=True)
    seconds = time.monotonic() - began
    return _figures(mails, seconds, instance.cpu_of(processes) - cpu, instance.database_cpu() - database_cpu)


def _send(built: Instance, mails: int, empty: float) -> str:
    """Send what was submitted; `empty`: seconds of CPU of a worker that has nothing to do."""
    built.provider.start_afresh(delay_ms=0)
    database_cpu = instance.database_cpu()
    cpu = instance.wait_for(built.start("manage.py", "worker", "--burst")) - empty
    database_cpu = instance.database_cpu() - database_cpu
    received = built.provider.read_received()
    if received["count"] != mails:
        raise SystemExit(f"Of {mails} emails the provider accepted {received['count']}.")
    arrived = [mail["arrived_ns"] for mail in received["mails"]]
    return _figures(mails, (max(arrived) - min(arrived)) / 1e9, cpu, database_cpu)


def _figures(mails: int, seconds: float, cpu: float, database_cpu: float) -> str:
    return (
        f"{mails / seconds:5.0f} emails/s, {cpu / mails * 1000:.2f} ms of CPU per email in Mercury,"
        f" {database_cpu / mails * 1000:.2f} in PostgreSQL"
    )


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=5000, help="Number of emails each figure is measured with.")
    parser.add_argument("--rows", type=int, action="append", help="Old mails in the database (repeatable).")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails)
    instance.say_what("Rows", options.mails)
    try:
        for rows in options.rows or ROWS:
            measure(rows, options.mails)
    except instance.ServiceMissing as missing:
        raise SystemExit(f"{missing}. Start it, please.") from missing


if __name__ == "__main__":
    main()
