"""The processes, cores and bytes that a rate needs: `python bench/scaling.py [--web-ms 1.6 --worker-ms 0.45 …]`.

Arithmetic and no measurement. What an email costs is a parameter: take it from the benchmarks of your own machine
(`intake.py`, `dispatch.py`, `rows.py` for CPU, `footprint.py` for bytes, statements and connections).
"""

import argparse
import math
from dataclasses import dataclass

RATES = (10.0, 100.0, 1000.0, 1157.0)  # emails per second; the last is 100 million a day
DAY = 86_400
WORDS = {
    "web_ms": (1.6, "CPU of the web processes for an email, in ms."),
    "worker_ms": (0.45, "CPU of the worker for an email, in ms."),
    "database_ms": (0.75, "CPU of PostgreSQL for an email, accepted and sent, in ms."),
    "call_ms": (200.0, "Time the provider needs to answer a request, in ms."),
    "busy": (0.6, "Share of a core, or of a worker's slots, that is to be used; the rest is for peaks."),
    "threads": (8, "WEB_THREADS, each with a connection to PostgreSQL."),
    "concurrency": (256, "MERCURY_MAX_CONCURRENCY of each worker."),
    "disk_bytes": (6700, "Bytes that an email leaves on disk, with its indexes; idempotency keys go after a day."),
    "wal_bytes": (9000, "Bytes of write-ahead log of an email, accepted and sent."),
    "database_cores": (16, "Cores of one PostgreSQL server."),
}


@dataclass(frozen=True, slots=True)
class Costs:
    """The cost of one email, and the size of one process."""

    web_ms: float
    worker_ms: float
    database_ms: float
    call_ms: float
    busy: float
    threads: int
    concurrency: int
    disk_bytes: int
    wal_bytes: int
    database_cores: int


@dataclass(frozen=True, slots=True)
class Need:
    """The resources that a rate needs."""

    web: int  # processes; each uses one core at most
    workers: int  # processes; each uses one core at most
    calls: float  # in progress at once
    cores: float  # of PostgreSQL
    databases: int
    connections: int
    wal: float  # bytes a second
    disk: float  # bytes a day


def compute_need(rate: float, costs: Costs) -> Need:
    """Return what this many emails per second need. Pure."""
    web = _round_up(rate * costs.web_ms / 1000 / costs.busy)
    calls = rate * costs.call_ms / 1000  # Little's law
    workers = max(
        _round_up(rate * costs.worker_ms / 1000 / costs.busy), _round_up(calls / costs.concurrency / costs.busy)
    )
    cores = rate * costs.database_ms / 1000 / costs.busy
    return Need(
        web,
        workers,
        calls,
        cores,
        databases=_round_up(cores / costs.database_cores),
        # A worker: to claim, record, beat, recover, for other periodic tasks, and two for webhooks.
        connections=web * costs.threads + 7 * workers,
        wal=rate * costs.wal_bytes,
        disk=rate * DAY * costs.disk_bytes,
    )


def describe_capacity(costs: Costs) -> str:
    """Return what one of each can carry."""
    return (
        f"One web process: {1000 / costs.web_ms * costs.busy:.0f} emails/s."
        f" One worker: {min(1000 / costs.worker_ms, costs.concurrency * 1000 / costs.call_ms) * costs.busy:.0f}."
        f" One core of PostgreSQL: {1000 / costs.database_ms * costs.busy:.0f}."
        f" All at {costs.busy:.0%} of what they can."
    )


def build_table(rates: list[float], costs: Costs) -> str:
    """Return one line per rate."""
    head = (
        " emails/s  emails/day    web  workers  requests at once  cores of PostgreSQL  databases  connections"
        "  WAL MB/s  disk GB/day  GB/month"
    )
    lines = [head]
    for rate in rates:
        found = compute_need(rate, costs)
        lines.append(
            f"{rate:9.0f} {rate * DAY / 1e6:9.1f} M {found.web:6} {found.workers:8} {found.calls:17.0f}"
            f" {found.cores:20.1f} {found.databases:10} {found.connections:12} {found.wal / 1e6:9.1f}"
            f" {found.disk / 1e9:12.1f} {found.disk * 30 / 1e9:9.0f}"
        )
    return "\n".join(lines)


def _round_up(share: float) -> int:
    return max(1, math.ceil(share))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rate", type=float, action="append", help="Emails per second (repeatable).")
    for name, (default, words) in WORDS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=words)
    options = vars(parser.parse_args())
    rates = options.pop("rate") or list(RATES)
    if min([*rates, *options.values()]) <= 0 or options["busy"] > 1:
        parser.error("All figures are above 0, and --busy is 1 at most.")
    costs = Costs(**options)
    print(describe_capacity(costs))
    print(build_table(rates, costs))


if __name__ == "__main__":
    main()
