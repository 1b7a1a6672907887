"""The keys applications sign in with: made, found, rotated, revoked. Only their hashes are stored.

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
from django.db import Error, connection, transaction
from django.db.models import TextChoices
from django.utils import timezone

from mails.message import addresses
from mails.models import ApiKey
from mercury.lib import rates
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_errors
from mercury.lib.mail import printable

log = structlog.get_logger(__name__)

_SHAPE = re.compile(r"mk_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_PREFIX_ALPHABET = string.ascii_lowercase + string.digits
_WITH_PREFIX = "SELECT * FROM mails_apikey WHERE prefix = %s OR old_prefix = %s"
MOST_IN_A_WINDOW = 100_000  # the moment of each mail is kept for as long as the window is
_LAST_USED_STEP = dt.timedelta(minutes=1)
KIND = "API key"  # in the audit log
_CHANGEABLE = ("name", "scopes", "senders", "rate", "expires_at")


class Scope(TextChoices):
    """What a key may do."""

    MAILS_SEND = "mails:send", "Send mails"
    MAILS_READ = "mails:read", "Read its own mails and their events"
    MAILS_MANAGE = "mails:manage", "Cancel, hold, release, reprocess and resolve its own emails"
    EVENTS_WRITE = "events:write", "Append events under names of its own"
    EVENTS_SYSTEM = "events:system", "Append events under the names of the sending model"
    PROVIDERS_READ = "providers:read", "Read provider accounts"
    PROVIDERS_WRITE = "providers:write", "Register, change and remove provider accounts"
    STATS_READ = "stats:read", "Read the figures of the whole house"


SCOPES = tuple(Scope.values)


class KeyNotUsable(Exception):
    """The key is revoked or expired; the text says which."""


def create(
    name: str,
    *,
    scopes: Iterable[str],
    senders: Iterable[str],
    rate: str = "",
    expires_at: dt.datetime | None = None,
    by: str = audit.COMMAND_LINE,
) -> tuple[ApiKey, str]:
    """Store a new key and return it with its text, which is never to be had again. The audit log keeps that `by` made it.

    `senders`: see `written_sender`; `rate` is what it may hand in, see `written_rate`. Raises ValueError naming an unknown
    scope, or saying how to write a name, a sender or a rate.
    """
    chosen = list(dict.fromkeys(scopes))
    unknown = [scope for scope in chosen if scope not in SCOPES]
    if unknown:
        raise ValueError(f"Unknown scope '{unknown[0]}'. Known: {', '.join(SCOPES)}.")
    prefix, text = _made()
    key = ApiKey(
        name=written_name(name),
        prefix=prefix,
        secret_hash=_hash(text),
        scopes=[str(scope) for scope in chosen],
        senders=list(dict.fromkeys(map(written_sender, senders))),
        rate=written_rate(rate),
        expires_at=expires_at,
    )
    with transaction.atomic():
        key.save(force_insert=True)
        _record(Act.REGISTER, key, by=by, detail=_told(key))
    return key, text


def update(key: ApiKey, *, by: str) -> None:
    """Store what was changed on `key` about its name, scopes, senders, rate and end, and record each change.

    Nothing else is written, so a key that was revoked or rotated since it was read stays so.
    """
    with transaction.atomic():
        before = ApiKey.objects.select_for_update().get(pk=key.pk)
        changed = [field for field in _CHANGEABLE if getattr(before, field) != getattr(key, field)]
        if changed:
            key.save(update_fields=changed)
            words = [f"{field}: {_value(before, field)} → {_value(key, field)}" for field in changed]
            _record(Act.CHANGE, key, by=by, detail="; ".join(words))


def written_name(text: str) -> str:
    """The name as a key keeps it. Raises ValueError if it holds a mark that must not be shown as it is."""
    if mark := printable.find_unprintable(text):
        raise ValueError(f"The name contains a mark that cannot be shown ({printable.name_mark(mark)}); take it out.")
    return text


def written_sender(text: str) -> str:
    """What a key may send as: an address, `@example.com` for a whole domain, or `*`. Raises ValueError for anything else."""
    local, at, domain = text.rpartition("@")
    if text != "*" and not (at and (addresses.is_address(text) if local else addresses.is_domain(domain))):
        raise ValueError(f"“{text}” is not an address. Write mercury@example.com, @example.com for a domain, or *.")
    return text


def written_rate(text: str) -> str:
    """The rate as a key keeps it: `600/m`, or empty for no limit. Raises ValueError, saying how to write one."""
    rate = rates.parse(text)
    if rate is None:
        return ""
    if not rate.number.is_integer() or rate.number > MOST_IN_A_WINDOW:
        raise ValueError(
            f"A key's rate counts whole mails, at most {MOST_IN_A_WINDOW} of them: write 30/m for 0.5/s, 12/s for 1000000/d."
        )
    return f"{rate.number:.0f}/{rate.unit}"


def find(text: str) -> ApiKey | None:
    """The usable key that `text` is, or None for a wrong, revoked or expired one.

    One query, so that a revoked key ends at once; a second one, at most once a minute, notes that the key was used. The
    secret is compared in constant time.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    now = timezone.now()
    digest = _hash(text)
    found = None
    for key in _with_prefix(match[1]):
        if key.is_usable(now) and hmac.compare_digest(_expected(key, match[1], now), digest):
            found = key
    if found is not None:
        _note_use(found, now)
    return found


