"""Mercury's own system checks: settings that are misspelt, that contradict each other, or that are not safe.

`manage.py check` shows them, `check --deploy` those of a real installation too; each command waits for the former.
"""

import difflib
import importlib.util
import sqlite3
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.utils import timezone
from redis import Redis
from redis.exceptions import RedisError

from mails.maintenance import retention_limits
from mails.states import Policy
from mercury.lib import durations, encryption
from mercury.lib.commands import CHECKS, plain
from mercury.lib.runtime import private_files
from providers import outbound_hosts
from providers.accounts import environment
from providers.kinds.capabilities import KINDS, Transport

LEASE_MARGIN = timedelta(seconds=30)  # from the end of a call to the end of its lease
WORKER_SILENCE = timedelta(minutes=1)  # longer than a restart takes
SANDBOXES = frozenset(key for key, kind in KINDS.items() if kind.transport is Transport.SANDBOX)
ADD_ACCOUNT = "Set PROVIDER_<NAME> (docs/providers.md), or add an account in the admin."
SQLITE_NEEDED = (3, 35)  # UPDATE … RETURNING, which the claim is written with


def register_all() -> None:
    """Tell Django of the checks below."""
    for check in (names, values, database, accounts, beyond_loopback):
        register(check, CHECKS)
    for check in (
        production,
        production_stores,
        production_accounts,
        production_destinations,
        production_secrets,
        production_workers,
        production_files,
    ):
        register(check, CHECKS, deploy=True)


def names(**_: Any) -> list[CheckMessage]:
    """A name that begins like ours and that nobody reads."""
    return [
        Warning(f"{name} is not a setting of Mercury.", hint=_suggestion(name), id="mercury.W001")
        for name in sorted(settings.MERCURY_ENVIRONMENT)
        if name.startswith("MERCURY_") and name not in settings.MERCURY_NAMES
    ]


def values(**_: Any) -> list[CheckMessage]:
    """Values that cannot work."""
    found: list[CheckMessage] = []
    if settings.MERCURY_LEASE < settings.MERCURY_SEND_TIMEOUT + LEASE_MARGIN:
        lease, deadline = (
            durations.words(setting.total_seconds())
            for setting in (settings.MERCURY_LEASE, settings.MERCURY_SEND_TIMEOUT)
        )
        found.append(
            Error(
                f"MERCURY_LEASE ({lease}) ends before a call may (MERCURY_SEND_TIMEOUT, {deadline}) and its result is stored: "
                "another worker would send the mail again.",
                hint="Make it at least MERCURY_SEND_TIMEOUT + 30 s.",
                id="mercury.E001",
            )
        )
    if settings.MERCURY_CONNECT_TIMEOUT > settings.MERCURY_SEND_TIMEOUT:
        connecting, deadline = (
            durations.words(setting.total_seconds())
            for setting in (settings.MERCURY_CONNECT_TIMEOUT, settings.MERCURY_SEND_TIMEOUT)
        )
        found.append(
            Error(
                f"MERCURY_CONNECT_TIMEOUT ({connecting}) is longer than the whole call may take (MERCURY_SEND_TIMEOUT, {deadline}).",
                hint="Make it MERCURY_SEND_TIMEOUT or less.",
                id="mercury.E009",
            )
        )
    if settings.MERCURY_DELIVERY_GUARANTEE not in Policy.values:
        found.append(
            Error(
                f"MERCURY_DELIVERY_GUARANTEE: '{settings.MERCURY_DELIVERY_GUARANTEE}' is no policy.",
                hint=f"Known: {', '.join(Policy.values)}.",
                id="mercury.E002",
            )
        )
    if fault := retention_limits.wrong(settings.MERCURY_BODY_RETENTION, settings.MERCURY_MAIL_RETENTION):
        found.append(Error(fault, hint="MERCURY_BODY_RETENTION, MERCURY_MAIL_RETENTION.", id="mercury.E008"))
    return found


def database(**_: Any) -> list[CheckMessage]:
    """A database, or a driver of it, that Mercury would not work with."""
    if connection.vendor == "sqlite" and sqlite3.sqlite_version_info < SQLITE_NEEDED:
        return [
            Error(
                f"SQLite {sqlite3.sqlite_version} is too old; Mercury needs {'.'.join(map(str, SQLITE_NEEDED))}.",
                hint="Use a newer Python, or PostgreSQL: DATABASE_URL.",
                id="mercury.E004",
            )
        ]
    if connection.vendor == "postgresql" and importlib.util.find_spec("psycopg") is not None:
        return [
            Warning(
                "psycopg 3 is installed beside psycopg2: Django prefers it in silence, and Mercury is not tested with it.",
                hint="pip uninstall psycopg",
                id="mercury.W002",
            )
        ]
    return []


