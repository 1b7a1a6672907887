"""The SQL of the writer and of claims, named and explained; where the two databases differ, both are side by side here.

Rows come in as one JSON parameter (`mercury.lib.database.recordset`), named `r`, so that a group of emails costs one round trip.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db import connection, models

from mails.lifecycle.values import STATE_COLUMNS
from mails.models import Attempt, Content, Event, IdempotencyKey, Mail, Recipient
from mails.states import DUPLICATE, AttemptState, Status
from mercury.lib.database import recordset
from mercury.lib.database.recordset import list_columns

Columns = Mapping[str, str]
Rows = Sequence[Mapping[str, Any]]
Statement = tuple[str, Rows]  # and the rows that it reads; it is not run without any

# Evaluated once a statement, not once a row.
SENDING_NOT_PAUSED = "NOT EXISTS (SELECT 1 FROM mails_pause WHERE queue = '' AND resumed_at IS NULL)"
PAUSED_QUEUES = "(SELECT queue FROM mails_pause WHERE resumed_at IS NULL)"

MAIL_COLUMNS = list_columns(
    Mail,
    (
        *("id", "api_key_id", "user_id", "source", "idempotency_key", "created_at", "size", "needs"),
        *("sender", "recipient", "subject", "queue", "delivery_guarantee", "expires_at", "last_event_at"),
    ),
)
KEY_COLUMNS = list_columns(IdempotencyKey, ("owner", "key", "body_hash", "mail_id", "created_at"))
CONTENT_COLUMNS = list_columns(Content, ("mail_id", "text", "html", "other_fields"))
RECIPIENT_COLUMNS = list_columns(Recipient, ("mail_id", "kind", "name", "address", "state", "reason"))
EVENT_COLUMNS = list_columns(Event, ("mail_id", "created_at", "created_by", "event", "blob"))
OPENED_COLUMNS = list_columns(
    Attempt,
    (
        *("id", "mail_id", "number", "account", "lease", "state", "opened_at"),
        *("failure_class", "reason_code", "reason", "provider_message_id"),
    ),
)
CLOSED_COLUMNS = list_columns(
    Attempt,
    (
        *("id", "state", "closed_at", "latency_ms"),
        *("failure_class", "reason_code", "reason", "status_code", "provider_message_id"),
    ),
)
OUTCOME_COLUMNS = list_columns(Recipient, ("id", "state", "reason"))
STEP_COLUMNS = (
    {"id": "uuid", "before": "text", "fence": "uuid", "attempts": "int", "pending_action": "text"}
    | STATE_COLUMNS
    | {"account_version": "time", "at": "int"}
)

# Serving accounts as the statement runs. PostgreSQL locks them: a change of an account waits for the attempts that are
# being committed, and a claim during such a change does without the account. SQLite has one writer at a time.
SERVING_ACCOUNTS = """
    SELECT name, updated_at FROM providers_account WHERE enabled AND weight > 0 AND name IN ({names}) {lock}
"""

# One step of each email, if it is still as the step expects: the row count decides who has won. A step to SENDING
# also needs that sending is not paused and that the account is as it was when it was selected; no step goes to SENDING
# or QUEUED without a body. Its events are dated no earlier than the email's last one.
MOVE_MAILS = """
    WITH serving AS MATERIALIZED ({serving_accounts})
    UPDATE mails_mail SET {changes}, last_event_at = {latest}(COALESCE(mails_mail.last_event_at, 0), r.at), pending_action = ''
    FROM {rows}
    WHERE mails_mail.id = r.id AND mails_mail.status = r.before AND mails_mail.attempt_count = r.attempts
        AND (mails_mail.lease = r.fence OR (mails_mail.lease IS NULL AND r.fence IS NULL))
        AND mails_mail.pending_action = r.pending_action
        AND (r.status <> '{sending}' OR (
            {sending_not_paused} AND mails_mail.queue NOT IN {paused_queues}
            AND (r.account_version IS NULL OR EXISTS (
                SELECT 1 FROM serving WHERE serving.name = r.provider AND serving.updated_at = r.account_version
            ))
        ))
        AND (mails_mail.text_removed_at IS NULL OR r.status NOT IN ('{sending}', '{queued}'))
    RETURNING mails_mail.id, mails_mail.queue, mails_mail.created_at, mails_mail.api_key_id, mails_mail.last_event_at
"""

# What somebody asks for during a call waits with the email for the end of the call.
REQUEST_ACTION = """
    UPDATE mails_mail SET pending_action = %s, last_event_at = {latest}(COALESCE(mails_mail.last_event_at, 0), %s)
    FROM {rows}
    WHERE mails_mail.id = r.id AND mails_mail.status = '{sending}'
    RETURNING mails_mail.id, mails_mail.last_event_at
"""

# Emails that are done though an earlier attempt was accepted, too; each is marked once.
MARK_DUPLICATES = """
    UPDATE mails_mail
    SET reason_code = '{duplicate}', last_event_at = {latest}(COALESCE(mails_mail.last_event_at, 0), %s)
    FROM {rows}
    WHERE mails_mail.id = r.id AND mails_mail.status = '{done}' AND mails_mail.attempt_count > r.number
        AND mails_mail.reason_code <> '{duplicate}'
    RETURNING mails_mail.id, mails_mail.last_event_at
