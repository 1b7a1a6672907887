"""The only writer of a mail's state and of its events. Whole groups at a time, each change behind a fence.

One of the two places with SQL of its own (the other is `dispatch.claim`): a group of mails costs a handful of
statements, whatever its size. The statements are the same on both databases; `mercury.lib.recordset` hides the rest.
"""

import datetime as dt
import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce, Length

from mails import counters
from mails.counters import CounterKey, Counters
from mails.models import Attempt, Event, IdempotencyKey, Mail
from mails.states import DUPLICATE, ENDINGS, LEASED, TRANSITIONS, AttemptState, Counted, Ending, RecipientState, Status
from mercury.lib import database_clock, recordset
from mercury.lib.recordset import as_json, as_time, as_uuid
from providers.routing import NO_BOUNDS, Bounds

log = structlog.get_logger(__name__)

CLIENT_EVENTS = 1000  # that clients may append to one email …
CLIENT_BLOBS = 1_000_000  # … and characters of their blobs: pages, lists and exports read them all


class IllegalTransition(Exception):
    """A step would move a mail from one state to another that may not follow: a bug in Mercury, never bad input."""


class EventDraft(NamedTuple):
    """An event about to be recorded. `at_ns`: nanoseconds since the Unix epoch, by the database's clock."""

    event: str
    by: str
    at_ns: int
    blob: Mapping[str, Any] = MappingProxyType({})


class MailState(NamedTuple):
    """The columns of `Mail` that change during its life; the rest is written once, at intake.

    A named tuple, since four are made for each mail: a frozen dataclass takes five times as long to copy.
    """

    status: Status
    next_attempt_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    round: int = 1
    tried: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    attempt_count: int = 0
    doubtful: bool = False
    fault: str = ""
    reason_code: str = ""
    provider: str = ""
    lease: uuid.UUID | None = None
    lease_expires_at: dt.datetime | None = None
    worker: str = ""
    claims: int = 0


STATE_COLUMNS = {
    "status": "text",
    "next_attempt_at": "time",
    "finished_at": "time",
    "round": "int",
    "tried": "json",
    "faults": "json",
    "attempt_count": "int",
    "doubtful": "bool",
    "fault": "text",
    "reason_code": "text",
    "provider": "text",
    "lease": "uuid",
    "lease_expires_at": "time",
    "worker": "text",
    "claims": "int",
}


def state_of(row: Mapping[str, Any]) -> MailState:
    """The state in a row that a statement of our own, or `values(*STATE_COLUMNS)`, returned."""
    times = {name: as_time(row[name]) for name, kind in STATE_COLUMNS.items() if kind == "time" and row[name]}
    return MailState(
        **{name: row[name] for name in STATE_COLUMNS}
        | times
        | {
            "status": Status(row["status"]),
            "tried": tuple(as_json(row["tried"])),
            "faults": tuple(as_json(row["faults"])),
            "doubtful": bool(row["doubtful"]),
            "lease": as_uuid(row["lease"]) if row["lease"] else None,
        }
    )


# Asked once a statement, not once a row.
HOUSE_IS_OPEN = "NOT EXISTS (SELECT 1 FROM mails_household WHERE released_at IS NULL)"
PAUSED_LANES = "(SELECT lane FROM mails_lanepause WHERE resumed_at IS NULL)"


def standing(mail: Mail) -> MailState:
    """The state of a mail that was read."""
    return state_of({name: getattr(mail, name) for name in STATE_COLUMNS})


def at_rest(state: MailState, status: Status, **changes: Any) -> MailState:
    """The state of a mail that is in nobody's hand. What workers died with stays counted until a call is closed."""
    freed = {"lease": None, "lease_expires_at": None, "worker": "", "next_attempt_at": None}
    return state._replace(status=status, **freed | changes)


class AttemptOpened(NamedTuple):
    """A call about to be made; committed before the provider hears of it."""

    id: uuid.UUID
    number: int
    account: str
    lease: uuid.UUID
    opened_at: dt.datetime
    account_version: dt.datetime | None = None  # of the account's row, as it was chosen; None: whatever it is now


class AttemptClosed(NamedTuple):
    """What a call came to."""

    id: uuid.UUID
    state: AttemptState
    closed_at: dt.datetime
    latency_ms: int | None = None
    fault: str = ""
    reason_code: str = ""
    reason: str = ""
    status_code: int | None = None
    provider_message_id: str = ""
    account: str = ""  # whose call it was, to be counted; empty where it was counted before, or never made


