"""API keys of client applications: create, find, rotate and revoke them. Only their hashes are stored.

A key reads `mk_<prefix>_<secret>`: the prefix finds its row and may be shown, the secret (256 random bits) is shown once.
"""

import datetime as dt
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable

import structlog
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import TextChoices
from django.utils import timezone

from mails.message import addresses
from mails.models import ApiKey
from mercury.lib import rates
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_errors, recordset
from mercury.lib.mail import printable

log = structlog.get_logger(__name__)

_KEY_PATTERN = re.compile(r"mk_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_PREFIX_ALPHABET = string.ascii_lowercase + string.digits
_COLUMNS = recordset.list_columns(ApiKey, [field.attname for field in ApiKey._meta.concrete_fields])
_SELECT_BY_PREFIX = f"SELECT {', '.join(_COLUMNS)} FROM mails_apikey WHERE prefix = %s OR old_prefix = %s"  # noqa: S608 (our names)
MAX_PER_WINDOW = 100_000  # the time of each request is kept for the length of the window
MAX_LIMIT = 1_000_000_000  # emails a minute, or recipients a day
_LAST_USED_PRECISION = dt.timedelta(minutes=1)
AUDIT_KIND = "API key"  # in the audit log
_LIMITS = ("emails_per_minute", "recipients_per_day")
_EDITABLE_FIELDS = ("name", "scopes", "senders", "rate", *_LIMITS, "expires_at")


class Scope(TextChoices):
    """Permissions that a key can have."""

    MAILS_SEND = "mails:send", "Send emails"
    MAILS_READ = "mails:read", "Read its own emails and their events"
    MAILS_MANAGE = "mails:manage", "Cancel, hold, release, reprocess, reschedule and resolve its own emails"
    EVENTS_WRITE = "events:write", "Append custom events"
    EVENTS_SYSTEM = "events:system", "Append system events"
    PROVIDERS_READ = "providers:read", "Read provider accounts"
    PROVIDERS_WRITE = "providers:write", "Register, change and remove provider accounts"
    SUPPRESSIONS_READ = "suppressions:read", "Read the suppressions of its sender domains"
    SUPPRESSIONS_WRITE = "suppressions:write", "Add and remove suppressions of its sender domains"
    WEBHOOKS_READ = "webhooks:read", "Read its own webhooks and their deliveries"
    WEBHOOKS_WRITE = "webhooks:write", "Add, change, test and remove its own webhooks, and deliver again"
    STATS_READ = "stats:read", "Read statistics for all applications"


SCOPES = tuple(Scope.values)


class KeyNotUsable(Exception):
    """The key is revoked or expired; the message says which."""


def create(
    name: str,
    *,
    scopes: Iterable[str],
    senders: Iterable[str],
    rate: str = "",
    emails_per_minute: int | None = None,
    recipients_per_day: int | None = None,
    expires_at: dt.datetime | None = None,
    by: str = audit.COMMAND_LINE,
) -> tuple[ApiKey, str]:
    """Store a new key and return it with the key itself, which cannot be read again. The audit log records it as made by `by`.

    `senders` are normalized by `normalize_sender`, `rate` by `normalize_rate`, limits checked by `check_limit`. Raises
    ValueError for an unknown scope and for an invalid name, sender, rate or limit; the text says how to write it.
    """
    granted = list(dict.fromkeys(scopes))
    unknown = [scope for scope in granted if scope not in SCOPES]
    if unknown:
        raise ValueError(f"Unknown scope '{unknown[0]}'. Known: {', '.join(SCOPES)}.")
    prefix, text = _generate_key()
    key = ApiKey(
        name=normalize_name(name),
        prefix=prefix,
        secret_hash=_hash(text),
        scopes=[str(scope) for scope in granted],
        senders=list(dict.fromkeys(map(normalize_sender, senders))),
        rate=normalize_rate(rate),
        emails_per_minute=check_limit(emails_per_minute),
        recipients_per_day=check_limit(recipients_per_day),
        expires_at=expires_at,
    )
    with transaction.atomic():
        key.save(force_insert=True)
        _record_act(Act.REGISTER, key, by=by, detail=_describe_grants(key))
    return key, text


def update(key: ApiKey, *, by: str) -> None:
    """Store the changed name, scopes, senders, rate, limits and expiry of `key`, and record each change in the audit log.

    Nothing else is written, so a key that was revoked or rotated since it was read stays revoked or rotated.
    """
    with transaction.atomic():
        before = ApiKey.objects.select_for_update().get(pk=key.pk)
        changed = [field for field in _EDITABLE_FIELDS if getattr(before, field) != getattr(key, field)]
        if changed:
            key.save(update_fields=changed)
            words = [f"{field}: {_format_field(before, field)} → {_format_field(key, field)}" for field in changed]
            _record_act(Act.CHANGE, key, by=by, detail="; ".join(words))


def normalize_name(text: str) -> str:
    """Return the name, or raise ValueError if it contains a character that cannot be shown."""
    if mark := printable.find_unprintable(text):
        raise ValueError(
            f"The name contains a character that cannot be shown ({printable.name_mark(mark)}); remove it."
        )
    return text


def normalize_sender(text: str) -> str:
    """Return an allowed sender: an address, `@example.com` for a whole domain, or `*`. Raises ValueError for anything else."""
    local, at, domain = text.rpartition("@")
    if text != "*" and not (at and (addresses.is_address(text) if local else addresses.is_domain(domain))):
        raise ValueError(
            f"“{text}” is not a valid email address. Write mercury@example.com, @example.com for a domain, or *."
        )
    return text


def normalize_rate(text: str) -> str:
    """Return the rate in its stored form: `600/m`, or empty for no limit. Raises ValueError that says how to write one."""
    rate = rates.parse_rate(text)
    if rate is None:
        return ""
    if not rate.number.is_integer() or rate.number > MAX_PER_WINDOW:
        raise ValueError(
            f"A rate is a whole number of emails, at most {MAX_PER_WINDOW}: write 30/m for 0.5/s, 12/s for 1000000/d."
        )
    return f"{rate.number:.0f}/{rate.unit}"


def check_limit(limit: int | None) -> int | None:
    """Return the limit, None for no limit. Raises ValueError for one that is out of range; the text says what to do."""
    if limit == 0:
        raise ValueError(
            "A limit of 0 would refuse every email. To stop a key, revoke it, or take its scope mails:send away; for no "
            "limit, leave it empty."
        )
    if limit is not None and not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"A limit is a whole number from 1 to {MAX_LIMIT:,}.")
    return limit


