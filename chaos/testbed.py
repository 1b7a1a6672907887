"""An installation to strike at: web, workers, providers and, on the full leg, PostgreSQL and Redis of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chaos.database import query
from chaos.servers import Postgresql, Redis, SmallDisk
from mercury.tests.instance import ROOT, Instance, create_instance, kill, wait_until
from providers.tests.support.local_provider import MAILGUN_DOMAIN, MAILGUN_KEY, SENDGRID_KEY

LEGS = ("embedded", "full")
KEEP = 200_000  # emails that a local provider remembers
INJECT = ROOT / "chaos" / "inject"  # holds the sitecustomize that plants bugs
# Rounds come quickly, so that a run finishes within its timeout; everything else has its default.
SETTINGS = {"MERCURY_RETRY_BACKOFF": "1s,2s,5s,10s", "LOG_LEVEL": "WARNING"}
SHORT: dict[str, Any] = {"MERCURY_SEND_TIMEOUT": "3s", "MERCURY_LEASE": "33s"}  # with --short


class Provider:
    """A local provider in a process of its own: whatever happens to Mercury, it knows what it accepted."""

    def __init__(self, account: str, kind: str) -> None:
        self.account = account
        command = [sys.executable, "-m", "providers.tests.support.local_provider", "--port", "0", "--keep", str(KEEP)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())[kind]
        self._base = "http://" + urlsplit(self.url).netloc

    def configure(self, **how: Any) -> None:
        """Answer in this way from now on: `answer`, `delay_ms`, `mix`, as the local provider's page has them."""
        self._ask("POST", "/configure", how)

    def read_deliveries(self) -> list[dict[str, Any]]:
        """Return the emails it accepted, each with `mail_id`, `subject` and `arrived_ns`, nanoseconds since the Unix epoch."""
        mails, since = self._ask("GET", "/deliveries")["mails"], _measure_epoch_offset()
        return [mail | {"arrived_ns": mail["arrived_ns"] + since} for mail in mails]

    def read_calls(self) -> list[tuple[int, int]]:
        """Return when each request began and ended, in nanoseconds since the Unix epoch."""
        calls, since = self._ask("GET", "/calls")["calls"], _measure_epoch_offset()
        return [(began + since, ended + since) for began, ended in calls]

    def _ask(self, method: str, path: str, how: dict[str, Any] | None = None) -> Any:
        body = json.dumps(how).encode() if how is not None else None
        with urllib.request.urlopen(
            urllib.request.Request(self._base + path, body, method=method), timeout=60
        ) as answer:
            return json.loads(answer.read())


def _measure_epoch_offset() -> int:
    """Return the difference of the time since the Unix epoch and the monotonic clock, which a provider uses for its times.

    The most of ten: a process interrupted between the two readings finds too little.
    """
    return max(time.time_ns() - time.monotonic_ns() for _ in range(10))


