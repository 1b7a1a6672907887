"""The SQL of the writer and of claims, named and explained; where the two databases differ, both are side by side here.

Rows come in as JSON parameters (`mercury.lib.database.recordset`), named `r`, so that a group of emails costs one round trip.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from django.db import connection, models

from mails.lifecycle.values import STATE_COLUMNS
from mails.models import Attempt, Content, DownloadLink, Event, IdempotencyKey, Mail, MailFile, MailLabel, Recipient
from mails.states import DUPLICATE, AttemptState, Status
from mercury.lib.database import recordset
from mercury.lib.database.recordset import list_columns
from mercury.lib.database.vendor import get_vendor

Columns = Mapping[str, str]
Rows = Sequence[Sequence[Any]]  # values in the order of the columns
Statement = tuple[str, list[str]]  # and its parameters

# Evaluated once a statement, not once a row.
SENDING_NOT_PAUSED = "NOT EXISTS (SELECT 1 FROM mails_pause WHERE queue = '' AND resumed_at IS NULL)"
PAUSED_QUEUES = "(SELECT queue FROM mails_pause WHERE resumed_at IS NULL)"

MAIL_COLUMNS = list_columns(
    Mail,
    (
        *("id", "api_key_id", "user_id", "source", "idempotency_key", "created_at", "size", "needs", "copy_of"),
        *("sender", "recipient", "subject", "queue", "delivery_guarantee", "send_at", "expires_at", "routing_rule"),
        "last_event_at",
    ),
)
KEY_COLUMNS = list_columns(IdempotencyKey, ("owner", "key", "body_hash", "mail_id", "created_at"))
CONTENT_COLUMNS = list_columns(Content, ("mail_id", "text", "html", "other_fields"))
FILE_COLUMNS = list_columns(MailFile, ("mail_id", "number", "filename", "content_type", "size", "cid", "content_id"))
LINK_COLUMNS = list_columns(
    DownloadLink,
    (
        "id",
        "mail_id",
        "number",
        "filename",
        "content_type",
        "size",
        "content_id",
        "sha256",
        "expires_at",
        "revoked_by",
        "downloads",
        "max_downloads",
    ),
)
RECIPIENT_COLUMNS = list_columns(Recipient, ("mail_id", "kind", "name", "address", "state", "reason"))
LABEL_COLUMNS = list_columns(MailLabel, ("mail_id", "name", "value"))
EVENT_COLUMNS = list_columns(Event, ("mail_id", "created_at", "created_by", "event", "blob"))
OPENED_COLUMNS = list_columns(Attempt, ("id", "number", "account", "lease", "opened_at", "key_scope"))
CLOSED_COLUMNS = list_columns(
    Attempt,
    (
        *("id", "state", "closed_at", "latency_ms"),
        *("failure_class", "reason_code", "reason", "status_code", "provider_message_id", "key_scope"),
    ),
)
ADDRESS_COLUMNS = list_columns(Recipient, ("id", "address", "name"))
OUTCOME_COLUMNS = list_columns(Recipient, ("id", "state", "reason"))
STEP_COLUMNS = (
    {"id": "uuid", "before": "text", "fence": "uuid", "attempts": "int", "pending_action": "text"}
    | {"account_version": "time", "at": "int"}
    | STATE_COLUMNS
)
STEP_OPENED_COLUMNS = {f"opened_{name}": kind for name, kind in OPENED_COLUMNS.items()}
STEP_CLOSED_COLUMNS = {f"closed_{name}": kind for name, kind in CLOSED_COLUMNS.items()}

# Serving accounts as the statement runs. PostgreSQL locks them: a change of an account waits for the attempts that are
# being committed, and a claim during such a change does without the account. SQLite has one writer at a time.
SERVING_ACCOUNTS = """
    SELECT name, updated_at FROM providers_account WHERE enabled AND weight > 0 AND name IN ({names}) {lock}