"""

# Keys that are neither in use nor about to be. On PostgreSQL the advisory lock shows at once that another transaction is
# storing the same key, and nobody waits for it; on SQLite writers wait for each other.
INSERT_KEYS = "{insert} WHERE {free} ON CONFLICT (owner, key) DO NOTHING RETURNING mail_id"
KEY_IS_FREE = {
    "postgresql": "pg_try_advisory_xact_lock(hashtextextended(r.owner || ' ' || r.key, 0))",
    "sqlite": "true",
}

# Open attempts, and unknown ones whose outcome is known now; never a known outcome. A clock that went back closes no
# attempt before it was opened.
CLOSE_ATTEMPTS = """
    UPDATE mails_attempt SET {changes}, closed_at = {latest}(r.closed_at, mails_attempt.opened_at)
    FROM {rows}
    WHERE mails_attempt.id = r.id
        AND (mails_attempt.state = '{open}' OR (mails_attempt.state = '{unknown}' AND r.state <> '{unknown}'))
"""

LATEST = {"postgresql": "GREATEST", "sqlite": "MAX"}
SHARED_LOCK = {"postgresql": "FOR SHARE SKIP LOCKED", "sqlite": ""}


def select_serving(accounts: Collection[str]) -> tuple[str, list[str]]:
    """Return the SELECT of those of these accounts that serve, and its parameters."""
    names = ", ".join(["%s"] * len(accounts)) or "NULL"
    return SERVING_ACCOUNTS.format(names=names, lock=SHARED_LOCK[connection.vendor]), sorted(accounts)


def move_mails(serving_accounts: str) -> str:
    """Return the statement that takes one step of each email; its rows have STEP_COLUMNS."""
    return MOVE_MAILS.format(
        serving_accounts=serving_accounts,
        changes=_assign(STATE_COLUMNS),
        latest=LATEST[connection.vendor],
        rows=recordset.source("r", STEP_COLUMNS),
        sending_not_paused=SENDING_NOT_PAUSED,
        paused_queues=PAUSED_QUEUES,
        sending=Status.SENDING,
        queued=Status.QUEUED,
    )


def request_action() -> str:
    """Return the statement that leaves a request with emails whose call is in progress."""
    rows = recordset.source("r", {"id": "uuid"})
    return REQUEST_ACTION.format(latest=LATEST[connection.vendor], rows=rows, sending=Status.SENDING)


def mark_duplicates() -> str:
    """Return the statement that marks emails that two attempts were accepted for."""
    rows = recordset.source("r", {"id": "uuid", "number": "int"})
    return MARK_DUPLICATES.format(latest=LATEST[connection.vendor], rows=rows, done=Status.DONE, duplicate=DUPLICATE)


def insert_keys() -> str:
    """Return the statement that inserts the keys that nobody has."""
    insert, _ = insert_rows(IdempotencyKey, KEY_COLUMNS, ())
    return INSERT_KEYS.format(insert=insert, free=KEY_IS_FREE[connection.vendor])


def close_attempts(rows: Rows) -> Statement:
    """Return the statement that closes these attempts."""
    statement = CLOSE_ATTEMPTS.format(
        changes=_assign(name for name in CLOSED_COLUMNS if name not in ("id", "closed_at")),
        latest=LATEST[connection.vendor],
        rows=recordset.source("r", CLOSED_COLUMNS),
        open=AttemptState.OPEN,
        unknown=AttemptState.UNKNOWN,
    )
    return statement, rows


def insert_rows(model: type[models.Model], columns: Columns, rows: Rows) -> Statement:
    """Return the statement that inserts these rows."""
    picked = ", ".join(f"r.{name}" for name in columns)
    source = recordset.source("r", columns)
    return f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) SELECT {picked} FROM {source}", rows  # noqa: S608


def update_rows(model: type[models.Model], columns: Columns, rows: Rows) -> Statement:
    """Return the statement that gives the rows of these ids the other columns' values."""
    table, source = model._meta.db_table, recordset.source("r", columns)
    changes = _assign(name for name in columns if name != "id")
    return f"UPDATE {table} SET {changes} FROM {source} WHERE {table}.id = r.id", rows  # noqa: S608


def execute(statements: Iterable[Statement]) -> None:
    """Run the statements that have rows: as one on PostgreSQL (foreign keys are checked at commit), in turn on SQLite."""
    filled = [(sql, recordset.encode(rows)) for sql, rows in statements if rows]
    if not filled:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            *first, (last, _) = filled
            named = ", ".join(f"s{number} AS ({sql})" for number, (sql, _) in enumerate(first))
            cursor.execute(f"WITH {named} {last}" if first else last, [parameter for _, parameter in filled])
        else:
            for sql, parameter in filled:
                cursor.execute(sql, [parameter])


def _assign(columns: Iterable[str]) -> str:
    return ", ".join(f"{name} = r.{name}" for name in columns)