class Testbed:
    """One Mercury under test. `instance` is the installation; `workers` and `web` are its processes as they are now.

    `database_url` reaches the database without any injected failure. Processes started from now on also get `web_settings` or
    `worker_settings`, which has one entry per worker.
    """

    __test__ = False  # its name begins with Test, and pytest must not collect it

    def __init__(
        self,
        leg: str,
        built: Instance,
        providers: Mapping[str, Provider],
        *,
        postgresql: Postgresql | None,
        redis: Redis | None,
        disk: SmallDisk | None,
    ) -> None:
        self.leg = leg
        self.instance = built
        self.providers = providers
        self.postgresql = postgresql
        self.redis = redis
        self.disk = disk
        data = built.environment["MERCURY_DATA"]
        self.database_url = built.environment["DATABASE_URL"] or f"sqlite://{data}/mercury.sqlite3"
        self.web: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.web_settings: dict[str, str] = {}
        self.worker_settings: list[dict[str, str]] = [{}, {}]

    @property
    def dispatchers(self) -> list[subprocess.Popen[bytes]]:
        """Return the sending processes: the workers, or the web process in embedded mode."""
        return self.workers if self.leg == "full" else [self.web] if self.web else []

    def start(self) -> None:
        """Start what the leg consists of: the web process, and two workers on the full leg."""
        if self.leg == "full":
            self.workers = [self.instance.start_worker(**settings) for settings in self.worker_settings]
        self.web = self.instance.start_web(**self.web_settings)

    def wait_for_dispatchers(self) -> float:
        """Wait until every sending process has its heartbeat in the database; return the seconds."""
        return wait_until(self.is_alive, 60, self.instance.logs.read_text)

    def restart(self) -> None:
        """Kill all processes and start new ones."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """Kill web and workers with SIGKILL, one after the other."""
        for process in (*self.workers, *([self.web] if self.web else [])):
            kill(process)

    @contextmanager
    def plant(self, *names: str) -> Iterator[None]:
        """Restart everything with more planted bugs, and restart without them at the end. Needs a testbed that has a plant already."""
        before = self.instance.environment["CHAOS_PLANT"]
        self.instance.environment["CHAOS_PLANT"] = ",".join((before, *names))
        self.restart()
        try:
            yield
        finally:
            self.instance.environment["CHAOS_PLANT"] = before
            self.restart()

    def kill_worker(self, number: int) -> None:
        """Kill a worker with SIGKILL and start another in its place."""
        kill(self.workers[number])
        self.start_worker(number)

    def start_worker(self, number: int) -> None:
        """Start a worker in the place of one that has ended."""
        self.workers[number] = self.instance.start_worker(**self.worker_settings[number])

    def kill_web(self) -> None:
        """Kill the web process and its children with SIGKILL, start another and wait until it answers."""
        assert self.web is not None
        kill(self.web)
        self.web = self.instance.start_web(**self.web_settings)

    def kill_all(self) -> None:
        """Kill web and workers with SIGKILL at the same moment and start others in their places."""
        old = [*self.workers, *([self.web] if self.web else [])]
        for process in old:
            os.killpg(process.pid, signal.SIGKILL)
        for process in old:
            process.wait(10)
        self.start()

    def configure(self, **how: Any) -> None:
        """Let all providers answer in this way from now on."""
        for provider in self.providers.values():
            provider.configure(**how)

    def is_alive(self) -> bool:
        """Return True if the dispatchers have their heartbeats in the database."""
        return all(self.read_heartbeat(process) for process in self.dispatchers)

    def read_heartbeat(self, process: subprocess.Popen[bytes]) -> str:
        """Return when the process, or a child of it, had its last heartbeat; "" before the first."""
        with suppress(FileNotFoundError):
            rows = query(self.database_url, "SELECT id, seen_at FROM mails_worker")
            return max((str(seen) for name, seen in rows if _parse_pid(name) in _find_family(process)), default="")
        return ""

    def count_leased_by_dead(self) -> int:
        """Return how many emails are leased by a process that has ended."""
        with suppress(FileNotFoundError):
            alive = set().union(*map(_find_family, self.dispatchers))
            rows = query(self.database_url, "SELECT worker FROM mails_mail WHERE status = 'sending'")
            return sum(_parse_pid(worker) not in alive for (worker,) in rows)
        return 1  # a process ended during the look-up

    def wait_for_heartbeat(self, process: subprocess.Popen[bytes]) -> float:
        """Wait for the next heartbeat of the process; return the seconds."""
        before = self.read_heartbeat(process)
        return wait_until(lambda: self.read_heartbeat(process) > before, 60, self.instance.logs.read_text)

    def replace_dead_workers(self) -> int:
        """Start workers in the places of those that have ended, as a supervisor would; return their number."""
        dead = [number for number, worker in enumerate(self.workers) if worker.poll() is not None]
        for number in dead:
            self.start_worker(number)
        return len(dead)


def _parse_pid(worker: str) -> str:
    """Return the process id in a worker's name, which is host:pid:random."""
    return worker.split(":")[1]


def _find_family(process: subprocess.Popen[bytes]) -> set[str]:
    """Return the ids of a running process and its children."""
    return {str(process.pid), *Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}


@contextmanager
def build_testbed(leg: str, *, plant: str = "", disk: int = 0, **settings: str) -> Iterator[Testbed]:
    """Build one in a folder of its own, without starting Mercury, and remove everything at the end.

    `plant`: names of what `chaos/bugs.py` plants into the processes, separated by commas. `disk`: MB of a file
    system that its data folder and PostgreSQL have to themselves, 0 for the machine's. `settings`: Mercury's.
    Raises ProgramMissing.
    """
    with ExitStack() as stack:
        small_disk = SmallDisk(disk) if disk else None
        if small_disk:
            stack.callback(small_disk.remove)
            folder = small_disk.folder
        else:
            folder = Path(tempfile.mkdtemp(prefix="mercury-chaos-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgresql = redis = None
        if leg == "full":
            redis = Redis(folder)
            stack.callback(redis.kill)
            postgresql = Postgresql(folder)
            stack.callback(postgresql.kill)
        providers = {}
        for account, kind in (("olympus", "sendgrid"), ("hades", "mailgun")):
            providers[account] = Provider(account, kind)
            stack.callback(kill, providers[account].process)
        data = folder / "data"
        data.mkdir()
        built = stack.enter_context(
            create_instance(
                data,
                full=leg == "full",
                database_url=postgresql.url if postgresql else "",
                redis_url=redis.url if redis else "",
                **(SETTINGS | _build_accounts(providers) | _build_plant(plant) | settings),
            )
        )
        yield Testbed(leg, built, providers, postgresql=postgresql, redis=redis, disk=small_disk)


def _build_accounts(providers: Mapping[str, Provider]) -> dict[str, str]:
    return {
        "PROVIDER_OLYMPUS": f"sendgrid://:{SENDGRID_KEY}@sendgrid?api_url={providers['olympus'].url}",
        "PROVIDER_HADES": f"mailgun://:{MAILGUN_KEY}@{MAILGUN_DOMAIN}?api_url={providers['hades'].url}",
        "MERCURY_PRIVATE_HOSTS_ALLOWED": "127.0.0.1",
    }


def _build_plant(names: str) -> dict[str, str]:
    """Return the variables that plant bugs; only a process started with them ever sees one."""
    path = os.pathsep.join(filter(None, (str(INJECT), str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {"CHAOS_PLANT": names, "PYTHONPATH": path} if names else {}
