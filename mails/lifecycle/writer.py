"""The only writer of an email's state and of its events. Whole groups at a time, each change behind a fence.

A group of emails costs a handful of statements, whatever its size; `sql` has them.
"""

import datetime as dt
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import structlog
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce, Length

from mails.lifecycle import counters, sql
from mails.lifecycle.counters import CounterKey, Counters
from mails.lifecycle.recipient_changes import RecipientChanges
from mails.lifecycle.values import STATE_COLUMNS, EventDraft, IllegalTransition, LateResult, MailState, NewMail, Step
from mails.models import (
    Attempt,
    Content,
    DownloadLink,
    Event,
    IdempotencyKey,
    Mail,
    MailFile,
    MailLabel,
    Recipient,
    Rollup,
)
from mails.schedule import Schedule
from mails.states import ENDINGS, IDEMPOTENCY_KEYS_KEPT, AttemptState, Counted, Ending, RecipientState
from mercury.lib.database import database_clock, recordset
from mercury.lib.database.recordset import as_time, as_uuid
from mercury.lib.database.vendor import get_vendor
from providers.routing.rules import NO_CONSTRAINT, RoutingConstraint

log = structlog.get_logger(__name__)

NOT_STORABLE = (IllegalTransition, DataError, IntegrityError)  # something is wrong with a step, not with the database
# Rows: a value's attributes in the order of its columns.
_get_mail_row = attrgetter(*(name for name in sql.MAIL_COLUMNS if name != "last_event_at"))
_get_key_row = attrgetter(*sql.KEY_COLUMNS)
_get_opened_row, _NOT_OPENED = attrgetter(*sql.OPENED_COLUMNS), (None,) * len(sql.OPENED_COLUMNS)
_get_closed_row, _NOT_CLOSED = attrgetter(*sql.CLOSED_COLUMNS), (None,) * len(sql.CLOSED_COLUMNS)
_get_outcome_row = attrgetter(*sql.OUTCOME_COLUMNS)
_encode_blob = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` builds an encoder at each call
CLIENT_EVENTS = 1000  # that clients may append to one email …
CLIENT_BLOBS = 1_000_000  # … and characters of their blobs: pages, lists and exports read them all


class TooManyEvents(Exception):
    """Clients have appended as much to this email as one email may have."""


@dataclass(frozen=True, slots=True)
class _MovedMail:
    """The fields that counting needs of an email that changed."""

    queue: str
    wanted_at: dt.datetime  # when it was submitted, or was to be sent
    application: int
    last_event_at: int  # no earlier than its last event before


Refuse = Callable[[Sequence[NewMail]], Collection[uuid.UUID]]  # returns the ids of the emails that are not to be stored


def create(new: Sequence[NewMail], *, refuse: Refuse | None = None) -> set[uuid.UUID]:
    """Store emails with their state, key, body, recipients and first events, and return the ids of those stored.

    Leaves out an email whose idempotency key is in use, also by an earlier one of these; waits for nobody, but more than
    MAX_KEY_LOCKS keys wait for others that store the same ones. A key that has expired is taken over. One transaction; on PostgreSQL one statement whatever the number, and another one where emails
    have keys. If it fails, a transaction around it is spoilt. `refuse` is asked within the transaction, about the emails
    whose keys are free; those that it refuses use up no key.
    """
    keys = [mail.key for mail in new if mail.key is not None]
    if not keys and refuse is None and get_vendor() == "postgresql":
        _store(new)  # a statement is a transaction of its own: two round trips less
        return {mail.mail.id for mail in new}
    with transaction.atomic(savepoint=False):
        with_free_key = _insert_keys(keys) if keys else set()
        free = [mail for mail in new if mail.key is None or mail.mail.id in with_free_key]
        if refuse is not None and free and (refused := refuse(free)):
            _release_keys([mail.key for mail in free if mail.key is not None and mail.mail.id in refused])
            free = [mail for mail in free if mail.mail.id not in refused]
        _store(free)
    return {mail.mail.id for mail in free}


def _insert_keys(keys: Sequence[IdempotencyKey]) -> set[uuid.UUID]:
    """Insert the keys that nobody has or is about to have, and return their emails' ids."""
    first = {(key.owner, key.key): key for key in reversed(keys)}  # a statement may not change the same row twice
    rows = [_get_key_row(first[name]) for name in sorted(first)]
    expired = min(key.created_at for key in keys) - IDEMPOTENCY_KEYS_KEPT
    with connection.cursor() as cursor:
        for statement, parameters in sql.insert_keys(rows, expired):
            cursor.execute(statement, parameters)
        return {as_uuid(row[0]) for row in cursor.fetchall()}


def _release_keys(keys: Sequence[IdempotencyKey]) -> None:
    """Delete the rows of keys that this transaction has inserted."""
    if keys:
        mail_ids = [key.mail_id for key in keys]
        IdempotencyKey.objects.filter(
            owner__in={key.owner for key in keys}, key__in=[key.key for key in keys], mail__in=mail_ids
        ).delete()


def _store(new: Sequence[NewMail]) -> None:
    mail_rows = [(*_get_mail_row(mail.mail), _find_last_moment(mail.events), *mail.state) for mail in new]
    recipients = [
        (mail.mail.id, recipient.kind, recipient.name, recipient.address, *_get_first_outcome(mail, recipient.address))
        for mail in new
        for recipient in mail.message.recipients
    ]
    labels = [(mail.mail.id, name, value) for mail in new for name, value in mail.message.labels]
    contents = [(mail.mail.id, mail.message.text, mail.message.html, mail.message.other_fields) for mail in new]
    files = [
        (mail.mail.id, number, file.filename, file.content_type, file.size, file.content_id, file.sha256)
        for mail in new
        for number, file in enumerate(mail.message.attachments, 1)
    ]
    links = [row for mail in new for row in _build_link_rows(mail)]
    sql.execute(
        sql.insert_rows(Mail, sql.MAIL_COLUMNS | STATE_COLUMNS, mail_rows),
        sql.insert_rows(Content, sql.CONTENT_COLUMNS, contents),
        sql.insert_rows(Recipient, sql.RECIPIENT_COLUMNS, recipients),
        sql.insert_rows(DownloadLink, sql.LINK_COLUMNS, links),
        sql.insert_rows(MailLabel, sql.LABEL_COLUMNS, labels),
        sql.insert_rows(MailFile, sql.FILE_COLUMNS, files),
        sql.insert_rows(Rollup, counters.COLUMNS, _count_suppressed(new)),
        sql.insert_rows(Event, sql.EVENT_COLUMNS, _build_event_rows((mail.mail.id, mail.events) for mail in new)),
        *_append(
            [
                (mail.mail.copy_of, (mail.copied,))
                for mail in new
                if mail.copied is not None and mail.mail.copy_of is not None
            ]
        ),
    )


def _get_first_outcome(new: NewMail, address: str) -> tuple[str, str]:
    reason = new.suppressed.get(address)
    return (RecipientState.PENDING, "") if reason is None else (RecipientState.SUPPRESSED, reason)


def _count_suppressed(new: Sequence[NewMail]) -> list[tuple[Any, ...]]:
    """Return the rows that count the suppressed recipients of new emails, and the emails that ended with it."""
    suppressing = [mail for mail in new if mail.suppressed]
    if not suppressing:
        return []
    totals, now = Counters(), database_clock.now()
    for mail in suppressing:
        moved = _MovedMail(mail.mail.queue, mail.mail.created_at, mail.mail.api_key_id or 0, 0)
        if mail.state.status in ENDINGS:
            _count_ending(totals, mail.state, moved, 0.0)
        for _ in mail.suppressed:
            totals.count(CounterKey(Counted.SUPPRESSED, moved.queue, application=moved.application))
    return _build_counter_rows(totals, now)


def _build_counter_rows(totals: Counters, now: dt.datetime) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in counters.COLUMNS) for row in totals.build_rows(now)]


def _build_link_rows(new: NewMail) -> Iterator[tuple[Any, ...]]:
    for number, link in enumerate(new.message.links, 1):
        file = (link.filename, link.content_type, link.size, link.sha256, link.sha256)
        yield (
            uuid.UUID(link.id),
            new.mail.id,
            number,
            *file,
            dt.datetime.fromisoformat(link.expires),
            "",
            0,
            link.max_downloads,
        )


def record(steps: Sequence[Step]) -> set[uuid.UUID]:
    """Take these steps and return the ids of the emails that took theirs.

    Leaves an email as it is that is no longer in the expected state, or under another lease: nothing of its step is
    written or counted, and its id is missing from the answer. One transaction for all; two statements on PostgreSQL. If it
    fails, a transaction around it is spoilt. Raises IllegalTransition before anything is written, also for two steps of
    one email: the database would take one of them, and not say which.
    """
    for step in steps:
        step.check()
    if len({step.mail_id for step in steps}) < len(steps):
        raise IllegalTransition("two steps of one email")
    if not steps:
        return set()
    with transaction.atomic(savepoint=False):
        moved = _move(steps)
        now = database_clock.now()
        won = [(step, mail) for step in steps if (mail := moved.get(step.mail_id)) is not None]
        if connection.vendor != "postgresql":
            _write_attempts([step for step, _ in won])
        outcomes = [_get_outcome_row(outcome) for step, _ in won for outcome in step.recipients]
        counts = _build_counter_rows(_count(won, now), now)
        sql.execute(
            sql.update_rows(Recipient, sql.OUTCOME_COLUMNS, outcomes),
            sql.insert_rows(Rollup, counters.COLUMNS, counts),
            sql.insert_rows(Event, sql.EVENT_COLUMNS, _build_event_rows(_date_events(won))),
        )
    return set(moved)


def record_each(steps: Sequence[Step]) -> set[uuid.UUID]:
    """Like `record`, but log a step that cannot be stored, and take the others: then each has a savepoint of its own."""
    try:
        with transaction.atomic():
            return record(steps)
    except NOT_STORABLE as error:
        if len(steps) == 1:
            log.exception("step_not_stored", mail=str(steps[0].mail_id), error=type(error).__name__)
            return set()
        with transaction.atomic():  # so that a database that fails later on has stored none of them
            return set().union(*(record_each([step]) for step in steps))


def record_late(results: Iterable[LateResult]) -> None:
    """Keep what a dispatcher learned about emails that it no longer holds; their state does not change.

    Closing is idempotent; an attempt that was closed as unknown takes a known outcome, never the other way round.
    Skips what is on record already, since only the answer to its commit was lost.
    """
    listed = list(results)
    closed = Attempt.objects.filter(pk__in=[attempt.id for _, attempt, _ in listed if attempt])
    known = dict(closed.values_list("pk", "state"))
    listed = [result for result in listed if result[1] is None or known.get(result[1].id) != result[1].state]
    last = dict(Mail.objects.filter(pk__in=[mail_id for mail_id, _, _ in listed]).values_list("pk", "last_event_at"))
    listed = [
        (mail_id, attempt, replace(event, at_ns=max(event.at_ns, last.get(mail_id) or 0)))
        for mail_id, attempt, event in listed
    ]
    _store_late(listed)


def _store_late(results: Sequence[LateResult]) -> None:
    closed = [_get_closed_row(attempt) for _, attempt, _ in results if attempt]
    events = [(mail_id, (event,)) for mail_id, _, event in results]
    try:
        with transaction.atomic():
            sql.execute(sql.close_attempts(closed), *_append(events))
    except (DataError, IntegrityError) as error:
        if len(results) == 1:
            log.exception("late_result_not_stored", mail=str(results[0][0]), error=type(error).__name__)
            return
        for result in results:
            record_late([result])


def request_action(mail_ids: Iterable[uuid.UUID], text: str, event: EventDraft) -> set[uuid.UUID]:
    """Leave a request (empty: none) with emails whose call is in progress, and return the ids of those.

    It is carried out when the call is closed; a later request replaces an earlier one.
    """
    rows = [{"id": mail_id} for mail_id in mail_ids]
    return _update_and_note(sql.request_action(), [text, event.at_ns, recordset.encode(rows)], event)


def mark_duplicates(attempts: Mapping[uuid.UUID, int], event: EventDraft) -> set[uuid.UUID]:
    """Mark emails that are done though an earlier attempt (its number) was accepted too; each once. Return their ids."""
    rows = [{"id": mail_id, "number": number} for mail_id, number in attempts.items()]
    return _update_and_note(sql.mark_duplicates(), [event.at_ns, recordset.encode(rows)], event)


def _update_and_note(statement: str, parameters: Sequence[Any], event: EventDraft) -> set[uuid.UUID]:
    """Run an update, and add the event to each email that it changed, no earlier than the email's last one."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        moments = {as_uuid(mail_id): at_ns for mail_id, at_ns in cursor.fetchall()}
        rows = _build_event_rows((mail_id, (replace(event, at_ns=at_ns),)) for mail_id, at_ns in moments.items())
        sql.execute(sql.insert_rows(Event, sql.EVENT_COLUMNS, rows))
    return set(moments)


def extend_expiry(mail_ids: Iterable[uuid.UUID], until: dt.datetime) -> None:
    """Let emails that expire earlier, or have expired, expire at this moment."""
    Mail.objects.filter(pk__in=mail_ids, expires_at__lt=until).update(expires_at=until)


def reschedule(mail_ids: Iterable[uuid.UUID], times: Schedule, links_until: dt.datetime) -> None:
    """Give emails these times, and let their download links that end earlier end at `links_until`."""
    ids = list(mail_ids)
    Mail.objects.filter(pk__in=ids).update(send_at=times.send_at, expires_at=times.expires_at)
    links = DownloadLink.objects.filter(mail__in=ids, revoked_at=None, content__isnull=False)
    links.filter(expires_at__lt=links_until).update(expires_at=links_until)


def set_expiry(mail_ids: Iterable[uuid.UUID], moment: dt.datetime) -> None:
    """Let emails expire at this moment, whenever they expired before."""
    Mail.objects.filter(pk__in=mail_ids).update(expires_at=moment)


def change_recipients(mail: Mail, changes: RecipientChanges, *, recipient: str, needs: str) -> None:
    """Replace and delete recipients of an email that its step has just queued, in the same transaction.

    `recipient` and `needs`: the columns that follow. No unanswered request is repeated with its idempotency key from here
    on: the provider would take the changed one for the first.
    """
    new = changes.replacements
    rows = [
        (row.pk, new[row.address].address, new[row.address].name) for row in mail.recipients.all() if row.address in new
    ]
    mail.recipients.filter(address__in=changes.dropped).delete()
    sql.execute(sql.update_rows(Recipient, sql.ADDRESS_COLUMNS, rows))
    Mail.objects.filter(pk=mail.pk).update(recipient=recipient, needs=needs)
    Attempt.objects.filter(mail=mail, state=AttemptState.UNKNOWN).exclude(key_scope="").update(key_scope="")


def constrain_routing(mail_ids: Iterable[uuid.UUID], routing_constraint: RoutingConstraint) -> None:
    """Let emails use only some accounts from now on, or all of them again."""
    if routing_constraint != NO_CONSTRAINT:
        Mail.objects.filter(pk__in=mail_ids).update(routing_constraint=routing_constraint.to_blob())
    else:
        Mail.objects.filter(pk__in=mail_ids, routing_constraint__isnull=False).update(routing_constraint=None)


def append_client_event(mail: Mail, *, event: str, blob: str, by: str) -> Event:
    """Record an event that a client posts, and return it. It never moves the email.

    Raises TooManyEvents above CLIENT_EVENTS events or CLIENT_BLOBS characters of blobs. Those that arrive at the same
    moment may pass together: a handful more, which costs less than a lock that the dispatcher would wait for.
    """
    appended = Event.objects.of(mail.pk).filter(Q(created_by__startswith="key:") | Q(created_by__startswith="user:"))
    stored = appended.aggregate(count=Count("id"), size=Coalesce(Sum(Length("blob")), 0))
    if stored["count"] >= CLIENT_EVENTS or stored["size"] + len(blob) > CLIENT_BLOBS:
        raise TooManyEvents
    at_ns = max(database_clock.now_ns(), mail.last_event_at or 0)
    sql.execute(sql.advance_timelines({mail.pk: at_ns}))
    return Event.objects.create(mail=mail, created_at=at_ns, created_by=by, event=event, blob=blob)


def append_event(mail_id: uuid.UUID, draft: EventDraft) -> None:
    """Record an event of Mercury's own that moves no email, dated no earlier than the email's last one."""
    last = Mail.objects.filter(pk=mail_id).values_list("last_event_at", flat=True).first()
    sql.execute(*_append([(mail_id, (replace(draft, at_ns=max(draft.at_ns, last or 0)),))]))


def is_serving(account: str, version: dt.datetime | None) -> bool:
    """Return True if email may be handed to the account now, and its row is as it was in this version."""
    statement, parameters = sql.select_serving({account})
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        versions = {as_time(updated_at) for _, updated_at in cursor.fetchall()}
    return version is None or version in versions


def _move(steps: Sequence[Step]) -> dict[uuid.UUID, _MovedMail]:
    """Write the state that follows each step, and return the emails that were as their step expects.

    On PostgreSQL, write their attempts as well.
    """
    accounts = {step.opened.account for step in steps if step.opened}
    with_attempts = connection.vendor == "postgresql"
    opens, closes = with_attempts and bool(accounts), with_attempts and any(step.closed for step in steps)
    rows = [_build_step_row(step, opens=opens, closes=closes) for step in steps]
    with connection.cursor() as cursor:
        cursor.execute(*sql.take_steps(accounts, rows, opens=opens, closes=closes))
        return {
            as_uuid(mail_id): _MovedMail(queue, as_time(wanted_at), application or 0, last_event_at)
            for mail_id, queue, wanted_at, application, last_event_at in cursor.fetchall()
        }


def _build_step_row(step: Step, *, opens: bool, closes: bool) -> tuple[Any, ...]:
    return (
        step.mail_id,
        step.before,
        step.fence,
        step.attempts,
        step.pending_action,
        step.opened.account_version if step.opened else None,
        _find_last_moment(step.events),
        *step.after,
        *((_get_opened_row(step.opened) if step.opened else _NOT_OPENED) if opens else ()),
        *((_get_closed_row(step.closed) if step.closed else _NOT_CLOSED) if closes else ()),
    )


def _write_attempts(steps: Iterable[Step]) -> None:
    sql.execute(
        sql.close_attempts([_get_closed_row(step.closed) for step in steps if step.closed]),
        sql.open_attempts([(*_get_opened_row(step.opened), step.mail_id) for step in steps if step.opened]),
    )


def _count(won: Iterable[tuple[Step, _MovedMail]], now: dt.datetime) -> Counters:
    """Return what these steps add to the instance's figures: first sends, calls that ended, emails that ended."""
    totals = Counters()
    for step, mail in won:
        age = max(0.0, (now - mail.wanted_at).total_seconds())  # clocks of two processes may differ by a hair
        if step.opened is not None and step.opened.number == 1:
            totals.count(CounterKey(Counted.FIRST_SEND, mail.queue, application=mail.application), age)
        if step.closed is not None and step.closed.account:
            _count_call(totals, step, mail)
        if step.after.status in ENDINGS:
            _count_ending(totals, step.after, mail, age)
        for outcome in step.recipients:
            if outcome.state == RecipientState.SUPPRESSED:
                totals.count(CounterKey(Counted.SUPPRESSED, mail.queue, application=mail.application))
    return totals


def _count_call(totals: Counters, step: Step, mail: _MovedMail) -> None:
    closed = step.closed
    assert closed is not None  # noqa: S101 (the caller looked)
    seconds = None if closed.latency_ms is None else closed.latency_ms / 1000
    totals.count(
        CounterKey(Counted.CALL, mail.queue, closed.account, outcome=closed.state, failure_class=closed.failure_class),
        seconds,
    )


def _count_ending(totals: Counters, after: MailState, mail: _MovedMail, age: float) -> None:
    ending = ENDINGS[after.status]
    if ending == Ending.DONE and (after.tried or after.round > 1):  # an attempt that was not made is no failure
        ending = Ending.FAILOVER
    key = CounterKey(Counted.END, mail.queue, after.provider, mail.application, ending, after.failure_class)
    totals.count(key, None if ending == Ending.HELD else age)


def _find_last_moment(events: Iterable[EventDraft]) -> int:
    return max([event.at_ns for event in events], default=0)


def _date_events(won: Iterable[tuple[Step, _MovedMail]]) -> Iterator[tuple[uuid.UUID, tuple[EventDraft, ...]]]:
    """Yield each step's events, none dated before the email's last one: the clock may have gone back."""
    for step, mail in won:
        at_ns = mail.last_event_at
        went_back = at_ns > _find_last_moment(step.events)
        yield step.mail_id, tuple(replace(event, at_ns=at_ns) for event in step.events) if went_back else step.events


def _append(events: Sequence[tuple[uuid.UUID, tuple[EventDraft, ...]]]) -> Iterator[Iterator[sql.Statement]]:
    """Yield the statements that add events to emails whose step they are not; no later event is dated before them."""
    moments: dict[uuid.UUID, int] = {}
    for mail_id, drafts in events:
        moments[mail_id] = max(_find_last_moment(drafts), moments.get(mail_id, 0))
    yield sql.advance_timelines(moments)
    yield sql.insert_rows(Event, sql.EVENT_COLUMNS, _build_event_rows(events))


def _build_event_rows(events: Iterable[tuple[uuid.UUID, tuple[EventDraft, ...]]]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    columns: dict[
        int, tuple[Any, ...]
    ] = {}  # of drafts that several emails share: they are alive until all rows are built
    drafts_by_mail = list(events)
    for mail_id, drafts in drafts_by_mail:
        for draft in drafts:
            if (found := columns.get(id(draft))) is None:
                blob = _encode_blob(draft.blob) if draft.blob else ""
                found = columns[id(draft)] = (draft.at_ns, draft.by, draft.event, blob)
            rows.append((mail_id, *found))
    return rows
