"""`manage.py test`: run all tests with pytest, embedded and against PostgreSQL and Redis. `make test` calls it."""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import redis
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from mercury.lib import commands
from mercury.lib.commands import ExitCode

# Settings that a developer may have set for their own Mercury; the tests set what they need.
_NOT_FOR_TESTS = ("MERCURY_", "PROVIDER_", "SENDGRID_", "MAILGUN_", "LOG_")
_NAMES_NOT_FOR_TESTS = frozenset({"SECRET_KEY", "DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS"})

_NO_TESTS = 5  # the exit code of pytest


@dataclass(frozen=True)
class Leg:
    """One way to run Mercury. Empty URLs mean SQLite and no Redis."""

    name: str
    database_url: str = ""
    redis_url: str = ""

    def find_missing_service(self) -> str:
        """Return the service that this leg needs and cannot reach, in words; empty if none."""
        if self.database_url:
            try:
                psycopg2.connect(self.database_url, connect_timeout=3).close()
            except psycopg2.OperationalError as error:
                return f"no PostgreSQL ({str(error).strip().splitlines()[0]})"
        if self.redis_url:
            try:
                with redis.Redis.from_url(self.redis_url, socket_connect_timeout=3) as client:
                    client.ping()
            except redis.RedisError as error:
                return f"no Redis ({error})"
        return ""


LEGS = (
    Leg("embedded"),
    Leg(
        "full",
        database_url=settings.MERCURY_TEST_DATABASE_URL,
        redis_url=settings.MERCURY_TEST_REDIS_URL,
    ),
)


class Command(commands.MercuryCommand):
    """Run the tests."""

    help = (
        "Run the tests: embedded (SQLite, no Redis), then full (PostgreSQL and Redis). "
        "If a service is missing, its leg is skipped; with the variable CI set, it fails. "
        "Paths are passed to pytest. Its options go after --, as in: manage.py test mails -- -k expired"
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--leg", choices=[leg.name for leg in LEGS], help="Run only this leg.")
        parser.add_argument("--coverage", action="store_true", help="Measure line and branch coverage.")
        parser.add_argument(
            "--workers",
            type=commands.parse_integer_option(1, 64),
            metavar="N",
            default=3,
            help="Number of parallel test processes (default: 3; two cores are enough for them).",
        )
        parser.add_argument("pytest", nargs="*", metavar="PATH", help="Tests to run. Default: all.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run each leg; fail if one failed."""
        if find_spec("pytest") is None:
            raise CommandError(
                "pytest is not installed here. Install what the tests need, once: make .venv/installed-dev, or\n"
                "  python -m pip install --require-hashes -r requirements-dev.txt"
            )
        arguments = _build_arguments(options)
        results = {leg.name: _run(leg, arguments) for leg in LEGS if options["leg"] in {None, leg.name}}
        if options["coverage"]:
            subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=settings.BASE_DIR, check=False)
        for name, result in results.items():
            out.say(f"{name}: {result}", tone="ok" if result == "passed" else "bad")
        out.write_document(results)
        return ExitCode.FAILED if "failed" in results.values() else None


def _build_arguments(options: dict[str, Any]) -> list[str]:
    arguments = [sys.executable, "-m", "pytest", *options["pytest"]]
    if options["workers"] > 1 and not options["pytest"]:
        arguments += ["-n", str(options["workers"])]
    if options["coverage"]:
        Path(settings.BASE_DIR / ".coverage").unlink(missing_ok=True)
        arguments += ["--cov", "--cov-append", "--cov-report="]
    return arguments


def _run(leg: Leg, arguments: list[str]) -> str:
    """Run the leg and return its result: passed, failed or skipped.

    It is skipped if a service is missing, or if only the other leg runs the tests that were asked for; in CI it fails then.
    """
    missing = leg.find_missing_service()
    must_run = os.environ.get("CI", "").lower() not in {"", "0", "false"}
    if missing:
        sys.stderr.write(f"Leg '{leg.name}' {'fails' if must_run else 'is skipped'}: {missing}.\n")
        return "failed" if must_run else "skipped"
    sys.stderr.write(f"Leg '{leg.name}':\n")
    with tempfile.TemporaryDirectory(prefix="mercury-tests-") as data, _create_name(leg.database_url) as database_url:
        environment = _build_environment(database_url, leg.redis_url, data)
        process = subprocess.run(arguments, cwd=settings.BASE_DIR, env=environment, check=False)
    if process.returncode == _NO_TESTS and not must_run:
        return "skipped"  # the other leg runs all that were asked for
    return "passed" if process.returncode == 0 else "failed"


@contextmanager
def _create_name(url: str) -> Iterator[str]:
    """Yield the URL of a database name that no other run uses, and drop its databases at the end, even if the tests were killed.

    Django prefixes the name with test_ and creates the databases, one per test process.
    """
    if not url:
        yield ""
        return
    name = f"mercury_{secrets.token_hex(4)}"
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"test_{name}"])
            for (database,) in cursor.fetchall():
                cursor.execute(f'DROP DATABASE "{database}" WITH (FORCE)')


def _build_environment(database_url: str, redis_url: str, data: str) -> dict[str, str]:
    """Return the environment without the developer's settings, with those of the leg."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("MERCURY_TEST_")
        or (not name.startswith(_NOT_FOR_TESTS) and name not in _NAMES_NOT_FOR_TESTS)
    }
    return kept | {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "MERCURY_DATA": data}