def accounts(**_: Any) -> list[CheckMessage]:
    """Provider accounts in the environment that cannot be read."""
    try:
        environment.parse_accounts(settings.MERCURY_ENVIRONMENT)
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/providers.md shows how an account is written.", id="mercury.E005")]
    return []


def beyond_loopback(**_: Any) -> list[CheckMessage]:
    """Settings for a laptop on a machine that answers others."""
    others = [host for host in settings.ALLOWED_HOSTS if not _is_loopback(host)]
    return _unsafe(f"ALLOWED_HOSTS names {', '.join(others)}") if others else []


def production(**_: Any) -> list[CheckMessage]:
    """What a real installation must have set."""
    found = [] if beyond_loopback() else _unsafe("This is checked as a deployment")
    if not settings.MERCURY_HTTPS:
        found.append(
            Warning(
                "MERCURY_HTTPS is off: passwords and API keys travel in the clear.",
                hint="Put a proxy with TLS in front, and set MERCURY_HTTPS=true.",
                id="mercury.W003",
            )
        )
    if settings.REDIS_URL and connection.vendor == "sqlite":
        found.append(
            Warning(
                "SQLite with Redis: workers on other machines do not see the mails, those on this one wait for each other.",
                hint="Set DATABASE_URL to PostgreSQL, or leave REDIS_URL empty.",
                id="mercury.W004",
            )
        )
    return found


def production_stores(**_: Any) -> list[CheckMessage]:
    """A database or a Redis that does not answer, in the words of its driver, which tell no password."""
    found: list[CheckMessage] = []
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        found.append(
            Warning(
                f"The database does not answer: {_sentence(error)}",
                hint="Start it, or correct DATABASE_URL. Without it no mail is taken, and none is sent.",
                id="mercury.W009",
            )
        )
    if not settings.REDIS_URL:
        return found
    wait = settings.MERCURY_REDIS_TIMEOUT
    try:
        with Redis.from_url(settings.REDIS_URL, socket_connect_timeout=wait, socket_timeout=wait) as redis:
            redis.ping()
    except RedisError as error:
        found.append(
            Warning(
                f"Redis does not answer: {_sentence(error)}",
                hint="Start it, or correct REDIS_URL. Without it mails are sent up to two seconds later.",
                id="mercury.W010",
            )
        )
    return found


def production_accounts(**_: Any) -> list[CheckMessage]:
    """Accounts that deliver to nobody, alone or beside those that do."""
    try:
        known = _accounts()
    except ImproperlyConfigured:
        return []  # `accounts` says so
    drawn = {name: kind for name, (kind, is_drawn) in known.items() if is_drawn}
    sandboxes = sorted(name for name, kind in drawn.items() if kind in SANDBOXES)
    if not known and not _stand_ins_are_out_of_use():
        return [
            Warning(
                "No provider account: the sandbox takes every mail, and nobody receives one.",
                hint=ADD_ACCOUNT,
                id="mercury.W005",
            )
        ]
    if not drawn:
        return [
            Warning(
                "Every provider account is disabled or has the weight 0: mails wait, and none is sent.",
                hint="Enable one: manage.py providers enable NAME." if known else ADD_ACCOUNT,
                id="mercury.W006",
            )
        ]
    if sandboxes:
        share = (
            "every mail is" if len(sandboxes) == len(drawn) else "a mail that is drawn for them counts as sent, and is"
        )
        return [
            Warning(
                f"Sandbox accounts are enabled ({', '.join(sandboxes)}): {share} delivered to nobody.",
                hint="Take them out of the environment, or: manage.py providers disable NAME.",
                id="mercury.W007",
            )
        ]
    return []


def production_secrets(**_: Any) -> list[CheckMessage]:
    """Stored secrets that still need an older key than the first."""
    try:
        stored = apps.get_model("providers", "Account")._default_manager.exclude(secret_options="").order_by("name")
        old = [name for name, token in stored.values_list("name", "secret_options") if not encryption.is_current(token)]
    except DatabaseError:
        return []  # `database` says so
    if not old:
        return []
    return [
        Warning(
            f"Stored secrets need an older encryption key than the first: {', '.join(old)}.",
            hint="Encrypt them with it: manage.py providers encrypt.",
            id="mercury.W011",
        )
    ]


