"""Mercury's system checks: settings that are misspelled, contradict each other, or are not safe.

`manage.py check` runs the basic ones, as does every command; `check --deploy` adds those for production.
"""

import difflib
import importlib.util
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
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

from mails.events.sinks.config import load_sinks
from mails.maintenance import retention_limits
from mails.states import DeliveryGuarantee
from mails.submission_streams.config import load_streams
from mercury.lib import durations, encryption
from mercury.lib.commands import CHECK_TAG, make_printable
from mercury.lib.runtime import private_files
from providers import outbound_hosts
from providers.accounts import environment
from providers.accounts.config import AccountConfig
from providers.kinds.catalog import KINDS

LEASE_MARGIN = timedelta(seconds=30)  # from the end of a request to the end of its lease
WORKER_RESTART_TIME = timedelta(minutes=1)  # longer than a restart takes
SANDBOXES = frozenset(key for key, kind in KINDS.items() if not kind.capabilities.delivers)
ADD_ACCOUNT = "Set PROVIDER_<NAME> (docs/providers.md), or add an account in the admin."
SECRET_NEEDED = 32  # characters; Django warns below 50. Fewer are a placeholder that was left, or a password
SQLITE_NEEDED = (3, 35)  # UPDATE … RETURNING, which the claim uses


def register_all() -> None:
    """Register the checks below with Django."""
    for check in (
        check_names,
        check_values,
        check_database,
        check_accounts,
        check_sinks,
        check_submission_streams,
        check_hosts,
    ):
        register(check, CHECK_TAG)
    for check in (
        check_production,
        check_stores,
        check_accounts_in_use,
        check_destinations,
        check_secrets,
        check_workers,
        check_files,
    ):
        register(check, CHECK_TAG, deploy=True)


def check_names(**_: Any) -> list[CheckMessage]:
    """Warn about names that begin with MERCURY_ and are not settings."""
    return [
        Warning(f"{name} is not a setting of Mercury.", hint=_suggest(name), id="mercury.W001")
        for name in sorted(settings.MERCURY_ENVIRONMENT)
        if name.startswith("MERCURY_") and name not in settings.MERCURY_NAMES
    ]


def check_values(**_: Any) -> list[CheckMessage]:
    """Report values that contradict each other."""
    found: list[CheckMessage] = []
    if settings.MERCURY_LEASE < settings.MERCURY_SEND_TIMEOUT + LEASE_MARGIN:
        lease, timeout = (
            durations.format_duration(setting.total_seconds())
            for setting in (settings.MERCURY_LEASE, settings.MERCURY_SEND_TIMEOUT)
        )
        found.append(
            Error(
                f"MERCURY_LEASE ({lease}) is too short for MERCURY_SEND_TIMEOUT ({timeout}): it may end before the result of a "
                "request is stored, and another worker would send the email again.",
                hint="Set it to at least MERCURY_SEND_TIMEOUT + 30 s.",
                id="mercury.E001",
            )
        )
    if settings.MERCURY_CONNECT_TIMEOUT > settings.MERCURY_SEND_TIMEOUT:
        connecting, timeout = (
            durations.format_duration(setting.total_seconds())
            for setting in (settings.MERCURY_CONNECT_TIMEOUT, settings.MERCURY_SEND_TIMEOUT)
        )
        found.append(
            Error(
                f"MERCURY_CONNECT_TIMEOUT ({connecting}) is longer than MERCURY_SEND_TIMEOUT ({timeout}), the limit of the whole request.",
                hint="Set it to MERCURY_SEND_TIMEOUT or less.",
                id="mercury.E009",
            )
        )
    if settings.MERCURY_DELIVERY_GUARANTEE not in DeliveryGuarantee.values:
        found.append(
            Error(
                f"MERCURY_DELIVERY_GUARANTEE: '{settings.MERCURY_DELIVERY_GUARANTEE}' is not a delivery guarantee.",
                hint=f"Known: {', '.join(DeliveryGuarantee.values)}.",
                id="mercury.E002",
            )
        )
    if error := retention_limits.find_error(settings.MERCURY_BODY_RETENTION, settings.MERCURY_MAIL_RETENTION):
        found.append(Error(error, hint="MERCURY_BODY_RETENTION, MERCURY_MAIL_RETENTION.", id="mercury.E008"))
    if settings.MERCURY_LINK_EXPIRY > settings.MERCURY_MAIL_RETENTION:
        expiry, kept = (
            durations.format_duration(setting.total_seconds())
            for setting in (settings.MERCURY_LINK_EXPIRY, settings.MERCURY_MAIL_RETENTION)
        )
        found.append(
            Error(
                f"MERCURY_LINK_EXPIRY ({expiry}) is longer than MERCURY_MAIL_RETENTION ({kept}): a download link ends with its email.",
                hint="Set it to MERCURY_MAIL_RETENTION or less.",
                id="mercury.E011",
            )
        )
    return found


