"""The three records: what clients were told, what Mercury says, what the providers took. Read-only, and by SQL of its own."""

import json
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chaos.clients import Told
from chaos.database import query
from chaos.testbed import Testbed


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a mail. `at_ns`: nanoseconds since the Unix epoch."""

    id: int
    name: str
    at_ns: int
    by: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that Mercury has on record. `opened` and `closed`: nanoseconds since the Unix epoch."""

    number: int
    account: str
    state: str
    reason_code: str
    opened: int
    closed: int | None


@dataclass(frozen=True, slots=True)
class MailOnRecord:
    """A mail as Mercury has it on record."""

    id: str
    subject: str
    key: str
    status: str
    reason_code: str
    is_leased: bool
    is_due: bool
    events: tuple[Event, ...]
    attempts: tuple[Attempt, ...]

    def first(self, name: str) -> Event:
        """Return the first event of this name; there must be one."""
        return next(event for event in self.events if event.name == name)

    def count(self, name: str) -> int:
        """Return how many events have this name."""
        return sum(event.name == name for event in self.events)


@dataclass(frozen=True, slots=True)
class Taking:
    """A mail that a provider took."""

    mail_id: str
    subject: str
    account: str
    at_ns: int


@dataclass(frozen=True)
class Records:
    """All three. `seen`: statuses of a sample of the mails, as the API shows them; "" where it knows no such mail."""

    told: Sequence[Told]
    mails: dict[str, MailOnRecord]
    taken: Sequence[Taking]
    seen: dict[str, str]

    @property
    def taken_by_mail(self) -> dict[str, list[Taking]]:
        """Return the deliveries of each email, in the order of time."""
        found: dict[str, list[Taking]] = defaultdict(list)
        for taking in sorted(self.taken, key=lambda taking: taking.at_ns):
            found[taking.mail_id].append(taking)
        return found


def read(testbed: Testbed, told: Sequence[Told], *, subjects: str, sample: int) -> Records:
    """Read all three, for the mails whose subjects begin like this; about so many of them over HTTP, too.

    For an answer of the API may differ from its database. The web process must answer.
    """
    taken = [
        Taking(mail["mail_id"], mail["subject"], provider.account, mail["arrived_ns"])
        for provider in testbed.providers.values()
        for mail in provider.taken()
        if mail["subject"].startswith(subjects)
    ]
    mails = on_record(testbed.database_url, subjects)
    known = [answer.mail_id for answer in told if answer.mail_id]
    asked = known[:: max(1, len(known) // sample)]
    return Records(list(told), mails, taken, {mail_id: _seen(testbed, mail_id) for mail_id in asked})


def on_record(database_url: str, subjects: str) -> dict[str, MailOnRecord]:
    """Return the emails whose subjects begin like this, with their events and attempts."""
    ours = "(SELECT id FROM mails_mail WHERE subject LIKE ?)"
    like = f"{subjects}%"
    events: dict[str, list[Event]] = defaultdict(list)
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for mail_id, *event in query(
        database_url,
        f"SELECT mail_id, id, event, created_at, created_by FROM mails_event WHERE mail_id IN {ours} ORDER BY id",
        like,
    ):
        events[_id(mail_id)].append(Event(*event))
    for mail_id, number, account, state, reason_code, opened, closed in query(
        database_url,
        "SELECT mail_id, number, account, state, reason_code, opened_at, closed_at FROM mails_attempt"
        f" WHERE mail_id IN {ours} ORDER BY number",
        like,
    ):
        closed_ns = moment_ns(closed) if closed else None
        attempts[_id(mail_id)].append(Attempt(number, account, state, reason_code, moment_ns(opened), closed_ns))
    rows = query(
        database_url,
        "SELECT id, subject, idempotency_key, status, reason_code, lease IS NOT NULL, status IN ('queued', 'waiting')"
        " FROM mails_mail WHERE subject LIKE ?",
        like,
    )
    return {
        _id(mail_id): MailOnRecord(
            _id(mail_id),
            subject,
            key,
            status,
            reason_code,
            bool(leased),
            bool(due),
            tuple(events[_id(mail_id)]),
            tuple(attempts[_id(mail_id)]),
        )
        for mail_id, subject, key, status, reason_code, leased, due in rows
    }


def _seen(testbed: Testbed, mail_id: str) -> str:
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


def _id(value: Any) -> str:
    """Return a UUID as the API writes it; SQLite holds it as 32 hexadecimal digits."""
    text = str(value).replace("-", "")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def moment_ns(value: Any) -> int:
    """Return a moment of a database in nanoseconds since the Unix epoch."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1_000_000) * 1000
