"""Statements and bytes of an email in PostgreSQL and Redis: `python bench/footprint.py [--mails N]`.

Counts statements, write-ahead log, rows, bytes and connections, and no time: a busy machine changes nothing.
Starts a PostgreSQL (with pg_stat_statements) and a Redis of its own, with the settings of a fresh installation.
"""

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import instance
import intake
import psycopg2
import redis
from instance import Instance

from chaos import servers

WARM_UP = 20.0  # seconds in which a worker begins all its tasks, periodic ones too, and opens their connections
TABLES = ("mail", "content", "recipient", "attempt", "event", "idempotencykey", "rollup")
A_CHECK = "(query LIKE 'SELECT %% FROM ONLY %% FOR KEY SHARE OF x')"
PARTS = "relname = %s OR relname LIKE %s"  # a table, or the months of the events


@dataclass(frozen=True, slots=True)
class Asked:
    """Counters of a database and its Redis."""

    statements: int  # each is a round trip
    checks: int  # of foreign keys, by the server itself at the commit
    wal_bytes: int
    page_images: int  # whole pages in the log, each on its first change after a checkpoint
    commands: dict[str, int]

    def line(self, before: "Asked", mails: int) -> str:
        """Return what was added since, per email."""
        commands = {name: count - before.commands.get(name, 0) for name, count in self.commands.items()}
        most = sorted(((count, name) for name, count in commands.items() if count), reverse=True)
        words = ", ".join(f"{name} {count / mails:.2f}" for count, name in most[:3]) or "none"
        return (
            f"{(self.statements - before.statements) / mails:6.2f} statements,"
            f" {(self.checks - before.checks) / mails:.2f} checks of foreign keys,"
            f" {(self.wal_bytes - before.wal_bytes) / mails:6.0f} bytes of WAL"
            f" ({(self.page_images - before.page_images) / mails:.2f} whole pages),"
            f" {sum(commands.values()) / mails:.2f} Redis commands ({words})"
        )


class Stores:
    """The two servers, and the instance that uses them."""

    def __init__(self, built: Instance, postgresql: servers.Postgresql, client: redis.Redis) -> None:
        self.built = built
        self.name = urlsplit(built.environment["DATABASE_URL"]).path.removeprefix("/")
        self._server = postgresql
        self._redis = client

    def asked(self) -> Asked:
        """Look without being counted: from another database."""
        [(statements, checks)] = self._outside(
            f"SELECT coalesce(sum(calls) FILTER (WHERE NOT {A_CHECK}), 0)::bigint,"
            f" coalesce(sum(calls) FILTER (WHERE {A_CHECK}), 0)::bigint FROM pg_stat_statements"
            " JOIN pg_database ON pg_database.oid = dbid WHERE datname = %s"
            " AND query NOT LIKE 'SET LOCAL %%'"  # they travel in the message of the statement that follows
        )
        [(log, images)] = query(
            self._server.url,
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, wal_fpi FROM pg_stat_wal",
        )
        stats: dict[str, Any] = self._redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): int(figures["calls"]) for name, figures in stats.items()}
        return Asked(
            statements, checks, log, images, {name: count for name, count in commands.items() if name != "info"}
        )

    def sessions(self) -> int:
        """Count the connections of clients to the instance's database."""
        [(count,)] = self._outside("SELECT count(*) FROM pg_stat_activity WHERE datname = %s")
        return int(count)

    def redis_clients(self) -> int:
        """Count the connections to Redis, without this one."""
        return len(self._redis.client_list()) - 1

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Ask the instance's own database."""
        return query(self.built.environment["DATABASE_URL"], sql, parameters)

    def _outside(self, sql: str) -> list[tuple[Any, ...]]:
        return query(self._server.url, sql, [self.name])