def production_destinations(**_: Any) -> list[CheckMessage]:
    """Accounts of the environment whose secret would go out without TLS. No call is made for them."""
    try:
        accounts_named = environment.parse_accounts(settings.MERCURY_ENVIRONMENT)
    except ImproperlyConfigured:
        return []  # `accounts` says so
    allowed = outbound_hosts.get_allowed_hosts()
    return [
        Error(
            f"The secret of account '{name}' would go out without TLS, so no email goes through it.",
            hint="Use TLS; or, if that is meant, add its host to MERCURY_PRIVATE_HOSTS_ALLOWED.",
            id="mercury.E010",
        )
        for name, account in sorted(accounts_named.items())
        if account.kind not in SANDBOXES and outbound_hosts.is_secret_exposed(account.options, allowed=allowed)
    ]


def production_workers(**_: Any) -> list[CheckMessage]:
    """Full mode with nobody who sends. Silent where the database cannot be asked."""
    if not settings.REDIS_URL:
        return []
    worker = apps.get_model("mails", "Worker")
    try:
        if worker.objects.filter(seen_at__gte=timezone.now() - WORKER_SILENCE).exists():
            return []
    except DatabaseError:
        return []
    return [
        Warning(
            "REDIS_URL is set, so workers send, and none has been seen for a minute: mails are taken and wait.",
            hint="Start one: manage.py worker. Before the very first start this is as it should be.",
            id="mercury.W008",
        )
    ]


def production_files(**_: Any) -> list[CheckMessage]:
    """Emails and secrets that everybody on this machine can read."""
    names = [Path(settings.MERCURY_DATA)]
    if connection.vendor == "sqlite":
        names.append(Path(connection.settings_dict["NAME"]))
    return [
        Warning(
            f"Everybody on this machine has access to {path}, where emails lie.",
            hint=f"chmod {'700' if path.is_dir() else '600'} {path}",
            id="mercury.W012",
        )
        for path in names
        if private_files.is_open_to_all(path)
    ]


def refuse_start(addresses: Iterable[str] = ()) -> None:
    """Raise ImproperlyConfigured, a line for each fault, where a setting cannot work or suits only a laptop.

    `addresses` are those the server listens on, `host:port`. Called as the web process starts; commands have the checks.
    """
    unsafe = beyond_loopback()
    by_network = [address for address in addresses if not address.startswith(("unix:", "/"))]
    listening = [address for address in by_network if not _is_loopback(address.rpartition(":")[0])]
    if listening and not unsafe:
        unsafe = _unsafe(f"The server listens on {', '.join(listening)}")
    if found := [*values(), *accounts(), *unsafe]:
        raise ImproperlyConfigured("\n".join(f"{message.msg} {message.hint}" for message in found))


def _unsafe(because: str) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.MERCURY_SECRET_IS_GENERATED:
        found.append(
            Error(
                f"{because}, but SECRET_KEY is not set: the made one is for this machine alone.",
                hint="Set SECRET_KEY to 50 random characters or more, the same for all processes.",
                id="mercury.E006",
            )
        )
    if settings.DEBUG:
        found.append(
            Error(
                f"{because}, but DEBUG is on: it shows settings and code to anybody.",
                hint="Set DEBUG=false.",
                id="mercury.E007",
            )
        )
    return found


def _is_loopback(host: str) -> bool:
    host = host.strip("[]").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, settings.MERCURY_NAMES, n=1)
    return f"Did you mean {near[0]}?" if near else "docs/settings.md lists them all."


def _sentence(error: Exception) -> str:
    return " ".join(plain(error).split())


def _stand_ins_are_out_of_use() -> bool:
    """Whether the sandboxes that stand in where no account was set up are there, and mails are drawn for none of them."""
    account = apps.get_model("providers", "Account")
    try:
        stand_ins = list(account.objects.filter(source="default"))
    except DatabaseError:
        return False
    return bool(stand_ins) and not any(row.enabled and row.weight > 0 for row in stand_ins)


def _accounts() -> dict[str, tuple[str, bool]]:
    """Kind, and whether mails are drawn for it, of each account that was set up; those of the database if it can be asked."""
    found = {
        name: (one.kind, one.weight > 0)
        for name, one in environment.parse_accounts(settings.MERCURY_ENVIRONMENT).items()
    }
    account = apps.get_model("providers", "Account")  # this module is imported before models can be
    try:
        rows = list(account.objects.exclude(source="default"))
    except DatabaseError:
        return found  # nothing migrated yet, or no database
    for row in rows:
        if row.source == "database" or row.name in found:  # not one whose variable is gone
            kind = found[row.name][0] if row.name in found else row.kind
            found[row.name] = (kind, row.enabled and row.weight > 0)
    return found