def check_database(**_: Any) -> list[CheckMessage]:
    """Report a database or a driver that Mercury does not support."""
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
                "psycopg 3 is installed together with psycopg2. Django prefers it, and Mercury is not tested with it.",
                hint="pip uninstall psycopg",
                id="mercury.W002",
            )
        ]
    return []


def check_accounts(**_: Any) -> list[CheckMessage]:
    """Report provider accounts in the environment that cannot be read."""
    try:
        environment.parse_accounts(settings.MERCURY_ENVIRONMENT)
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/providers/ describes the URL of each kind.", id="mercury.E005")]
    return []


def check_sinks(**_: Any) -> list[CheckMessage]:
    """Report streams of events in the environment that cannot be read."""
    try:
        load_sinks()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/streams.md describes the URL of each kind.", id="mercury.E012")]
    return []


def check_submission_streams(**_: Any) -> list[CheckMessage]:
    """Report streams of submissions in the environment that cannot be read."""
    try:
        load_streams()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/streams.md describes the URL of each kind.", id="mercury.E013")]
    return []


def check_hosts(**_: Any) -> list[CheckMessage]:
    """Report development settings on a machine that others can reach."""
    others = [host for host in settings.ALLOWED_HOSTS if not _is_loopback(host)]
    return _list_unsafe_settings(f"ALLOWED_HOSTS names {', '.join(others)}") if others else []


def check_production(**_: Any) -> list[CheckMessage]:
    """Report missing settings of a production installation."""
    found = [] if check_hosts() else _list_unsafe_settings("This is a production check")
    if not settings.MERCURY_HTTPS:
        found.append(
            Warning(
                "MERCURY_HTTPS is off: passwords and API keys are sent unencrypted.",
                hint="Use a TLS proxy in front of Mercury, and set MERCURY_HTTPS=true.",
                id="mercury.W003",
            )
        )
    if settings.REDIS_URL and connection.vendor == "sqlite":
        found.append(
            Warning(
                "SQLite with Redis: workers on other machines cannot read the database, and workers on this one block each other.",
                hint="Set DATABASE_URL to PostgreSQL, or leave REDIS_URL empty.",
                id="mercury.W004",
            )
        )
    return found


def check_stores(**_: Any) -> list[CheckMessage]:
    """Report a database or Redis that does not answer, with the driver's message, which contains no password."""
    found: list[CheckMessage] = []
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        found.append(
            Warning(
                f"The database does not answer: {_join_lines(error)}",
                hint="Start it, or correct DATABASE_URL. Without it Mercury cannot accept or send email.",
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
                f"Redis does not answer: {_join_lines(error)}",
                hint="Start it, or correct REDIS_URL. Without it email is sent up to two seconds later.",
                id="mercury.W010",
            )
        )
    return found