def find(text: str) -> ApiKey | None:
    """Return the usable key that `text` is, or None for a wrong, revoked or expired one.

    One query, so that revoking a key takes effect at once; a second one, at most once a minute, records its use. The
    secret is compared in constant time.
    """
    match = _KEY_PATTERN.fullmatch(text)
    if match is None:
        return None
    now = timezone.now()
    digest = _hash(text)
    found = None
    for key in _load_by_prefix(match[1]):
        if key.is_usable(now) and hmac.compare_digest(_select_expected_hash(key, match[1], now), digest):
            found = key
    if found is not None:
        _record_use(found, now)
    return found


def find_by_prefix(prefix: str) -> ApiKey | None:
    """Return the key with this prefix, usable or not; also after one rotation. Its use is recorded, if it is usable.

    For what an operator has configured: a prefix is no secret, and proves nothing.
    """
    now = timezone.now()
    keys = sorted(_load_by_prefix(prefix), key=lambda key: key.prefix != prefix)
    if not keys:
        return None
    if keys[0].is_usable(now):
        _record_use(keys[0], now)
    return keys[0]


def _load_by_prefix(prefix: str) -> list[ApiKey]:
    """Return the keys that have, or had, this prefix.

    Every request runs this query first, so it also tests the connection: if that broke since its last use, it is opened
    again and the query repeated. This replaces Django's own health check, which costs a query per request. The statement
    is written out, and its rows are read, without the ORM, which took longer for that than PostgreSQL for the answer.
    """
    database = connections[DEFAULT_DB_ALIAS]  # this thread's, which Django's `connection` looks for at each use
    if database.in_atomic_block:
        return _select_by_prefix(database, prefix)
    database.health_check_done = True  # type: ignore[attr-defined]
    try:
        return _select_by_prefix(database, prefix)
    except Error as error:
        if not database_errors.is_lost(error):
            raise
        database.close()
        return _select_by_prefix(database, prefix)


