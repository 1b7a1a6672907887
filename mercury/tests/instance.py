"""A whole Mercury as a user runs it: real processes, a data folder, a database and a port of its own.

The stories, the benchmarks (`bench/`) and the chaos tests (`chaos/`) run in it.
"""

import json
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg2
import requests

ROOT = Path(__file__).resolve().parents[2]
KEEP = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START")
Answer = TypeVar("Answer")


class ServiceMissing(Exception):
    """PostgreSQL or Redis is not there; the text says where it was looked for."""


class Instance:
    """One installation. `start` commands; everything still running is killed at the end."""

    def __init__(self, data: Path, *, database_url: str, redis_url: str, **environment: str) -> None:
        self.port = pick_free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/v1.0"
        self.environment = {name: os.environ[name] for name in KEEP if name in os.environ} | {
            "MERCURY_DATA": str(data),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "LOG_FORMAT": "json",
            **environment,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logs = data / "processes.log"
        self.output: int | None = None  # a file descriptor that processes print to instead

    def manage(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process that keeps running, such as `manage.py worker`; `environment` overrides the instance's."""
        with self.logs.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=self.environment | environment,
                cwd=ROOT,
                stdout=log if self.output is None else self.output,
                stderr=log if self.output is None else self.output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_web(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the web process and wait until it answers."""
        gunicorn = ["-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "mercury.wsgi"]
        process = self.start(*gunicorn, **environment)
        wait_until(self.is_ready, 60, self.logs.read_text)
        return process

    def start_worker(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `manage.py worker`."""
        return self.start("manage.py", "worker", *arguments, **environment)

    def is_ready(self) -> bool:
        """Return True if the web process reports that it is ready."""
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def make_key(self) -> None:
        """Create an API key with every scope and sender, and use it from now on."""
        scopes = ("mails:send", "mails:read", "events:write", "providers:read", "providers:write")
        options = [f"--scope={scope}" for scope in scopes]
        made = json.loads(self.manage("apikey", "create", "stories", "--sender=*", "--json", *options))
        self.session = requests.Session()
        self.key: str = made["key"]
        self.session.headers["Authorization"] = f"Bearer {self.key}"

    def post(self, **changes: Any) -> requests.Response:
        """Submit an email of zeus to hera."""
        mail = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": "Hi", "content": "Hi"}
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        return self.session.post(f"{self.url}/mails/", json=mail | changes, headers=headers, timeout=30)

    def read_mail(self, answer: requests.Response) -> dict[str, Any]:
        """Return the email that an answer named, as it is now."""
        return self.session.get(answer.headers["Location"], timeout=30).json()

    def read_events(self, answer: requests.Response) -> list[dict[str, Any]]:
        """Return its events with all fields."""
        url = f"{answer.headers['Location']}/events/?expand=true&per_page=20"
        return self.session.get(url, timeout=30).json()["events"]

    def is_done(self, answer: requests.Response) -> bool:
        """Return True if a provider accepted it."""
        return self.read_mail(answer)["status"] == "done"

    def run(self, function: Callable[..., Answer], *arguments: object) -> Answer:
        """Call a function in a new process with Django set up for this instance, and return what it returns."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_run_inside, self.environment, function, arguments).result()

    def stop(self) -> None:
        """Kill the processes that still run."""
        for process in self.processes:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that `Instance.start` started with SIGKILL, and its children with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@contextmanager
def create_instance(
    data: Path, *, full: bool, database_url: str = "", redis_url: str = "", **environment: str
) -> Iterator[Instance]:
    """Yield an installation with its tables and a key, embedded or `full`; remove it at the end."""
    with create_database(database_url) if full else nullcontext("") as own_url:
        built = Instance(data, database_url=own_url, redis_url=redis_url if full else "", **environment)
        try:
            built.manage("migrate", "--verbosity=0")
            built.make_key()
            yield built
        finally:
            built.stop()


@contextmanager
def create_database(url: str) -> Iterator[str]:
    """Yield the URL of a new database on this server, dropped at the end. Raises ServiceMissing."""
    name = f"mercury_{secrets.token_hex(6)}"
    try:
        _execute(url, f'CREATE DATABASE "{name}"')
    except psycopg2.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer at {url.rpartition('@')[2]}") from error
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        _execute(url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _run_inside(environment: dict[str, str], function: Callable[..., Answer], arguments: Sequence[object]) -> Answer:
    import django

    os.environ.update(environment, DJANGO_SETTINGS_MODULE="mercury.settings")
    django.setup()
    return function(*arguments)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0, explain: Callable[[], Any] = lambda: "") -> float:
    """Wait for the condition, looking every 20 ms; return the seconds, and fail after `seconds`."""
    began = time.monotonic()
    nap = threading.Event()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {explain()}")
        nap.wait(0.02)
    return time.monotonic() - began


def pick_free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _execute(database_url: str, statement: str) -> None:
    connection = psycopg2.connect(database_url, connect_timeout=3)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