def check_accounts_in_use(**_: Any) -> list[CheckMessage]:
    """Warn about sandbox accounts, and about missing or disabled accounts."""
    try:
        known = _read_accounts()
    except ImproperlyConfigured:
        return []  # `check_accounts` reports it
    used = {name: kind for name, (kind, is_used) in known.items() if is_used}
    sandboxes = sorted(name for name, kind in used.items() if kind in SANDBOXES)
    if not known and not _are_default_sandboxes_unused():
        return [
            Warning(
                "No provider account: all email goes to the sandbox, and nothing is delivered.",
                hint=ADD_ACCOUNT,
                id="mercury.W005",
            )
        ]
    if not used:
        return [
            Warning(
                "Every provider account is disabled or has the weight 0: email is queued, and none is sent.",
                hint="Enable one: manage.py providers enable NAME." if known else ADD_ACCOUNT,
                id="mercury.W006",
            )
        ]
    if sandboxes:
        share = "all email goes to them" if len(sandboxes) == len(used) else "email that they get counts as sent"
        return [
            Warning(
                f"Sandbox accounts are enabled ({', '.join(sandboxes)}): {share}, but is not delivered.",
                hint="Remove them from the environment, or disable them: manage.py providers disable NAME.",
                id="mercury.W007",
            )
        ]
    return []


def check_secrets(**_: Any) -> list[CheckMessage]:
    """Warn about stored secrets that are encrypted with an older key."""
    try:
        stored = apps.get_model("providers", "Account")._default_manager.exclude(secret_options="").order_by("name")
        old = [name for name, token in stored.values_list("name", "secret_options") if not encryption.is_current(token)]
        webhooks = apps.get_model("mails", "Webhook")._default_manager.values_list("secret", "previous_secret")
        late = sum(not encryption.is_current(token) for tokens in webhooks for token in tokens if token)
    except DatabaseError:
        return []  # `check_database` reports it
    found: list[CheckMessage] = []
    if late:
        found.append(
            Warning(
                f"Secrets of webhooks are encrypted with an older key: {late:,}.",
                hint="Keep that key in MERCURY_ENCRYPTION_KEYS: a worker encrypts them with the newest one within 10 minutes.",
                id="mercury.W013",
            )
        )
    if not old:
        return found
    return [
        *found,
        Warning(
            f"The stored secrets of these accounts are encrypted with an older key: {', '.join(old)}.",
            hint="Encrypt them with the newest key: manage.py providers encrypt.",
            id="mercury.W011",
        ),
    ]


def check_destinations(**_: Any) -> list[CheckMessage]:
    """Report accounts of the environment that Mercury makes no requests for, because of where they lead.

    Their secret would be sent without TLS, or their host is a private address. Asks no DNS: a name may lead there, too.
    """
    try:
        accounts_named = environment.parse_accounts(settings.MERCURY_ENVIRONMENT)
    except ImproperlyConfigured:
        return []  # `check_accounts` reports it
    allowed = outbound_hosts.get_allowed_hosts()
    called = {name: config for name, config in sorted(accounts_named.items()) if config.kind not in SANDBOXES}
    return [
        *_list_private(called, allowed),
        *_list_exposed(called, allowed),
    ]


def _list_private(accounts: Mapping[str, AccountConfig], allowed: Collection[str]) -> Iterator[CheckMessage]:
    for name, account in accounts.items():
        try:
            outbound_hosts.check_literal(outbound_hosts.get_host(account.options), allowed=allowed)
        except outbound_hosts.HostNotAllowed as error:
            yield Error(
                f"The host of account '{name}' is the private address '{error.host}', so the account is not used.",
                hint="To allow it, add it to MERCURY_PRIVATE_HOSTS_ALLOWED, without a port.",
                id="mercury.E015",
            )


def _list_exposed(accounts: Mapping[str, AccountConfig], allowed: Collection[str]) -> list[CheckMessage]:
    return [
        Error(
            f"The secret of account '{name}' would be sent without TLS, so the account is not used.",
            hint="Use TLS. To allow it without TLS, add its host to MERCURY_PRIVATE_HOSTS_ALLOWED.",
            id="mercury.E010",
        )
        for name, account in accounts.items()
        if outbound_hosts.is_secret_exposed(account.options, allowed=allowed)
    ]