class RecipientSettled(NamedTuple):
    """What became of one recipient."""

    id: int
    state: RecipientState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one mail. It happens only while the mail is in `before`, held under `fence`, after `attempts` calls.

    The number of attempts is part of the fence: a mail handed from one account to the next keeps its state and lease.
    So is the wish: what somebody asked for meanwhile is not overlooked. No step to SENDING while the house is held
    or the mail's lane is paused, none to SENDING through an account that was changed, disabled or deleted since it was
    chosen, and none to SENDING or QUEUED of a mail whose text was removed: it would be sent empty.
    """

    mail_id: uuid.UUID
    before: Status
    fence: uuid.UUID | None  # the lease's token; None: the mail is in nobody's hand
    after: MailState
    events: tuple[EventDraft, ...] = ()
    closed: AttemptClosed | None = None
    opened: AttemptOpened | None = None
    recipients: tuple[RecipientSettled, ...] = ()
    attempts: int = 0
    wish: str = ""  # as `Mail.wish` has it; a step that does not know of it is not taken, one that does uses it up

    def check(self) -> None:
        """Raise IllegalTransition if `after` may not follow `before`, or a lease and the state do not agree."""
        if self.after.status not in TRANSITIONS[self.before]:
            raise IllegalTransition(f"{self.before} may not become {self.after.status} (mail {self.mail_id})")
        if (self.after.lease is not None) != (self.after.status in LEASED):
            raise IllegalTransition(f"{self.after.status} and a lease do not agree (mail {self.mail_id})")


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to be stored, with its first events. `mail` is unsaved and complete but for its state; `key` is unsaved."""

    mail: Mail
    state: MailState
    text: str
    recipients: tuple[str, ...]
    events: tuple[EventDraft, ...]
    key: IdempotencyKey | None = None


_MAIL_COLUMNS = {
    "id": "uuid",
    "api_key_id": "int",
    "user_id": "int",
    "source": "text",
    "idempotency_key": "text",
    "created_at": "time",
    "size": "int",
    "sender": "text",
    "recipient": "text",
    "subject": "text",
    "lane": "text",
    "policy": "text",
    "expires_at": "time",
    "last_event_at": "int",
}
_KEY_COLUMNS = {"owner": "text", "key": "text", "body_hash": "text", "mail_id": "uuid", "created_at": "time"}
_CONTENT_COLUMNS = {"mail_id": "uuid", "text": "text"}
_RECIPIENT_COLUMNS = {"mail_id": "uuid", "address": "text", "state": "text", "reason": "text"}
_EVENT_COLUMNS = {"mail_id": "uuid", "created_at": "int", "created_by": "text", "event": "text", "blob": "text"}
_OPENED_COLUMNS = {
    "id": "uuid",
    "mail_id": "uuid",
    "number": "int",
    "account": "text",
    "lease": "uuid",
    "state": "text",
    "opened_at": "time",
    "fault": "text",
    "reason_code": "text",
    "reason": "text",
    "provider_message_id": "text",
}
_CLOSED_COLUMNS = {
    "id": "uuid",
    "state": "text",
    "closed_at": "time",
    "latency_ms": "int",
    "fault": "text",
    "reason_code": "text",
    "reason": "text",
    "status_code": "int",
    "provider_message_id": "text",
}
_SETTLED_COLUMNS = {"id": "int", "state": "text", "reason": "text"}


def create(new: Sequence[NewMail]) -> set[uuid.UUID]:
    """Store mails with their state, key, text, recipients and first events, and return the ids of those stored.

    A mail whose idempotency key is in use is left out, whatever the use may be; nobody is waited for. One transaction;
    on PostgreSQL one statement whatever the number, and another one where mails have keys.
    """
    keys = [one.key for one in new if one.key is not None]
    if not keys and connection.vendor == "postgresql":
        _store(new)  # a statement is a transaction of its own: two round trips less
        return {one.mail.id for one in new}
    with transaction.atomic():
        taken = _take_keys(keys) if keys else set()
        free = [one for one in new if one.key is None or one.mail.id in taken]
        _store(free)
    return {one.mail.id for one in free}