def _select_by_prefix(database: BaseDatabaseWrapper, prefix: str) -> list[ApiKey]:
    with database.cursor() as cursor:
        cursor.execute(_SELECT_BY_PREFIX, [prefix, prefix])
        return [
            ApiKey.from_db(DEFAULT_DB_ALIAS, tuple(_COLUMNS), recordset.read_row(_COLUMNS, row))
            for row in cursor.fetchall()
        ]


def revoke(key: ApiKey, *, by: str = audit.COMMAND_LINE) -> bool:
    """Revoke the key permanently. Returns False if it was revoked before."""
    now = timezone.now()
    with transaction.atomic():
        won = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now)
        if won:
            key.revoked_at = now
            _record_act(Act.REVOKE, key, by=by, detail="")
    return bool(won)


def rotate(key: ApiKey, overlap: dt.timedelta, *, by: str = audit.COMMAND_LINE) -> tuple[ApiKey, str]:
    """Replace the secret of a key and return the key with its new text; the old one works for `overlap` longer.

    Its emails, idempotency keys, scopes and senders stay. Raises KeyNotUsable for a revoked or expired key, which would
    not work with a new secret either.
    """
    if why := explain_not_rotatable(key):
        raise KeyNotUsable(why)
    prefix, text = _generate_key()
    now = timezone.now()
    changed = {
        "old_prefix": key.prefix,
        "old_secret_hash": key.secret_hash,
        "old_expires_at": now + overlap,
        "prefix": prefix,
        "secret_hash": _hash(text),
    }
    with transaction.atomic():
        if not ApiKey.objects.filter(pk=key.pk, prefix=key.prefix, revoked_at__isnull=True).update(**changed):
            raise KeyNotUsable(
                f"The key '{key.name}' ({key.prefix}) was revoked or rotated by someone else just now. Look at it again."
            )
        for name, value in changed.items():
            setattr(key, name, value)
        until = f"{now + overlap:%Y-%m-%d %H:%M} UTC"
        _record_act(Act.ROTATE, key, by=by, detail=f"The old key mk_{key.old_prefix}_… works until {until}.")
    return key, text


def explain_not_rotatable(key: ApiKey) -> str:
    """Return the reason why the key cannot be rotated, as a sentence; empty if it can."""
    if key.is_usable(timezone.now()):
        return ""
    state = "is revoked" if key.revoked_at else "has expired"
    return f"The key '{key.name}' ({key.prefix}) {state} and cannot be rotated. Create another key."


def _record_act(act: Act, key: ApiKey, *, by: str, detail: str) -> None:
    audit.record(act, by=by, kind=AUDIT_KIND, name=str(key), object_id=key.pk, detail=detail)


def _describe_grants(key: ApiKey) -> str:
    """Return what a key may do, as one line of the audit log."""
    return "; ".join(f"{field}: {_format_field(key, field)}" for field in _EDITABLE_FIELDS if field != "name")


def _format_field(key: ApiKey, field: str) -> str:
    value = getattr(key, field)
    match value:
        case list():
            return ", ".join(value) or "none"
        case dt.datetime():
            return f"{value:%Y-%m-%d %H:%M} UTC"
    return str(value or "none")


def _generate_key() -> tuple[str, str]:
    prefix = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(8))
    return prefix, f"mk_{prefix}_{secrets.token_urlsafe(32)}"


def _hash(text: str) -> str:
    """Hash a key. SHA-256 is enough: a key holds 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(text.encode()).hexdigest()


def _select_expected_hash(key: ApiKey, prefix: str, now: dt.datetime) -> str:
    """Return the hash of the key with this prefix; empty once an old key's overlap is over."""
    if key.prefix == prefix:
        return key.secret_hash
    return key.old_secret_hash if key.old_expires_at is not None and key.old_expires_at > now else ""


def _record_use(key: ApiKey, now: dt.datetime) -> None:
    """Record that the key was used. A read-only database, such as a replica, locks nobody out."""
    if key.last_used_at is not None and now - key.last_used_at < _LAST_USED_PRECISION:
        return
    try:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    except Error as error:
        log.warning("key_use_record_failed", key=key.prefix, error=type(error).__name__)
    else:
        key.last_used_at = now