"""

# One step of each email, if it is still as the step expects: the row count decides who has won. A step to SENDING
# also needs that sending is not paused and that the account is as it was when it was selected; no step goes to SENDING
# or QUEUED without a body. A dispatcher moves only what is due: on SQLite somebody may have rescheduled the email since
# it was read. Its events are dated no earlier than the email's last one. Its age counts from when it was to be sent.
MOVE_MAILS = """
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
        AND (r.before = '{sending}' OR r.status NOT IN ('{sending}', '{waiting}') OR r.at = 0
            OR mails_mail.next_attempt_at <= {moment})
    RETURNING mails_mail.id, mails_mail.queue,
        {latest}(mails_mail.created_at, COALESCE(mails_mail.send_at, mails_mail.created_at)) AS wanted_at,
        mails_mail.api_key_id, mails_mail.last_event_at
"""

# The attempts of the emails that moved, from what their steps say of them. PostgreSQL does all in one statement. SQLite
# has no UPDATE within another statement: there they follow, for the steps that were taken.
TAKE_STEPS = {
    "postgresql": """
        WITH serving AS MATERIALIZED ({serving_accounts}), moved AS ({move_mails}{attempts}) {write_attempts}
        SELECT id, queue, wanted_at, api_key_id, last_event_at FROM moved
    """,
    "sqlite": "WITH serving AS MATERIALIZED ({serving_accounts}) {move_mails}",
}
OPEN_ATTEMPTS = """
    INSERT INTO mails_attempt ({names}, mail_id, state, failure_class, reason_code, reason, provider_message_id)
    SELECT {picked}, '{open}', '', '', '', '' FROM {rows}
"""

# What somebody asks for during a call waits with the email for the end of the call.
REQUEST_ACTION = """
    UPDATE mails_mail SET pending_action = %s, last_event_at = {latest}(COALESCE(mails_mail.last_event_at, 0), %s)
    FROM {rows}
    WHERE mails_mail.id = r.id AND mails_mail.status = '{sending}'
    RETURNING mails_mail.id, mails_mail.last_event_at
"""

# Emails that are done though an earlier attempt was accepted, too; each is marked once. Not those whose later request
# repeated the earlier one: the provider recognized it.
MARK_DUPLICATES = """
    UPDATE mails_mail
    SET reason_code = '{duplicate}', last_event_at = {latest}(COALESCE(mails_mail.last_event_at, 0), %s)
    FROM {rows}
    WHERE mails_mail.id = r.id AND mails_mail.status = '{done}' AND mails_mail.attempt_count > r.number
        AND mails_mail.reason_code <> '{duplicate}'
        AND NOT EXISTS (
            SELECT 1 FROM mails_attempt AS late
            JOIN mails_attempt AS repeated ON repeated.mail_id = late.mail_id AND repeated.key_scope = late.key_scope
            WHERE late.mail_id = mails_mail.id AND late.number = r.number AND late.key_scope <> ''
                AND repeated.number > late.number AND repeated.state = '{accepted}'
        )
    RETURNING mails_mail.id, mails_mail.last_event_at
"""

# The moment that an email's next event is dated no earlier than. Whoever appends an event waits for no lock: where a step
# is being taken, it is dated by the clock that it is taken by.
ADVANCE_TIMELINES = """
    UPDATE mails_mail SET last_event_at = free.at
    FROM (
        SELECT mail.id, r.at FROM {rows} JOIN mails_mail AS mail ON mail.id = r.id
        WHERE COALESCE(mail.last_event_at, 0) < r.at {skip_locked}
    ) AS free
    WHERE mails_mail.id = free.id
"""
SKIP_LOCKED = {"postgresql": "FOR NO KEY UPDATE OF mail SKIP LOCKED", "sqlite": ""}

# Keys that are neither in use nor about to be; the row of an expired one is taken over. On PostgreSQL the advisory lock
# shows at once that another transaction is storing the same key, and nobody waits for it. A long list goes without, for
# the server has room for some 6,400 locks (max_locks_per_transaction, 64, for each connection), and may wait for another
# transaction's row. All lists are in the same order, so none waits for one that waits for it. On SQLite writers wait for
# each other.
INSERT_KEYS = """
    {insert} WHERE {free}
    ON CONFLICT (owner, key) DO UPDATE SET {changes} WHERE mails_idempotencykey.created_at <= %s
    RETURNING mail_id