def _take_keys(keys: Sequence[IdempotencyKey]) -> set[uuid.UUID]:
    """Insert the keys that nobody has or is about to have, and return their mails' ids.

    On PostgreSQL an advisory lock tells at once of a transaction under way; on SQLite writers wait for each other.
    """
    sql, rows = _insert("mails_idempotencykey", _KEY_COLUMNS, [_row(key, _KEY_COLUMNS) for key in keys])
    lock = "pg_try_advisory_xact_lock(hashtextextended(r.owner || ' ' || r.key, 0))"
    free = lock if connection.vendor == "postgresql" else "true"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{sql} WHERE {free} ON CONFLICT (owner, key) DO NOTHING RETURNING mail_id", [recordset.encode(rows)]
        )
        return {as_uuid(row[0]) for row in cursor.fetchall()}


def _store(new: Sequence[NewMail]) -> None:
    mail_rows = [
        _row(one.mail, _MAIL_COLUMNS) | _row(one.state, STATE_COLUMNS) | {"last_event_at": _last(one.events)}
        for one in new
    ]
    recipients = [
        {"mail_id": one.mail.id, "address": address, "state": RecipientState.PENDING, "reason": ""}
        for one in new
        for address in one.recipients
    ]
    _execute(
        [
            _insert("mails_mail", _MAIL_COLUMNS | STATE_COLUMNS, mail_rows),
            _insert("mails_content", _CONTENT_COLUMNS, [{"mail_id": one.mail.id, "text": one.text} for one in new]),
            _insert("mails_recipient", _RECIPIENT_COLUMNS, recipients),
            _insert("mails_event", _EVENT_COLUMNS, _event_rows((one.mail.id, one.events) for one in new)),
        ]
    )


NOT_STORABLE = (IllegalTransition, DataError, IntegrityError)  # something is wrong with a step, not with the database


def record(steps: Sequence[Step]) -> set[uuid.UUID]:
    """Take these steps and return the ids of the mails that took theirs.

    A mail that is no longer in the expected state, or under another lease, is left as it is: none of its step is
    written or counted, and its id is missing from the answer. One transaction for all; two statements on PostgreSQL. If it
    fails, a transaction around it is spoilt. Raises IllegalTransition before anything is written.
    """
    for step in steps:
        step.check()
    if not steps:
        return set()
    with transaction.atomic(savepoint=False):
        won = _move(steps)
        now = database_clock.now()
        taken = [step for step in steps if step.mail_id in won]
        opened = [_opened_row(step) for step in taken if step.opened]
        closed = [_row(step.closed, _CLOSED_COLUMNS) for step in taken if step.closed]
        settled = [_row(recipient, _SETTLED_COLUMNS) for step in taken for recipient in step.recipients]
        _execute(
            [
                _close(closed),
                _insert("mails_attempt", _OPENED_COLUMNS, opened),
                _update("mails_recipient", _SETTLED_COLUMNS, settled),
                _insert("mails_rollup", counters.COLUMNS, _counted(taken, won, now).rows(now)),
                _insert("mails_event", _EVENT_COLUMNS, _event_rows(_in_order(taken, won))),
            ]
        )
    return set(won)


def record_each(steps: Sequence[Step]) -> set[uuid.UUID]:
    """Like `record`, but a step that cannot be stored is logged and spoils no other: then each has a savepoint of its own."""
    try:
        with transaction.atomic():
            return record(steps)
    except NOT_STORABLE as error:
        if len(steps) == 1:
            log.exception("step_not_stored", mail=str(steps[0].mail_id), error=type(error).__name__)
            return set()
        with transaction.atomic():  # so that a database that fails later on has stored none of them
            return set().union(*(record_each([step]) for step in steps))


LateResult = tuple[uuid.UUID, AttemptClosed | None, EventDraft]


