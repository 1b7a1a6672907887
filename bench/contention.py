"""Measure if dispatchers block each other: `python bench/contention.py [--mails N] [--dispatchers N …]`.

Lets one, two, four and eight dispatchers empty the same backlog on PostgreSQL, and counts what each asked for and got, and
how often one waited for a lock of another. Prints no time: a busy machine only makes them meet more often.
"""

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dispatch
import instance
import psycopg2
from instance import Instance

DISPATCHERS = (1, 2, 4, 8)
CONCURRENCY = 64
LOOK_EVERY = 0.01  # seconds


@dataclass(frozen=True, slots=True)
class Claim:
    """One look for due mails."""

    at: float  # monotonic clock
    asked: int
    got: int


def dispatch_and_count(concurrency: int) -> tuple[list[Claim], int]:
    """Send what is due, in this process; its claims, and how many mails a provider took."""
    from mails.dispatch import claim
    from mails.dispatch.dispatcher import Dispatcher
    from mails.queues import QueueName
    from mercury.lib.runtime import event_loop

    claims: list[Claim] = []
    due = claim.select_due

    def counted(queues: Any, *, limit: int, **more: Any) -> Any:
        found = due(queues, limit=limit, **more)
        claims.append(Claim(time.monotonic(), limit, len(found)))
        return found

    claim.select_due = counted
    done = event_loop.run(Dispatcher(list(QueueName.values), concurrency=concurrency).run(until_idle=True))
    return claims, done


class Watch(threading.Thread):
    """Looks every 10 ms which sessions of the instance are at work, and which of those wait for another's lock."""

    def __init__(self, database_url: str) -> None:
        super().__init__()
        self.active = self.waiting = 0
        self._url = database_url
        self._over = threading.Event()

    def run(self) -> None:
        """Look until `stop`."""
        sql = (
            "SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock') FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()"
        )
        with closing(psycopg2.connect(self._url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not self._over.wait(LOOK_EVERY):
                cursor.execute(sql)
                active, waiting = cursor.fetchone()
                self.active += active
                self.waiting += waiting

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


@contextmanager
def build() -> Iterator[Instance]:
    """Build an instance on PostgreSQL without Redis, so that no worker has to be woken."""
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="mercury-bench-"))
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        database_url = stack.enter_context(instance.create_database())
        built = Instance(
            "full", data, stack.enter_context(instance.running_sink()), database_url=database_url, redis_url=""
        )
        built.manage("migrate", "--verbosity=0")
        yield built


def measure(built: Instance, dispatchers: int, mails: int) -> str:
    """Return the figures of this many dispatchers."""
    built.provider.start_afresh(delay_ms=0)
    built.run(dispatch.fill, mails)
    url = built.environment["DATABASE_URL"]
    deadlocks = _deadlocks(url)
    watch = Watch(url)
    watch.start()
    with ThreadPoolExecutor(dispatchers) as pool:
        results = list(pool.map(lambda _: built.run(dispatch_and_count, CONCURRENCY), range(dispatchers)))
    watch.stop()
    accepted = built.provider.count()
    if accepted != mails or sum(done for _, done in results) != mails:
        raise SystemExit(f"Of {mails} emails the provider accepted {accepted}.")
    claims = sorted((claim for listed, _ in results for claim in listed), key=lambda claim: claim.at)
    last = max(number for number, claim in enumerate(claims) if claim.got)
    full = claims[:last]  # what came after found the backlog empty
    short = [claim for claim in full if claim.got < claim.asked]
    mails_before = sum(claim.got for claim in full[: full.index(short[0])]) if short else mails
    worked = sum(any(claim.got for claim in listed) for listed, _ in results)
    when = f" (the first after {mails_before / mails:.0%} of the backlog)" if short else ""
    return (
        f"{dispatchers} dispatcher{'s' * (dispatchers > 1):1} ({worked} got emails): {len(full):4} claims, asked for"
        f" {sum(claim.asked for claim in full) / max(1, len(full)):4.1f}, got {sum(claim.got for claim in full) / max(1, len(full)):4.1f};"
        f" {len(short) / max(1, len(full)):4.0%} smaller than asked for{when};"
        f" {watch.waiting / max(1, watch.active):5.1%} of the looks at a busy session found it waiting for a lock;"
        f" {_deadlocks(url) - deadlocks} deadlocks"
    )


def _deadlocks(url: str) -> int:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=4000, help="Number of emails each backlog has.")
    parser.add_argument("--dispatchers", type=int, action="append", help="Dispatchers at once (repeatable).")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails)
    instance.say_what(f"Contention, {CONCURRENCY} slots per dispatcher", options.mails)
    try:
        with build() as built:
            for dispatchers in options.dispatchers or DISPATCHERS:
                print(measure(built, dispatchers, options.mails), flush=True)
    except instance.ServiceMissing as missing:
        raise SystemExit(f"{missing}. Start it, please.") from missing


if __name__ == "__main__":
    main()