"""
KEY_IS_FREE = {
    "postgresql": "pg_try_advisory_xact_lock(hashtextextended(r.owner || ' ' || r.key, 0))",
    "sqlite": "true",
}

# Open attempts, and unknown ones whose outcome is known now; never a known outcome. A clock that went back closes no
# attempt before it was opened.
CLOSE_ATTEMPTS = """
    UPDATE mails_attempt SET {changes}, closed_at = {latest}({row}closed_at, mails_attempt.opened_at)
    FROM {rows}
    WHERE mails_attempt.id = {row}id
        AND (mails_attempt.state = '{open}' OR (mails_attempt.state = '{unknown}' AND {row}state <> '{unknown}'))
"""

MAX_KEY_LOCKS = 100  # of one statement

LATEST = {"postgresql": "GREATEST", "sqlite": "MAX"}
# When a step is taken. SQLite knows milliseconds: one more, so that none is before the microsecond that is meant.
MOMENT = {
    "postgresql": "to_timestamp(r.at / 1e9)",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', r.at / 1e9 + 0.001, 'unixepoch')",
}
SHARED_LOCK = {"postgresql": "FOR SHARE SKIP LOCKED", "sqlite": ""}


def select_serving(accounts: Collection[str]) -> tuple[str, list[str]]:
    """Return the SELECT of those of these accounts that serve, and its parameters."""
    names = ", ".join(["%s"] * len(accounts)) or "NULL"
    return SERVING_ACCOUNTS.format(names=names, lock=SHARED_LOCK[connection.vendor]), sorted(accounts)


def take_steps(accounts: Collection[str], rows: Rows, *, opens: bool, closes: bool) -> Statement:
    """Return the statement that takes one step of each email, and on PostgreSQL opens and closes its attempts.

    The rows have STEP_COLUMNS. On PostgreSQL STEP_OPENED_COLUMNS follow if `opens`, and STEP_CLOSED_COLUMNS if `closes`.
    """
    serving, parameters = select_serving(accounts)
    columns = (STEP_OPENED_COLUMNS if opens else {}) | (STEP_CLOSED_COLUMNS if closes else {})
    steps = recordset.build("r", STEP_COLUMNS | columns, rows)
    move_mails = MOVE_MAILS.format(
        changes=_assign(STATE_COLUMNS),
        latest=LATEST[connection.vendor],
        rows=steps.source,
        sending_not_paused=SENDING_NOT_PAUSED,
        paused_queues=PAUSED_QUEUES,
        sending=Status.SENDING,
        queued=Status.QUEUED,
        waiting=Status.WAITING,
        moment=MOMENT[connection.vendor],
    )
    opened = _open_attempts("moved.opened_", "moved.id", "moved WHERE opened_id IS NOT NULL")
    closed = _close_attempts("moved.closed_", "moved")
    statement = TAKE_STEPS[connection.vendor].format(
        serving_accounts=serving,
        move_mails=move_mails,
        attempts="".join(f", r.{name}" for name in columns),
        write_attempts=(f", opened AS ({opened})" if opens else "") + (f", closed AS ({closed})" if closes else ""),
    )
    return statement, [*parameters, *steps.parameters]


def request_action() -> str:
    """Return the statement that leaves a request with emails whose call is in progress."""
    rows = recordset.source("r", {"id": "uuid"})
    return REQUEST_ACTION.format(latest=LATEST[connection.vendor], rows=rows, sending=Status.SENDING)


def mark_duplicates() -> str:
    """Return the statement that marks emails that two attempts were accepted for."""
    rows = recordset.source("r", {"id": "uuid", "number": "int"})
    return MARK_DUPLICATES.format(
        latest=LATEST[connection.vendor],
        rows=rows,
        done=Status.DONE,
        duplicate=DUPLICATE,
        accepted=AttemptState.ACCEPTED,
    )


def insert_keys(rows: Rows, expired: dt.datetime) -> Iterator[Statement]:
    """Yield the statement that inserts the keys that nobody has, or whose row is not younger than `expired`.

    The rows are in the order of owner and key.
    """
    free = KEY_IS_FREE[connection.vendor] if len(rows) <= MAX_KEY_LOCKS else "true"
    changes = ", ".join(f"{name} = excluded.{name}" for name in KEY_COLUMNS if name not in ("owner", "key"))
    for insert, parameters in insert_rows(IdempotencyKey, KEY_COLUMNS, rows):
        statement = INSERT_KEYS.format(insert=insert, free=free, changes=changes)
        yield statement, [*parameters, recordset.format_time(expired)]


def open_attempts(rows: Rows) -> Iterator[Statement]:
    """Yield the statement that opens these attempts; the rows have OPENED_COLUMNS and the email's id."""
    if rows:
        source, parameters = recordset.build("r", OPENED_COLUMNS | {"mail_id": "uuid"}, rows)
        yield _open_attempts("r.", "r.mail_id", source), parameters