def record_late(results: Iterable[LateResult]) -> None:
    """Keep what a drain learned about mails (id, attempt, event) that it no longer holds: evidence, no change of state.

    Closing is idempotent; an attempt that was closed as unknown takes a known outcome, never the other way round.
    What is on record already, since only the answer to its commit was lost, is no news.
    """
    listed = list(results)
    closed = Attempt.objects.filter(pk__in=[one.id for _, one, _ in listed if one])
    known = dict(closed.values_list("pk", "state"))
    listed = [result for result in listed if result[1] is None or known.get(result[1].id) != result[1].state]
    last = dict(Mail.objects.filter(pk__in=[mail_id for mail_id, _, _ in listed]).values_list("pk", "last_event_at"))
    listed = [
        (mail_id, closed, event._replace(at_ns=max(event.at_ns, last.get(mail_id) or 0)))
        for mail_id, closed, event in listed
    ]
    try:
        with transaction.atomic():
            _execute(
                [
                    _close([_row(closed, _CLOSED_COLUMNS) for _, closed, _ in listed if closed]),
                    _insert("mails_event", _EVENT_COLUMNS, _event_rows((mail, (event,)) for mail, _, event in listed)),
                ]
            )
    except (DataError, IntegrityError) as error:
        if len(listed) == 1:
            log.exception("late_result_not_stored", mail=str(listed[0][0]), error=type(error).__name__)
            return
        for one in listed:
            record_late([one])


