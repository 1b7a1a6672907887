"""Lease a batch of due mails to one drain. Each database has its own way; both give the same answer."""

import datetime as dt
import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from mails.lifecycle import HOUSE_IS_OPEN, STATE_COLUMNS, AttemptOpened, MailState, state_of
from mails.models import Mail
from mails.states import Policy, RecipientState, Status
from mercury.lib import recordset
from mercury.lib.recordset import as_time, as_uuid

SILENCE = dt.timedelta(seconds=10)  # a worker without a heartbeat for so long is taken for lost
_READ = ("id", "sender", "subject", "policy", "expires_at", *STATE_COLUMNS)


@dataclass(frozen=True, slots=True)
class RecipientInHand:
    """One recipient of a mail in hand."""

    id: int
    address: str
    state: RecipientState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MailInHand:
    """A mail that this process holds under a lease, with what it takes to send it."""

    id: uuid.UUID
    sender: str
    subject: str
    text: str
    policy: Policy
    due_at: dt.datetime  # since when it has waited
    expires_at: dt.datetime
    recipients: tuple[RecipientInHand, ...]
    state: MailState

    @property
    def open_recipients(self) -> tuple[RecipientInHand, ...]:
        """Those that no provider has taken or refused for good."""
        return tuple(one for one in self.recipients if one.state == RecipientState.PENDING)


def lease(lanes: Sequence[str], *, limit: int, worker: str, now: dt.datetime, until: dt.datetime) -> list[MailInHand]:
    """Claim up to `limit` due mails of these lanes, oldest first, and return them with text and open recipients.

    None while the house is held. One short transaction of its own. Any number of drains may call this at once; no mail is given to two of them.
    """
    token = uuid.uuid4()
    claim = _lease_postgresql if connection.vendor == "postgresql" else _lease_sqlite
    with transaction.atomic():
        rows = claim(lanes, limit, token, worker, now, until)
        return _loaded(rows) if rows else []


_SET = "status = %s, lease = %s, lease_expires_at = %s, worker = %s, claims = mail.claims + 1"


def _lease_postgresql(
    lanes: Sequence[str], limit: int, token: uuid.UUID, worker: str, now: dt.datetime, until: dt.datetime
) -> list[tuple[Any, ...]]:
    """Rows that another drain is claiming are skipped, not waited for."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH due AS MATERIALIZED (
                SELECT id FROM mails_mail
                WHERE status IN ('queued', 'waiting') AND lane = ANY(%s) AND next_attempt_at <= %s
                    AND {HOUSE_IS_OPEN}
                ORDER BY next_attempt_at LIMIT %s FOR UPDATE SKIP LOCKED
            )
            UPDATE mails_mail AS mail SET {_SET} FROM due WHERE mail.id = due.id
            RETURNING {", ".join(f"mail.{name}" for name in _READ)}
            """,  # noqa: S608 (names of our own columns)
            [list(lanes), now, limit, Status.CLAIMED, token.hex, until, worker],
        )
        return list(cursor.fetchall())


def _lease_sqlite(
    lanes: Sequence[str], limit: int, token: uuid.UUID, worker: str, now: dt.datetime, until: dt.datetime
) -> list[tuple[Any, ...]]:
    """The transaction began IMMEDIATE, so nobody else writes meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE mails_mail AS mail SET {_SET} WHERE id IN (
                SELECT id FROM mails_mail
                WHERE status IN ('queued', 'waiting') AND lane IN (SELECT value FROM json_each(%s))
                    AND next_attempt_at <= %s AND {HOUSE_IS_OPEN}
                ORDER BY next_attempt_at LIMIT %s
            )
            RETURNING {", ".join(_READ)}
            """,  # noqa: S608 (names of our own columns)
            [
                Status.CLAIMED,
                token.hex,
                recordset.time_text(until),
                worker,
                json.dumps(list(lanes)),
                recordset.time_text(now),
                limit,
            ],
        )
        return list(cursor.fetchall())


def is_held(mail_id: uuid.UUID, token: uuid.UUID, *, until: dt.datetime) -> bool:
    """Whether the mail is held under this lease, and will be until then."""
    return Mail.objects.filter(id=mail_id, lease=token, lease_expires_at__gte=until).exists()


def wishes(attempts: Mapping[uuid.UUID, AttemptOpened]) -> dict[uuid.UUID, str]:
    """Of these mails, those whose call is still this attempt, under its lease, each with what was asked for meanwhile."""
    rows = Mail.objects.filter(id__in=list(attempts), status=Status.SENDING)
    return {
        mail_id: wish
        for mail_id, lease, number, wish in rows.values_list("id", "lease", "attempt_count", "wish")
        if (lease, number) == (attempts[mail_id].lease, attempts[mail_id].number)
    }


def _loaded(rows: Sequence[Sequence[Any]]) -> list[MailInHand]:
    """The claimed rows with what the other tables hold, in two queries whatever their number."""
    mails = [dict(zip(_READ, row, strict=True)) for row in rows]
    ids = [as_uuid(mail["id"]) for mail in mails]
    listed = f"(SELECT id FROM {recordset.source('r', {'id': 'uuid'})})"  # noqa: S608 (a column of our own)
    wanted = [recordset.encode({"id": mail_id} for mail_id in ids)]
    recipients: dict[uuid.UUID, list[RecipientInHand]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT mail_id, text FROM mails_content WHERE mail_id IN {listed}", wanted)  # noqa: S608
        texts = {as_uuid(mail_id): text for mail_id, text in cursor.fetchall()}
        cursor.execute(
            "SELECT mail_id, id, address, state, reason FROM mails_recipient"  # noqa: S608
            f" WHERE mail_id IN {listed} ORDER BY id",
            wanted,
        )
        for mail_id, pk, address, state, reason in cursor.fetchall():
            recipients[as_uuid(mail_id)].append(RecipientInHand(pk, address, RecipientState(state), reason))
    return [
        MailInHand(
            id=mail_id,
            sender=mail["sender"],
            subject=mail["subject"],
            text=texts.get(mail_id, ""),
            policy=Policy(mail["policy"]),
            due_at=as_time(mail["next_attempt_at"]),
            expires_at=as_time(mail["expires_at"]),
            recipients=tuple(recipients[mail_id]),
            state=state_of(mail),
        )
        for mail_id, mail in zip(ids, mails, strict=True)
    ]