def close_attempts(rows: Rows) -> Iterator[Statement]:
    """Yield the statement that closes these attempts; the rows have CLOSED_COLUMNS."""
    if rows:
        source, parameters = recordset.build("r", CLOSED_COLUMNS, rows)
        yield _close_attempts("r.", source), parameters


def advance_timelines(moments: Mapping[uuid.UUID, int]) -> Iterator[Statement]:
    """Yield the statement after which the next events of these emails are dated no earlier than these moments (ns)."""
    if moments:
        source, parameters = recordset.build("r", {"id": "uuid", "at": "int"}, list(moments.items()))
        yield ADVANCE_TIMELINES.format(rows=source, skip_locked=SKIP_LOCKED[connection.vendor]), parameters


def insert_rows(model: type[models.Model], columns: Columns, rows: Rows) -> Iterator[Statement]:
    """Yield the statement that inserts these rows."""
    if rows:
        source, parameters = recordset.build("r", columns, rows)
        yield f"{_begin_insert(model._meta.db_table, tuple(columns))} FROM {source}", parameters


@lru_cache(maxsize=64)  # of tables and the columns that are written to them together
def _begin_insert(table: str, columns: tuple[str, ...]) -> str:
    picked = ", ".join(f"r.{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {picked}"


def update_rows(model: type[models.Model], columns: Columns, rows: Rows) -> Iterator[Statement]:
    """Yield the statement that gives the rows of these ids the other columns' values."""
    if rows:
        table, changes = model._meta.db_table, _assign(name for name in columns if name != "id")
        source, parameters = recordset.build("r", columns, rows)
        yield f"UPDATE {table} SET {changes} FROM {source} WHERE {table}.id = r.id", parameters  # noqa: S608


def execute(*statements: Iterable[Statement]) -> None:
    """Run the statements: as one on PostgreSQL (foreign keys are checked at commit), in turn on SQLite."""
    listed = list(chain.from_iterable(statements))
    if not listed:
        return
    with connection.cursor() as cursor:
        if get_vendor() == "postgresql":
            *first, (last, _) = listed
            named = ", ".join(f"s{number} AS ({sql})" for number, (sql, _) in enumerate(first))
            cursor.execute(
                f"WITH {named} {last}" if first else last,
                list(chain.from_iterable(parameters for _, parameters in listed)),
            )
        else:
            for sql, parameters in listed:
                cursor.execute(sql, parameters)


def _open_attempts(row: str, mail_id: str, source: str) -> str:
    """Return the statement; its values are columns that begin with `row`."""
    picked = ", ".join([*(f"{row}{name}" for name in OPENED_COLUMNS), mail_id])
    return OPEN_ATTEMPTS.format(names=", ".join(OPENED_COLUMNS), picked=picked, open=AttemptState.OPEN, rows=source)


def _close_attempts(row: str, source: str) -> str:
    """Return the statement; its values are columns that begin with `row`."""
    return CLOSE_ATTEMPTS.format(
        changes=_assign((name for name in CLOSED_COLUMNS if name not in ("id", "closed_at")), row),
        latest=LATEST[connection.vendor],
        row=row,
        rows=source,
        open=AttemptState.OPEN,
        unknown=AttemptState.UNKNOWN,
    )


def _assign(columns: Iterable[str], row: str = "r.") -> str:
    return ", ".join(f"{name} = {row}{name}" for name in columns)
