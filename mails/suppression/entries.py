"""Add entries to the list and remove them. The only code that writes it.

Adding is idempotent: the same entry again changes nothing, another one for the same address and scope replaces its reason,
detail, expiry and source, and it keeps since when it holds.
"""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any

from django.db import connection, transaction

from mails.models import Suppression
from mails.states import SuppressionReason
from mails.suppression import check, keys, rules
from mails.suppression.rules import NewEntry
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock, recordset
from mercury.lib.database.recordset import as_time

AUDIT_KIND = "suppression"  # in the audit log
BATCH = 5000  # entries in one transaction

_KEYS = {"address": "text", "scope": "text"}
_COLUMNS = recordset.list_columns(
    Suppression, ("address", "scope", "reason", "source", "detail", "created_at", "expires_at", "mail_id")
)
_SELECT = """
    SELECT s.address, s.scope, s.reason, s.detail, s.created_at, s.expires_at FROM {rows}
    JOIN mails_suppression AS s ON s.address = r.address AND s.scope = r.scope {lock}
"""
# An entry that somebody else added since it was looked for is replaced, too.
_WRITE = """
    INSERT INTO mails_suppression ({names}) SELECT {picked} FROM {rows} WHERE true
    ON CONFLICT (address, scope) DO UPDATE SET {changes}
"""

Key = tuple[str, str]  # address and scope


class Change(StrEnum):
    """What became of an entry that was to be added."""

    ADDED = "added"
    UPDATED = "updated"
    SKIPPED = "skipped"  # it is on the list as it is, or it has expired


def suppress(
    address: str,
    *,
    reason: SuppressionReason,
    source: str,
    scope: str = "",
    detail: str = "",
    mail_id: uuid.UUID | None = None,
    expires_at: dt.datetime | None = None,
) -> Change:
    """Suppress an address that an email was sent to, for all senders or those of a domain.

    For reports of providers: an entry that holds as long, or longer, stays as it is. Raises InvalidAddress.
    """
    entry = NewEntry(
        address=keys.normalize(address),
        scope=keys.normalize_scope(scope),
        reason=reason,
        detail=rules.clean_detail(detail),
        mail_id=mail_id,
        expires_at=expires_at,
    )
    (change,) = put([entry], source=source, may_shorten=False)
    return change


def put(entries: Iterable[NewEntry], *, source: str, may_shorten: bool = True) -> Counter[Change]:
    """Add entries, or replace those of the same address and scope, in one transaction. Of several equal ones the last counts.

    `may_shorten`: False leaves an entry as it is that holds as long as the new one. At most BATCH entries: two statements.
    """
    listed = list(entries)
    last = {(entry.address, entry.scope): entry for entry in listed}
    now = database_clock.now()
    with transaction.atomic():
        before = load(last, lock=True)
        changes = {key: decide(before.get(key), entry, now, may_shorten=may_shorten) for key, entry in last.items()}
        rows = [
            _build_row(entry, before.get(key) if changes[key] == Change.UPDATED else None, source, now)
            for key, entry in sorted(last.items())  # in one order: two imports never wait for each other in turn
            if changes[key] != Change.SKIPPED
        ]
        _write(rows)
    return Counter(changes.values()) + Counter({Change.SKIPPED: len(listed) - len(last)})


def decide(before: Suppression | None, entry: NewEntry, now: dt.datetime, *, may_shorten: bool = True) -> Change:
    """Return what adding the entry does to the one of the same address and scope. Pure."""
    if entry.expires_at is not None and entry.expires_at <= now:
        return Change.SKIPPED
    if before is None or (before.expires_at is not None and before.expires_at <= now):
        return Change.ADDED
    if not may_shorten and holds_as_long(before, entry):
        return Change.SKIPPED
    same = (before.reason, before.detail, before.expires_at) == (entry.reason, entry.detail, entry.expires_at)
    return Change.SKIPPED if same else Change.UPDATED


def holds_as_long(before: Suppression, entry: NewEntry) -> bool:
    """Return True if the stored entry ends no earlier than the new one."""
    if before.expires_at is None:
        return True
    return entry.expires_at is not None and entry.expires_at <= before.expires_at


def load(listed: Collection[Key], *, lock: bool = False) -> dict[Key, Suppression]:
    """Return the entries of these addresses and scopes, unsaved and without what nobody compares. One query."""
    if not listed:
        return {}
    rows, parameters = recordset.build("r", _KEYS, sorted(listed))
    locked = "FOR UPDATE OF s" if lock and connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(_SELECT.format(rows=rows, lock=locked), parameters)
        return {
            (address, scope): Suppression(
                address=address,
                scope=scope,
                reason=reason,
                detail=detail,
                created_at=as_time(created_at),
                expires_at=as_time(expires_at) if expires_at else None,
            )
            for address, scope, reason, detail, created_at, expires_at in cursor.fetchall()
        }


def remove(suppressions: Sequence[Suppression], *, by: str) -> int:
    """Delete entries, record who did it, and return how many there still were. Their addresses get email again at once."""
    with transaction.atomic():
        found = list(Suppression.objects.select_for_update().filter(pk__in=[entry.pk for entry in suppressions]))
        Suppression.objects.filter(pk__in=[entry.pk for entry in found]).delete()
        audit.record_all(
            Act.DELETE, by=by, kind=AUDIT_KIND, objects=[(entry.pk, entry.address, describe(entry)) for entry in found]
        )
    return len(found)


def describe(entry: Suppression) -> str:
    """Return the entry in one line, for the audit log."""
    scope = f"email from {entry.scope}" if entry.scope else "all email"
    detail = f" ({entry.detail})" if entry.detail else ""
    return f"{entry.reason}{detail}, for {scope}, since {entry.created_at:%Y-%m-%d} by {entry.source}"


def remove_expired() -> int:
    """Delete a batch of entries that have expired, and return how many. Several processes may do it at once."""
    expired = Suppression.objects.filter(expires_at__lte=database_clock.now()).order_by("expires_at")
    with transaction.atomic():
        found = list(expired.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
        return Suppression.objects.filter(pk__in=found).delete()[0]


def _build_row(entry: NewEntry, before: Suppression | None, source: str, now: dt.datetime) -> tuple[Any, ...]:
    since = before.created_at if before else min(entry.since or now, now)
    return (
        entry.address,
        entry.scope,
        entry.reason,
        source[:160],
        entry.detail,
        since,
        entry.expires_at,
        entry.mail_id,
    )


def _write(rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    source, parameters = recordset.build("r", _COLUMNS, rows)
    statement = _WRITE.format(
        names=", ".join(_COLUMNS),
        picked=", ".join(f"r.{name}" for name in _COLUMNS),
        rows=source,
        changes=", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEYS),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
    check.note_entry()
