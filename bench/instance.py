"""An instance of Mercury for each run of a benchmark, with its own data folder, database and local provider."""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Mercury is no installed package

from mercury.tests import instance as installation
from mercury.tests.instance import ROOT, ServiceMissing, pick_free_port, wait_until

LEGS = ("embedded", "full")
WORDS = {"embedded": "embedded (SQLite)", "full": "full (PostgreSQL + Redis)"}
DATABASE_URL = os.environ.get("MERCURY_TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
REDIS_URL = os.environ.get("MERCURY_TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
REDIS_NUMBER = 9  # not the tests' own, which may run at the same time
CONTENT = ("All is well on the mountain, and the weather is fine.\n" * 40)[:2000]
REMEMBERED = 10_000  # emails that the local provider remembers
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Provider:
    """The local provider (`sink.py`), a process of its own."""

    base: str  # http://127.0.0.1:<port>
    smtp_port: int

    def count(self) -> int:
        """Return the number of emails it accepted."""
        count: int = json.loads(self._ask("GET", "/count"))["count"]
        return count

    def read_received(self) -> dict[str, Any]:
        """Return how many emails it accepted, and which (it remembers the last 10,000)."""
        answer: dict[str, Any] = json.loads(self._ask("GET", "/deliveries"))
        return answer

    def start_afresh(self, *, delay_ms: float, remember: str = "") -> None:
        """Forget what was received, and answer after `delay_ms` from now on. `remember` only bodies with this word."""
        self._ask("POST", "/configure", json.dumps({"delay_ms": delay_ms, "remember": remember}).encode())
        self._ask("DELETE", "/deliveries")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.base + path, body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content


class Instance(installation.Instance):
    """One Mercury to be measured, with one account at the sink."""

    def __init__(self, leg: str, data: Path, provider: Provider, *, database_url: str, redis_url: str) -> None:
        super().__init__(
            data,
            database_url=database_url,
            redis_url=redis_url,
            LOG_LEVEL="WARNING",
            PROVIDER_OLYMPUS=f"sendgrid://:SG.local-provider-key@sendgrid?api_url={provider.base}/v3/",
            MERCURY_PRIVATE_HOSTS_ALLOWED="127.0.0.1",
        )
        self.leg = leg
        self.provider = provider


@contextmanager
def build(leg: str) -> Iterator[Instance]:
    """Build an instance for one run, migrated and empty, and remove it afterwards. Raises ServiceMissing."""
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="mercury-bench-"))
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        database_url = stack.enter_context(create_database()) if leg == "full" else ""
        redis_url = stack.enter_context(own_redis()) if leg == "full" else ""
        provider = stack.enter_context(running_sink())
        built = Instance(leg, data, provider, database_url=database_url, redis_url=redis_url)
        stack.callback(built.stop)
        built.manage("migrate", "--verbosity=0")
        yield built


def create_database() -> AbstractContextManager[str]:
    """Give the URL of an empty database while the block runs. Raises ServiceMissing."""
    return installation.create_database(DATABASE_URL)


@contextmanager
def own_redis() -> Iterator[str]:
    """Give the URL of an empty Redis database while the block runs. Raises ServiceMissing."""
    url = urlunsplit(urlsplit(REDIS_URL)._replace(path=f"/{REDIS_NUMBER}"))
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=3)
        client.flushdb()
    except redis.RedisError as error:
        raise ServiceMissing(f"Redis does not answer at {REDIS_URL.rpartition('@')[2]}") from error
    with closing(client):
        yield url
        client.flushdb()


@contextmanager
def running_sink() -> Iterator[Provider]:
    """Run a provider that accepts everything while the block runs."""
    process = subprocess.Popen([sys.executable, ROOT / "bench" / "sink.py"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield Provider(f"http://127.0.0.1:{ports['http']}", ports["smtp"])
    finally:
        process.terminate()
        process.wait()


@contextmanager
def serving(
    built: Instance, *, processes: int, application: Sequence[str] = ("mercury.wsgi",)
) -> Iterator[tuple[int, int]]:
    """Serve this instance with gunicorn while the block runs: the port, and the pid of the arbiter."""
    port = pick_free_port()
    built.environment.update(HOST="127.0.0.1", PORT=str(port), WEB_CONCURRENCY=str(processes))
    web = built.start("-m", "gunicorn", *application)
    try:
        wait_until(lambda: listens(port))
        yield port, web.pid
    finally:
        web.terminate()
        web.wait()


def make_key() -> str:
    """Make an API key of the instance that is set up here; it may send as anybody."""
    from mails.access import api_keys

    return api_keys.create("bench", scopes=["mails:send"], senders=["*"])[1]


def listens(port: int) -> bool:
    """Return True if something listens on this port."""
    with closing(socket.socket()) as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def cpu_of(pids: Sequence[int]) -> float:
    """Seconds of CPU that these running processes have used, by `/proc`; exact to 10 ms."""
    return sum(_cpu(Path(f"/proc/{pid}/stat")) for pid in pids)


def family(pid: int) -> list[int]:
    """Return the ids of a process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _cpu(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_tree(pid: int) -> float:
    """Seconds of CPU of a running process, of those it started that run, and of those that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = family(pid)[1:]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has ended by now, and its parent's figure has it
    return sum(map(int, fields[11:15])) / TICKS + sum(map(cpu_of_tree, children))


def database_cpu() -> float:
    """Seconds of CPU that the PostgreSQL server has used for everybody so far; exact to 10 ms, and on this machine only."""
    with closing(psycopg2.connect(DATABASE_URL)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend: int = cursor.fetchone()[0]
        stat = Path(f"/proc/{backend}/stat").read_text()
    postmaster = int(stat.rpartition(")")[2].split()[1])
    return cpu_of_tree(postmaster)


def wait_for(process: subprocess.Popen[bytes]) -> float:
    """Wait until the process has ended well, and return the seconds of CPU that it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def check_mails(parser: argparse.ArgumentParser, mails: int, *, most: int = REMEMBERED) -> None:
    """Refuse a number that the benchmark could not count."""
    if not 1 <= mails <= most:
        why = "; the local provider remembers no more" if most == REMEMBERED else ""
        parser.error(f"--mails: 1 to {most}, please{why}.")


def say_what(title: str, mails: int) -> None:
    """Print the first line of a benchmark: what is measured, and on what kind of machine."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(
        f"{title}, {mails} emails of {len(CONTENT)} bytes; {os.cpu_count()} cores, load at the start {load}", flush=True
    )


def main(title: str, measure: Callable[[str, int], None], *, mails: int, most: int = REMEMBERED) -> None:
    """Run the command line of a benchmark: `measure(leg, mails)` for each leg that was asked for."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--mails", type=int, default=mails, help="Number of emails each figure is measured with.")
    parser.add_argument("--leg", choices=(*LEGS, "both"), default="both")
    options = parser.parse_args()
    check_mails(parser, options.mails, most=most)
    say_what(title, options.mails)
    for leg in LEGS if options.leg == "both" else (options.leg,):
        try:
            measure(leg, options.mails)
        except ServiceMissing as missing:
            raise SystemExit(f"{WORDS[leg]}: {missing}. Start it, or choose --leg embedded.") from missing
