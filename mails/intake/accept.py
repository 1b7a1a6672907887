"""The one way in: API, form and commands submit email to `accept`, which judges it and stores it in one transaction."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import structlog
from django.db import DataError, IntegrityError, connection, transaction

from mails import schedule
from mails.dispatch import wake
from mails.intake import given_files, idempotency, suppressed
from mails.intake.client import Client
from mails.intake.judge import Draft, Judge
from mails.intake.limits import Counting, find_limited, record_refused
from mails.intake.receipts import NotStored, Receipt, Stored
from mails.intake.submission import Submission
from mails.lifecycle import writer
from mails.lifecycle.values import NewMail
from mails.models import Mail
from mails.states import Status
from mercury.lib.database.database_errors import classify
from mercury.lib.database.group_commit import GroupCommit
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)

GROUPED = 64 * 1024  # bytes; a larger list has its own transaction, so that a group stays small in memory
NOT_STORABLE = (DataError, IntegrityError)  # something is wrong with an email, not with the database

Receipts = Mapping[uuid.UUID, Receipt]  # by the id that the email has, or would have had


def accept(submissions: Sequence[Submission], *, client: Client) -> list[Receipt]:
    """Store submissions for sending and return a receipt for each, in order.

    Runs in its own transaction, which may include submissions of other threads, and wakes the queues after the commit;
    once this returns, no email can be lost. The same idempotency key of the same client returns the first receipt for 24
    hours, also within the list. Each refusal is a receipt with its errors; an application's email with invalid fields is
    kept with a BAD REQUEST event, and uses up no key. So is one that the limits of the API key have no room for, but it
    is not kept. Raises a database error if the database does not answer; then
    nothing was stored, or everything if only the answer to the commit was lost: with keys, a retry is safe. Files are stored
    before their emails. Raises StorageUnavailable if they cannot be; then no email was.
    """
    judge = Judge(client, submissions)
    drafts = [judge.judge(submission) for submission in submissions]
    new = [draft.new for draft in drafts if draft.new is not None]
    given_files.store(
        (file for draft in drafts for file in draft.files),
        (file.sha256 for draft in drafts if draft.new and draft.files for file in draft.new.message.files),
    )
    receipts = _store(new)
    record_refused(client.api_key, receipts)
    return [_choose_receipt(draft, receipts) for draft in drafts]


def _choose_receipt(draft: Draft, receipts: Receipts) -> Receipt:
    stored = receipts[draft.new.mail.id] if draft.new is not None else None
    if draft.refused is not None and not isinstance(stored, NotStored):
        return draft.refused
    assert stored is not None  # noqa: S101 (what is not refused is stored)
    return stored


def _store(new: Sequence[NewMail]) -> Receipts:
    """Store the emails of one call and wake their queues, in one transaction with others that arrive at the same moment."""
    if not new:
        return {}
    try:
        if not connection.in_atomic_block and sum(draft.mail.size for draft in new) <= GROUPED:
            return _find_shared(new)(new)
        receipts = _write(new)
    except NOT_STORABLE as error:
        log.warning("group_not_stored", error=classify(error))
        with transaction.atomic():
            receipts = _write_storable(new)
    _wake_queues([new])
    return receipts


def _write_groups(calls: Sequence[Sequence[NewMail]]) -> list[Receipts]:
    receipts = _write([draft for new in calls for draft in new])
    return [receipts] * len(calls)


def _write(new: Sequence[NewMail]) -> dict[uuid.UUID, Receipt]:
    """Store emails in one transaction, and return their receipts: of those whose key is in use, that of the first one."""
    new = suppressed.mark(new)
    with_keys, limited_by = any(draft.key is not None for draft in new), find_limited(new)
    counting = Counting(limited_by) if limited_by is not None else None
    # Without keys and limits it is one statement on PostgreSQL, which is a transaction of its own.
    with transaction.atomic() if with_keys or counting or connection.in_atomic_block else nullcontext():
        stored = writer.create(new, refuse=counting.refuse) if counting else writer.create(new)
        refused = counting.refused if counting else {}
        answered = stored.union(refused)
        again = idempotency.answer_again([draft for draft in new if draft.mail.id not in answered])
    receipts = {draft.mail.id: Stored(mail=draft.mail, text=draft.message.text) for draft in new} | again
    return counting.add_statuses(receipts) | refused if counting else receipts


def _write_storable(new: Sequence[NewMail]) -> dict[uuid.UUID, Receipt]:
    """Like `_write`, but leave out each email that the database refuses: search for it by halves, each in a savepoint."""
    try:
        return _write(new)
    except NOT_STORABLE as error:
        if len(new) == 1:
            log.error("email_not_stored", error=classify(error))  # noqa: TRY400 (the statement has the email's content)
            return {new[0].mail.id: NotStored(error=error)}
    middle = len(new) // 2
    return _write_storable(new[:middle]) | _write_storable(new[middle:])


def _wake_queues(calls: Sequence[Sequence[NewMail]]) -> None:
    """Wake the queues of emails that are due, or so soon that no dispatcher would look in time by itself."""
    queues = {
        draft.mail.queue
        for new in calls
        for draft in new
        if draft.mail.status == Status.QUEUED and _is_soon(draft.mail)
    }
    if queues:
        wake.wake_after_commit(sorted(queues))


def _find_shared(new: Sequence[NewMail]) -> "_SharedTransactions":
    """Return the transactions to share: those of an API key with limits are its own, so that only it waits for its row."""
    key = find_limited(new)
    if key is None:
        return process_state.get(_SharedTransactions)
    return process_state.get(_TransactionsOfKeys).by_key.setdefault(key.pk, _SharedTransactions())


def _is_soon(mail: Mail) -> bool:
    return mail.send_at is None or schedule.is_soon(mail.send_at, mail.created_at)


class _SharedTransactions(GroupCommit[Sequence[NewMail], Receipts]):
    """The transactions that calls of this process share."""

    def __init__(self) -> None:
        super().__init__(_write_groups, after=_wake_queues)


class _TransactionsOfKeys:
    """The shared transactions of each API key that has limits."""

    def __init__(self) -> None:
        self.by_key: dict[int, _SharedTransactions] = {}