def check_workers(**_: Any) -> list[CheckMessage]:
    """Warn about full mode without a worker. Return nothing if the database does not answer."""
    if not settings.REDIS_URL:
        return []
    worker = apps.get_model("mails", "Worker")
    try:
        if worker.objects.filter(seen_at__gte=timezone.now() - WORKER_RESTART_TIME).exists():
            return []
    except DatabaseError:
        return []
    return [
        Warning(
            "REDIS_URL is set, so workers send, but no worker has been seen for a minute: email is queued, and none is sent.",
            hint="Start one: manage.py worker. You can ignore this before the first start.",
            id="mercury.W008",
        )
    ]


def check_files(**_: Any) -> list[CheckMessage]:
    """Warn about files with emails and secrets that every user of this machine can read."""
    names = [Path(settings.MERCURY_DATA)]
    if connection.vendor == "sqlite":
        names.append(Path(connection.settings_dict["NAME"]))
    return [
        Warning(
            f"Every user of this machine can read {path}, which contains emails.",
            hint=f"chmod {'700' if path.is_dir() else '600'} {path}",
            id="mercury.W012",
        )
        for path in names
        if private_files.is_open_to_all(path)
    ]


def refuse_start(addresses: Iterable[str] = ()) -> None:
    """Raise ImproperlyConfigured, with a line per error, for contradicting settings or development settings in production.

    `addresses` are those the server listens on, `host:port`. The web process calls this when it starts; commands run the checks.
    """
    unsafe = check_hosts()
    by_network = [address for address in addresses if not address.startswith(("unix:", "/"))]
    listening = [address for address in by_network if not _is_loopback(address.rpartition(":")[0])]
    if listening and not unsafe:
        unsafe = _list_unsafe_settings(f"The server listens on {', '.join(listening)}")
    if found := [*check_values(), *check_accounts(), *check_sinks(), *check_submission_streams(), *unsafe]:
        raise ImproperlyConfigured("\n".join(f"{message.msg} {message.hint}" for message in found))


def _list_unsafe_settings(because: str) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.MERCURY_SECRET_IS_GENERATED:
        found.append(
            Error(
                f"{because}, but SECRET_KEY is not set. The generated key is only for local use.",
                hint="Set SECRET_KEY to at least 50 random characters, the same for all processes.",
                id="mercury.E006",
            )
        )
    elif len(settings.SECRET_KEY) < SECRET_NEEDED:
        found.append(
            Error(
                f"{because}, but SECRET_KEY has only {len(settings.SECRET_KEY)} characters, and can be guessed.",
                hint="Set SECRET_KEY to at least 50 random characters, the same for all processes.",
                id="mercury.E014",
            )
        )
    if settings.DEBUG:
        found.append(
            Error(
                f"{because}, but DEBUG is on. It shows settings and code to anyone.",
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


def _suggest(name: str) -> str:
    near = difflib.get_close_matches(name, settings.MERCURY_NAMES, n=1)
    return f"Did you mean {near[0]}?" if near else "docs/settings.md lists all settings."


def _join_lines(error: Exception) -> str:
    return " ".join(make_printable(error).split())


def _are_default_sandboxes_unused() -> bool:
    """Return True if the default sandbox accounts exist, and none of them is used."""
    account = apps.get_model("providers", "Account")
    try:
        defaults = list(account.objects.filter(source="default"))
    except DatabaseError:
        return False
    return bool(defaults) and not any(row.enabled and row.weight > 0 for row in defaults)


def _read_accounts() -> dict[str, tuple[str, bool]]:
    """Return the kind of each configured account and if it is used. Includes the database if it answers."""
    found = {
        name: (config.kind, config.weight > 0)
        for name, config in environment.parse_accounts(settings.MERCURY_ENVIRONMENT).items()
    }
    account = apps.get_model("providers", "Account")  # this module is imported before the models
    try:
        rows = list(account.objects.exclude(source="default"))
    except DatabaseError:
        return found  # nothing migrated yet, or no database
    for row in rows:
        if row.source == "database" or row.name in found:  # skip an account whose variable is gone
            kind = found[row.name][0] if row.name in found else row.kind
            found[row.name] = (kind, row.enabled and row.weight > 0)
    return found
