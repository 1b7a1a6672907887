"""Find the recipients that are suppressed. One query for any number of emails, none while the list is empty."""

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connection, transaction

from mails.models import Suppression
from mails.states import SuppressionReason
from mails.suppression import keys
from mercury.lib.database import recordset
from mercury.lib.database.recordset import as_time
from mercury.lib.runtime import process_state

LOOK_EVERY = 2.0  # seconds after which a process looks again whether the list is empty

# Unexpired entries of these addresses, by the index of the unique constraint. PostgreSQL looks each of them up: without
# fresh statistics, as after an import, it would read the whole table for a join.
_ENTRIES = "SELECT address, scope, reason, created_at, expires_at FROM mails_suppression"
_FIND = {
    "postgresql": f"""
        SELECT s.address, s.scope, s.reason, s.created_at FROM {{rows}}
        CROSS JOIN LATERAL ({_ENTRIES} WHERE address = r.address OFFSET 0) AS s
        WHERE s.expires_at IS NULL OR s.expires_at > %s
    """,  # noqa: S608 (names of our own columns)
    "sqlite": f"""
        SELECT s.address, s.scope, s.reason, s.created_at FROM {{rows}} JOIN ({_ENTRIES}) AS s ON s.address = r.address
        WHERE s.expires_at IS NULL OR s.expires_at > %s
    """,  # noqa: S608 (names of our own columns)
}
# Evaluated once a statement: whether a claim has to look for entries at all.
LIST_HAS_ENTRIES = "(SELECT EXISTS (SELECT 1 FROM mails_suppression))"


class Entry(NamedTuple):
    """An entry of the list, as far as an email is told about it."""

    address: str
    scope: str
    reason: SuppressionReason
    since: dt.datetime

    @property
    def sentence(self) -> str:
        """Return why its recipient gets no email."""
        whose = f"email from {self.scope}" if self.scope else "all email"
        return f"Suppressed for {whose} since {self.since:%Y-%m-%d}: {self.reason.label.lower()}."

    def as_blob(self, address: str) -> dict[str, Any]:
        """Return what the event says; `address`: as the email has it."""
        since = self.since.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"address": address, "reason": self.reason, "scope": self.scope, "since": since}


class Matches:
    """The entries of some addresses."""

    def __init__(self, entries: Mapping[str, Sequence[Entry]]) -> None:
        self._entries = entries

    def __bool__(self) -> bool:
        return bool(self._entries)

    def find(self, address: str, *, sender: str) -> Entry | None:
        """Return the entry that keeps the sender's email from this address: that of all senders before that of its domain."""
        entries = self._entries.get(keys.fold(address), ())
        if not entries:
            return None
        applying = [entry for entry in entries if entry.scope in ("", keys.get_sender_domain(sender))]
        return min(applying, key=lambda entry: entry.scope, default=None)


NO_MATCHES = Matches({})


def find(addresses: Collection[str], now: dt.datetime) -> Matches:
    """Return the entries of these addresses that have not expired. One query."""
    rows = [(address,) for address in {keys.fold(address) for address in addresses}]
    if not rows:
        return NO_MATCHES
    source, parameters = recordset.build("r", {"address": "text"}, rows)
    entries: dict[str, list[Entry]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_FIND[connection.vendor].format(rows=source), [*parameters, recordset.format_time(now)])
        for address, scope, reason, since in cursor.fetchall():
            entries[address].append(Entry(address, scope, SuppressionReason(reason), as_time(since)))
    return Matches(entries)


def may_have_entries() -> bool:
    """Return False if the list was empty less than LOOK_EVERY seconds ago. A query only if nobody has looked since."""
    return process_state.get(_LastLook).may_have_entries()


def note_entry() -> None:
    """Note that an entry was added: this process looks again after the commit, others within LOOK_EVERY seconds."""
    transaction.on_commit(lambda: process_state.get(_LastLook).forget())


class _LastLook:
    """What this process last saw of the list: whether it is empty."""

    def __init__(self) -> None:
        self._has_entries = True
        self._valid_until = 0.0

    def may_have_entries(self) -> bool:
        now = time.monotonic()
        if now >= self._valid_until:
            self._has_entries = Suppression.objects.exists()
            self._valid_until = now + LOOK_EVERY
        return self._has_entries

    def forget(self) -> None:
        self._valid_until = 0.0