def wish(mail_ids: Iterable[uuid.UUID], text: str, event: EventDraft) -> set[uuid.UUID]:
    """Store a wish (empty: take it back) with mails whose call is under way, and return the ids of those.

    It is carried out when the call is closed; a later wish takes the place of an earlier one.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE mails_mail SET wish = %s, {_later('%s')} FROM {recordset.source('r', {'id': 'uuid'})}"  # noqa: S608
            f" WHERE mails_mail.id = r.id AND mails_mail.status = '{Status.SENDING}'"
            " RETURNING mails_mail.id, mails_mail.last_event_at",
            [text, event.at_ns, recordset.encode({"id": mail_id} for mail_id in mail_ids)],
        )
        stored = {as_uuid(mail_id): at_ns for mail_id, at_ns in cursor.fetchall()}
        _append(event, stored)
    return set(stored)


def note_duplicates(attempts: Mapping[uuid.UUID, int], event: EventDraft) -> set[uuid.UUID]:
    """Mark mails that are done though an earlier attempt (its number) was accepted too; each once. Returns their ids."""
    rows = [{"id": mail_id, "number": number} for mail_id, number in attempts.items()]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE mails_mail SET reason_code = %s, {_later('%s')}"  # noqa: S608
            f" FROM {recordset.source('r', {'id': 'uuid', 'number': 'int'})}"
            f" WHERE mails_mail.id = r.id AND mails_mail.status = '{Status.DONE}'"
            " AND mails_mail.attempt_count > r.number AND mails_mail.reason_code <> %s"
            " RETURNING mails_mail.id, mails_mail.last_event_at",
            [DUPLICATE, event.at_ns, recordset.encode(rows), DUPLICATE],
        )
        marked = {as_uuid(mail_id): at_ns for mail_id, at_ns in cursor.fetchall()}
        _append(event, marked)
    return set(marked)


def _append(event: EventDraft, moments: Mapping[uuid.UUID, int]) -> None:
    """Add the event to each of these emails, at its moment."""
    rows = _event_rows((mail_id, (event._replace(at_ns=at_ns),)) for mail_id, at_ns in moments.items())
    _execute([_insert("mails_event", _EVENT_COLUMNS, rows)])


def prolong(mail_ids: Iterable[uuid.UUID], until: dt.datetime) -> None:
    """Give mails whose time is over, or nearly, until then."""
    Mail.objects.filter(pk__in=mail_ids, expires_at__lt=until).update(expires_at=until)


def bound(mail_ids: Iterable[uuid.UUID], bounds: Bounds) -> None:
    """Let mails go only through some accounts from now on, or through all of them again."""
    if bounds != NO_BOUNDS:
        Mail.objects.filter(pk__in=mail_ids).update(bounds=bounds.as_blob())
    else:
        Mail.objects.filter(pk__in=mail_ids, bounds__isnull=False).update(bounds=None)


class TooManyEvents(Exception):
    """Clients have appended as much to this email as one email may have."""


def append_client_event(mail: Mail, *, event: str, blob: str, by: str) -> Event:
    """Record an event that a client posts, and return it. It never moves the mail.

    Raises TooManyEvents above CLIENT_EVENTS events or CLIENT_BLOBS characters of blobs. Those that come in at the same
    moment may pass together: a handful more, which costs less than a lock that the dispatcher would wait for.
    """
    appended = Event.objects.of(mail.pk).filter(Q(created_by__startswith="key:") | Q(created_by__startswith="user:"))
    there = appended.aggregate(count=Count("id"), size=Coalesce(Sum(Length("blob")), 0))
    if there["count"] >= CLIENT_EVENTS or there["size"] + len(blob) > CLIENT_BLOBS:
        raise TooManyEvents
    at_ns = max(database_clock.now_ns(), mail.last_event_at or 0)
    return Event.objects.create(mail=mail, created_at=at_ns, created_by=by, event=event, blob=blob)


@dataclass(frozen=True, slots=True)
class _Moved:
    """What counting needs of a mail that took its step."""

    lane: str
    created_at: dt.datetime
    application: int
    last_event_at: int  # no earlier than its last event before


def _counted(steps: Iterable[Step], moved: Mapping[uuid.UUID, _Moved], now: dt.datetime) -> Counters:
    """What these steps add to the figures of the house: first sends, calls that ended, mails that ended."""
    tally = Counters()
    for step in steps:
        mail, after = moved[step.mail_id], step.after
        age = max(0.0, (now - mail.created_at).total_seconds())  # clocks of two processes may differ by a hair
        if step.opened is not None and step.opened.number == 1:
            tally.count(CounterKey(Counted.FIRST_SEND, mail.lane, application=mail.application), age)
        if step.closed is not None and step.closed.account:
            took = None if step.closed.latency_ms is None else step.closed.latency_ms / 1000
            tally.count(
                CounterKey(
                    Counted.CALL, mail.lane, step.closed.account, outcome=step.closed.state, fault=step.closed.fault
                ),
                took,
            )
        ending = ENDINGS.get(after.status)
        if ending is not None:
            if ending == Ending.DONE and (after.tried or after.round > 1):  # an attempt that was not made is no failure
                ending = Ending.FAILOVER
            key = CounterKey(Counted.END, mail.lane, after.provider, mail.application, ending, after.fault)
            tally.count(key, None if ending == Ending.HELD else age)
    return tally


def _move(steps: Sequence[Step]) -> dict[uuid.UUID, _Moved]:
    columns = {"id": "uuid", "before": "text", "fence": "uuid", "attempts": "int", "wish": "text"} | STATE_COLUMNS
    columns |= {"account_version": "time", "at": "int"}
    serving, parameters = _serving({step.opened.account for step in steps if step.opened})
    rows = [
        {
            "id": step.mail_id,
            "before": step.before,
            "fence": step.fence,
            "attempts": step.attempts,
            "wish": step.wish,
            "account_version": step.opened.account_version if step.opened else None,
            "at": _last(step.events),
        }
        | _row(step.after, STATE_COLUMNS)
        for step in steps
    ]
    changes = ", ".join(f"{name} = r.{name}" for name in STATE_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"{serving} UPDATE mails_mail SET {changes}, {_later('r.at')}, wish = '' FROM {recordset.source('r', columns)}"  # noqa: S608
            " WHERE mails_mail.id = r.id AND mails_mail.status = r.before AND mails_mail.attempt_count = r.attempts"
            " AND (mails_mail.lease = r.fence OR (mails_mail.lease IS NULL AND r.fence IS NULL))"
            f" AND mails_mail.wish = r.wish AND (r.status <> '{Status.SENDING}'"
            f" OR ({HOUSE_IS_OPEN} AND mails_mail.lane NOT IN {PAUSED_LANES}"
            " AND (r.account_version IS NULL OR EXISTS (SELECT 1 FROM serving"
            " WHERE serving.name = r.provider AND serving.updated_at = r.account_version))))"
            " AND (mails_mail.text_removed_at IS NULL"
            f" OR r.status NOT IN ('{Status.SENDING}', '{Status.QUEUED}'))"
            " RETURNING mails_mail.id, mails_mail.lane, mails_mail.created_at, mails_mail.api_key_id,"
            " mails_mail.last_event_at",
            [*parameters, recordset.encode(rows)],
        )
        return {
            as_uuid(mail_id): _Moved(lane, as_time(created_at), application or 0, last_event_at)
            for mail_id, lane, created_at, application, last_event_at in cursor.fetchall()
        }


def _later(moment: str) -> str:
    """Return the assignment that lets an email's last event be at this moment, if that is not earlier than it was."""
    return f"last_event_at = {_latest()}(COALESCE(mails_mail.last_event_at, 0), {moment})"