def _with_prefix(prefix: str) -> list[ApiKey]:
    """The keys that have, or had, this prefix.

    Every request asks this first, so it is also the test of the connection: one that broke since it was last used is
    opened anew and asked again, in place of Django's question ahead of each request's first. The statement is written
    out because the ORM took longer to build it than PostgreSQL to answer it.
    """
    if connection.in_atomic_block:
        return list(ApiKey.objects.raw(_WITH_PREFIX, [prefix, prefix]))
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return list(ApiKey.objects.raw(_WITH_PREFIX, [prefix, prefix]))
    except Error as error:
        if not database_errors.is_lost(error):
            raise
        connection.close()
        return list(ApiKey.objects.raw(_WITH_PREFIX, [prefix, prefix]))


def revoke(key: ApiKey, *, by: str = audit.COMMAND_LINE) -> bool:
    """End the key at once and for good. False if it had been revoked before."""
    now = timezone.now()
    with transaction.atomic():
        won = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now)
        if won:
            key.revoked_at = now
            _record(Act.REVOKE, key, by=by, detail="")
    return bool(won)


def rotate(key: ApiKey, overlap: dt.timedelta, *, by: str = audit.COMMAND_LINE) -> tuple[ApiKey, str]:
    """Give the key a new text and return both; the old text works for `overlap` more.

    It stays the same key: its mails, idempotency keys, scopes and senders are kept. Raises KeyNotUsable for a key that is
    revoked or expired, whose new text would not work either.
    """
    if why := why_not_rotated(key):
        raise KeyNotUsable(why)
    prefix, text = _made()
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
                f"The key '{key.name}' ({key.prefix}) was revoked or rotated at this moment. Look at it again."
            )
        for name, value in changed.items():
            setattr(key, name, value)
        until = f"{now + overlap:%Y-%m-%d %H:%M} UTC"
        _record(Act.ROTATE, key, by=by, detail=f"The text mk_{key.old_prefix}_… works until {until}.")
    return key, text


def why_not_rotated(key: ApiKey) -> str:
    """Return why a new text of the key would not work, in words; empty if it would."""
    if key.is_usable(timezone.now()):
        return ""
    state = "is revoked" if key.revoked_at else "has expired"
    return f"The key '{key.name}' ({key.prefix}) {state}: a new text would not work either. Make another key."


def _record(act: Act, key: ApiKey, *, by: str, detail: str) -> None:
    audit.record(act, by=by, kind=KIND, name=str(key), object_id=key.pk, detail=detail)


def _told(key: ApiKey) -> str:
    """What a key may do, as the audit log says it."""
    return "; ".join(f"{field}: {_value(key, field)}" for field in _CHANGEABLE if field != "name")


def _value(key: ApiKey, field: str) -> str:
    value = getattr(key, field)
    match value:
        case list():
            return ", ".join(value) or "none"
        case dt.datetime():
            return f"{value:%Y-%m-%d %H:%M} UTC"
    return str(value or "none")


def _made() -> tuple[str, str]:
    prefix = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(8))
    return prefix, f"mk_{prefix}_{secrets.token_urlsafe(32)}"


def _hash(text: str) -> str:
    """SHA-256 is enough: what is hashed holds 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(text.encode()).hexdigest()


def _expected(key: ApiKey, prefix: str, now: dt.datetime) -> str:
    """The hash of the text that has this prefix; none once the old text's time is over."""
    if key.prefix == prefix:
        return key.secret_hash
    return key.old_secret_hash if key.old_expires_at is not None and key.old_expires_at > now else ""


def _note_use(key: ApiKey, now: dt.datetime) -> None:
    """A database that may only be read, such as a replica, keeps nobody out."""
    if key.last_used_at is not None and now - key.last_used_at < _LAST_USED_STEP:
        return
    try:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    except Error as error:
        log.warning("key_use_not_noted", key=key.prefix, error=type(error).__name__)
    else:
        key.last_used_at = now
