"""The three records: answers to clients, Mercury's database, deliveries at the providers. Read-only, with SQL of its own."""

import json
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chaos.clients import ClientRecord
from chaos.database import query
from chaos.testbed import Testbed


@dataclass(frozen=True, slots=True)
class EventOnRecord:
    """An event of an email. `at_ns`: nanoseconds since the Unix epoch."""

    id: int
    name: str
    at_ns: int
    by: str


@dataclass(frozen=True, slots=True)
class AttemptOnRecord:
    """An attempt that Mercury has on record. `opened` and `closed`: nanoseconds since the Unix epoch."""

    number: int
    account: str
    state: str
    reason_code: str
    opened: int
    closed: int | None


@dataclass(frozen=True, slots=True)
class MailOnRecord:
    """An email as Mercury has it on record."""

    id: str
    subject: str
    key: str
    status: str
    reason_code: str
    is_leased: bool
    is_due: bool
    events: tuple[EventOnRecord, ...]
    attempts: tuple[AttemptOnRecord, ...]

    def find_first(self, name: str) -> EventOnRecord:
        """Return the first event of this name; there must be one."""
        return next(event for event in self.events if event.name == name)

    def count(self, name: str) -> int:
        """Return how many events have this name."""
        return sum(event.name == name for event in self.events)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An email that a provider accepted."""

    mail_id: str
    subject: str
    account: str
    at_ns: int


@dataclass(frozen=True)
class Records:
    """All three. `seen`: statuses of a sample of the emails, as the API shows them; "" where it knows no such email."""

    client_records: Sequence[ClientRecord]
    mails: dict[str, MailOnRecord]
    deliveries: Sequence[Delivery]
    seen: dict[str, str]

    @property
    def deliveries_by_mail(self) -> dict[str, list[Delivery]]:
        """Return the deliveries of each email, in the order of time."""
        found: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in sorted(self.deliveries, key=lambda delivery: delivery.at_ns):
            found[delivery.mail_id].append(delivery)
        return found


def read(testbed: Testbed, client_records: Sequence[ClientRecord], *, subjects: str, sample: int) -> Records:
    """Read all three for the emails whose subjects begin like this, and about `sample` of them over HTTP, too.

    For an answer of the API may differ from its database. The web process must answer.
    """
    deliveries = [
        Delivery(mail["mail_id"], mail["subject"], provider.account, mail["arrived_ns"])
        for provider in testbed.providers.values()
        for mail in provider.read_deliveries()
        if mail["subject"].startswith(subjects)
    ]
    mails = read_mails(testbed.database_url, subjects)
    known = [answer.mail_id for answer in client_records if answer.mail_id]
    asked = known[:: max(1, len(known) // sample)]
    return Records(
        list(client_records), mails, deliveries, {mail_id: _ask_status(testbed, mail_id) for mail_id in asked}
    )


def read_mails(database_url: str, subjects: str) -> dict[str, MailOnRecord]:
    """Return the emails whose subjects begin like this, with their events and attempts."""
    ours = "(SELECT id FROM mails_mail WHERE subject LIKE ?)"
    like = f"{subjects}%"
    events: dict[str, list[EventOnRecord]] = defaultdict(list)
    attempts: dict[str, list[AttemptOnRecord]] = defaultdict(list)
    for mail_id, *event in query(
        database_url,
        f"SELECT mail_id, id, event, created_at, created_by FROM mails_event WHERE mail_id IN {ours} ORDER BY id",
        like,
    ):
        events[format_id(mail_id)].append(EventOnRecord(*event))
    for mail_id, number, account, state, reason_code, opened, closed in query(
        database_url,
        "SELECT mail_id, number, account, state, reason_code, opened_at, closed_at FROM mails_attempt"
        f" WHERE mail_id IN {ours} ORDER BY number",
        like,
    ):
        closed_ns = convert_to_ns(closed) if closed else None
        attempts[format_id(mail_id)].append(
            AttemptOnRecord(number, account, state, reason_code, convert_to_ns(opened), closed_ns)
        )
    rows = query(
        database_url,
        "SELECT id, subject, idempotency_key, status, reason_code, lease IS NOT NULL, status IN ('queued', 'waiting')"
        " FROM mails_mail WHERE subject LIKE ?",
        like,
    )
    return {
        format_id(mail_id): MailOnRecord(
            format_id(mail_id),
            subject,
            key,
            status,
            reason_code,
            bool(leased),
            bool(due),
            tuple(events[format_id(mail_id)]),
            tuple(attempts[format_id(mail_id)]),
        )
        for mail_id, subject, key, status, reason_code, leased, due in rows
    }


def _ask_status(testbed: Testbed, mail_id: str) -> str:
    request = urllib.request.Request(
        f"{testbed.instance.url}/mails/{mail_id}", headers={"Authorization": f"Bearer {testbed.instance.key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.loads(answer.read())["status"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise


def format_id(value: Any) -> str:
    """Return a UUID as the API writes it; SQLite holds it as 32 hexadecimal digits."""
    text = str(value).replace("-", "")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def convert_to_ns(value: Any) -> int:
    """Return a moment of a database in nanoseconds since the Unix epoch."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1_000_000) * 1000