def _latest() -> str:
    """Return the name of the function that gives the greatest of its arguments."""
    return "GREATEST" if connection.vendor == "postgresql" else "MAX"


def _last(events: Iterable[EventDraft]) -> int:
    return max((event.at_ns for event in events), default=0)


def _in_order(
    steps: Iterable[Step], moved: Mapping[uuid.UUID, _Moved]
) -> Iterator[tuple[uuid.UUID, tuple[EventDraft, ...]]]:
    """Give each step's events, none dated before the email's last one: the clock may have gone back."""
    for step in steps:
        at_ns = moved[step.mail_id].last_event_at
        behind = at_ns > _last(step.events)
        yield step.mail_id, tuple(event._replace(at_ns=at_ns) for event in step.events) if behind else step.events


def serving(account: str, version: dt.datetime | None) -> bool:
    """Return True if email may be handed to the account now, and its row is as it was in this version."""
    names, parameters = _serving({account})
    with connection.cursor() as cursor:
        cursor.execute(f"{names} SELECT updated_at FROM serving", parameters)  # noqa: S608 (no value of others in it)
        return version is None or version in {as_time(updated_at) for (updated_at,) in cursor.fetchall()}


def _serving(accounts: Collection[str]) -> tuple[str, list[Any]]:
    """Return the expression, and its parameters, of the accounts that serve as the statement runs.

    On PostgreSQL a shared lock: a change of an account waits for the hand-overs that are being committed, and whoever
    claims while a change is being committed does without the account. SQLite has one writer at a time.
    """
    marks = ", ".join(["%s"] * len(accounts)) or "NULL"
    lock = " FOR SHARE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    named = f"SELECT name, updated_at FROM providers_account WHERE enabled AND weight > 0 AND name IN ({marks}){lock}"  # noqa: S608
    return f"WITH serving AS MATERIALIZED ({named})", sorted(accounts)


def _row(one: object, columns: Iterable[str]) -> dict[str, Any]:
    """Shallow, unlike `dataclasses.asdict`, whose deep copies were two fifths of a drain's database thread."""
    return {name: getattr(one, name) for name in columns}


def _opened_row(step: Step) -> dict[str, Any]:
    empty = {"fault": "", "reason_code": "", "reason": "", "provider_message_id": ""}
    told = _row(step.opened, ("id", "number", "account", "lease", "opened_at"))
    return told | empty | {"mail_id": step.mail_id, "state": AttemptState.OPEN}


def _event_rows(events: Iterable[tuple[uuid.UUID, tuple[EventDraft, ...]]]) -> list[dict[str, Any]]:
    return [
        {
            "mail_id": mail_id,
            "created_at": draft.at_ns,
            "created_by": draft.by,
            "event": draft.event,
            "blob": json.dumps(draft.blob, ensure_ascii=False) if draft.blob else "",
        }
        for mail_id, drafts in events
        for draft in drafts
    ]


_Statement = tuple[str, list[Mapping[str, Any]]]


def _insert(table: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> _Statement:
    names = ", ".join(columns)
    picked = ", ".join(f"r.{name}" for name in columns)
    source = recordset.source("r", columns)
    return f"INSERT INTO {table} ({names}) SELECT {picked} FROM {source}", list(rows)  # noqa: S608


def _update(table: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> _Statement:
    changes = ", ".join(f"{name} = r.{name}" for name in columns if name != "id")
    source = recordset.source("r", columns)
    return f"UPDATE {table} SET {changes} FROM {source} WHERE {table}.id = r.id", list(rows)  # noqa: S608


def _close(rows: Sequence[Mapping[str, Any]]) -> _Statement:
    sql, listed = _update("mails_attempt", _CLOSED_COLUMNS, rows)
    sql = sql.replace("closed_at = r.closed_at", f"closed_at = {_latest()}(r.closed_at, mails_attempt.opened_at)")
    known = f"mails_attempt.state = '{AttemptState.UNKNOWN}' AND r.state <> '{AttemptState.UNKNOWN}'"
    return f"{sql} AND (mails_attempt.state = '{AttemptState.OPEN}' OR {known})", listed


def _execute(statements: Sequence[_Statement]) -> None:
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