def query(url: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run one statement over its own connection, outside any transaction, and return its rows, if any."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def build() -> Iterator[Stores]:
    """Servers and a instance, migrated and empty; all of it is gone afterwards."""
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="mercury-bench-"))
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        postgresql = servers.Postgresql(data)
        stack.callback(postgresql.kill)
        query(postgresql.url, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        postgresql.stop()
        postgresql.start()
        query(postgresql.url, "CREATE EXTENSION pg_stat_statements")
        query(postgresql.url, "CREATE DATABASE mercury")
        server = servers.Redis(data)
        stack.callback(server.kill)
        client = stack.enter_context(closing(redis.Redis.from_url(server.url)))
        provider = stack.enter_context(instance.running_sink())
        url = urlsplit(postgresql.url)._replace(path="/mercury").geturl()
        built = Instance("full", data, provider, database_url=url, redis_url=server.url)
        stack.callback(built.stop)
        built.manage("migrate", "--verbosity=0")
        yield Stores(built, postgresql, client)


def prose(size: int = 2000) -> str:
    """Words that compress as a text does; PostgreSQL stores a text that repeats itself in next to nothing."""
    draw = random.Random(4)
    words = ["".join(draw.choices("etaoinshrdlucmfwypvbgk", k=draw.randint(2, 9))) for _ in range(600)]
    return " ".join(draw.choices(words, k=size // 3))[:size]


def measure_mails(stores: Stores, mails: int) -> int:
    """Take mails in and send them, alone and in groups; print what each was worth to the stores. How many there were."""
    built, total = stores.built, 0
    key = built.run(instance.make_key)
    turns = ((1, False, 1, mails // 8), (16, False, 16, mails), (16, True, 64, mails), (16, True, 256, mails))
    for clients, idempotent, concurrency, count in turns:
        with instance.serving(built, processes=1) as (port, _):
            intake.post(port, key, intake.WARM_UP, clients=clients, idempotent=idempotent, content=prose())
            dispatch(built, concurrency)
            before = stores.asked()
            intake.post(port, key, count, clients=clients, idempotent=idempotent, content=prose())
            what = f"{clients:2} clients{', Idempotency-Key' if idempotent else ''}"
            print(f"taking in, {what:28} {stores.asked().line(before, count)}", flush=True)
            sessions, connections = stores.sessions(), stores.redis_clients()
        if clients > 1 and not idempotent:
            print(f"one web process of 8 threads: {sessions} connections to PostgreSQL, {connections} to Redis")
        print_sending(stores, concurrency, count)
        total += intake.WARM_UP + count
    print_worker(stores, key, mails)
    return total + mails


def print_sending(stores: Stores, concurrency: int, mails: int) -> None:
    """Send what waits. The start of the worker and its end are counted with it."""
    fresh, groups = "SELECT count(*) FROM mails_rollup", "SELECT count(DISTINCT lease) FROM mails_attempt"
    [(rows_before,)], [(groups_before,)] = stores.ask(fresh), stores.ask(groups)
    before = stores.asked()
    dispatch(stores.built, concurrency)
    line = stores.asked().line(before, mails)
    [(rows,)], [(groups_after,)] = stores.ask(fresh), stores.ask(groups)
    print(
        f"sending, {concurrency:3} slots, {mails / (groups_after - groups_before):5.1f} emails per group  {line},"
        f" {(rows - rows_before) / mails:.3f} roll-up rows",
        flush=True,
    )


def print_worker(stores: Stores, key: str, mails: int) -> None:
    """Print what a long-running worker and a web process ask for while emails arrive, and the worker's connections."""
    built = stores.built
    with instance.serving(built, processes=1) as (port, _):
        connections = stores.redis_clients()
        worker = built.start_worker()
        instance.wait_until(lambda: stores.ask("SELECT 1 FROM mails_worker WHERE polled_at IS NOT NULL") != [])
        instance.wait_until(lambda: stores.redis_clients() > connections)
        built.provider.start_afresh(delay_ms=0)
        before = stores.asked()
        intake.post(port, key, mails, clients=16, idempotent=True, content=prose())
        instance.wait_until(lambda: built.provider.count() == mails)
        print(f"in and out at once, 16 clients          {stores.asked().line(before, mails)}", flush=True)
        until = time.monotonic() + WARM_UP
        sessions, connections = stores.sessions(), stores.redis_clients()
        while time.monotonic() < until:
            time.sleep(0.5)
            sessions, connections = max(sessions, stores.sessions()), max(connections, stores.redis_clients())
        worker.terminate()
        worker.wait()
        print(
            f"one worker: {sessions - stores.sessions()} connections to PostgreSQL,"
            f" {connections - stores.redis_clients()} to Redis",
            flush=True,
        )


def print_rows(stores: Stores, mails: int, before: dict[str, tuple[int, int]]) -> None:
    """Rows and bytes that each mail has left, and what autovacuum has to do for it."""
    for table in TABLES:
        [(rows, dead, moved)] = stores.ask(
            "SELECT sum(n_tup_ins), sum(n_tup_upd + n_tup_del), sum(n_tup_upd - n_tup_hot_upd)"
            f" FROM pg_stat_user_tables WHERE {PARTS}",
            names(table),
        )
        updated = stores.ask(f"SELECT sum(n_tup_upd) FROM pg_stat_user_tables WHERE {PARTS}", names(table))[0][0]
        hot = f", {1 - moved / updated:4.0%} of the updates HOT" if updated else ""
        print(f"  mails_{table:15} {rows / mails:5.2f} rows written, {dead / mails:5.2f} left dead{hot}", flush=True)
    stores.ask("VACUUM ANALYZE")
    after, whole = sizes(stores), 0
    for table in TABLES:
        heap, indexes = (now - then for now, then in zip(after[table], before[table], strict=True))
        whole += heap + indexes
        print(f"  mails_{table:15} {heap / mails:6.0f} bytes of rows, {indexes / mails:6.0f} of indexes, per email")
    print(f"  all of it             {whole / mails:6.0f} bytes per email", flush=True)


def sizes(stores: Stores) -> dict[str, tuple[int, int]]:
    """Bytes of rows (with what lies out of line) and of indexes of each table."""
    sql = (
        "SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint, coalesce(sum(pg_indexes_size(oid)), 0)::bigint"
        f" FROM pg_class WHERE relkind = 'r' AND ({PARTS})"
    )
    return {table: stores.ask(sql, names(table))[0] for table in TABLES}


def names(table: str) -> tuple[str, str]:
    """Return the names that `PARTS` asks for."""
    return f"mails_{table}", f"mails_{table}\\_%" if table == "event" else ""


def dispatch(built: Instance, concurrency: int) -> None:
    """Let a worker send what is due."""
    instance.wait_for(built.start("manage.py", "worker", "--burst", f"--concurrency={concurrency}"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=2000, help="Number of emails each figure is counted with.")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails)
    instance.say_what("Footprint", options.mails)
    try:
        with build() as stores:
            before = sizes(stores)
            print_rows(stores, measure_mails(stores, options.mails), before)
    except servers.ProgramMissing as missing:
        raise SystemExit(str(missing)) from missing


if __name__ == "__main__":
    main()
