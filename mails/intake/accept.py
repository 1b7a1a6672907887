"""The one way in. API, form and command line hand a mail to `accept`, which stores it in one transaction."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DataError, IntegrityError, connection, transaction

from mails.access import grants
from mails.dispatch import wake
from mails.intake import submission
from mails.intake.submission import InvalidField, InvalidSubmission, Submission
from mails.lifecycle import writer
from mails.lifecycle.values import EventDraft, MailState, NewMail
from mails.message import addresses
from mails.models import ApiKey, IdempotencyKey, Mail, uuid7
from mails.queues import QueueName
from mails.states import IDEMPOTENCY_KEYS_KEPT, Actor, DeliveryGuarantee, EventName, Source, Status
from mercury.lib.database import database_clock
from mercury.lib.database.group_commit import GroupCommit

log = structlog.get_logger(__name__)

GROUPED = 64 * 1024  # bytes; a larger mail has a transaction of its own, so that a group stays small in memory
KEPT_OF_A_REJECTED = 4096  # characters of the content of a mail that failed validation
_PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class IntakeError(Exception):
    """A mail that breaks no rule of its own and still is not taken.

    IntakeError
    ├── SenderNotAllowed       the client may not send as this address
    ├── InvalidIdempotencyKey  the key itself is malformed
    ├── IdempotencyKeyReused   the key came with another body before
    └── IdempotencyKeyInUse    a request with this key is still running
    """


class SenderNotAllowed(IntakeError):
    """The client may not send as this address."""

    def __init__(self, sender: str, allowed: list[str]) -> None:
        senders = f"Allowed senders: {', '.join(allowed)}." if allowed else "It has no allowed senders yet."
        super().__init__(
            f"Not allowed to send as {sender}. {senders} An administrator can add senders in the admin: Keys for an application, Users for a person."
        )
        self.sender = sender
        self.allowed = allowed


class InvalidIdempotencyKey(IntakeError):
    """The key is empty, too long, or has characters outside printable ASCII."""


class IdempotencyKeyReused(IntakeError):
    """The key came with another body before."""


class IdempotencyKeyInUse(IntakeError):
    """A request with this key is still running."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who hands a mail in: an application by its key, a person, or the command line (neither)."""

    source: Source
    api_key: ApiKey | None = None
    user: User | None = None

    @property
    def owner(self) -> str:
        """Whose idempotency keys these are."""
        if self.api_key is not None:
            return f"key:{self.api_key.pk}"
        return f"user:{self.user.pk}" if self.user is not None else "command"

    @property
    def name(self) -> str:
        """The application's or the person's name."""
        if self.api_key is not None:
            return self.api_key.name
        return self.user.get_username() if self.user is not None else "command line"

    def allowed_senders(self) -> list[str]:
        """Addresses it may send as; `@example.com` stands for a domain, `*` for any address."""
        if self.api_key is not None:
            return list(self.api_key.senders)
        return ["*"] if self.user is None else grants.list_senders(self.user)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stored mail. `replayed`: it was stored by an earlier request with the same idempotency key."""

    mail: Mail
    replayed: bool


def accept(data: Mapping[str, object], *, client: Client, idempotency_key: str | None = None) -> Receipt:
    """Store a mail for sending and return it; once this returns, the mail cannot be lost.

    Mail, events and key are one transaction, which may hold mails of other threads too; after its commit the queue is
    woken, and no failure to wake reaches the caller. The same idempotency key of the same client gives the same mail
    for 24 hours. Raises InvalidSubmission naming each field (one from the API is kept as rejected, with its BAD REQUEST
    event, and does not use up the key), SenderNotAllowed, or one of the idempotency errors; then nothing is stored.
    """
    received_at = database_clock.now_ns()
    if idempotency_key is not None:
        _check_key(idempotency_key)
    try:
        wanted = submission.parse(data)
    except InvalidSubmission as invalid:
        if client.source == Source.API:  # a person is told at once, and corrects it where it was typed
            invalid.mail_id = str(_keep_rejected(data, invalid.errors, client=client, received_at=received_at).pk)
        raise
    allowed = client.allowed_senders()
    if not may_send_as(addresses.extract_address(wanted.sender), allowed):
        raise SenderNotAllowed(wanted.sender, allowed)
    new = _build_mail(wanted, client=client, received_at=received_at, idempotency_key=idempotency_key or "")
    return Receipt(new.mail, replayed=False) if _try_store(new) else _replay_or_store(new)


def may_send_as(address: str, allowed: list[str]) -> bool:
    """Whether one of the allowed senders covers this address; domains compare without case."""
    local, _, domain = address.rpartition("@")
    wanted = {"*", f"@{domain.lower()}", f"{local}@{domain.lower()}"}
    return any(addresses.normalize_entry(entry) in wanted for entry in allowed)


def _check_key(key: str) -> None:
    if len(key) > submission.MAX_IDEMPOTENCY_KEY or not _PRINTABLE.fullmatch(key):
        what = "blank" if not key.strip() else "invalid"
        raise InvalidIdempotencyKey(
            f"Idempotency-Key: It is {what}. Use 1 to {submission.MAX_IDEMPOTENCY_KEY} printable ASCII characters, or omit it."
        )


def _build_mail(wanted: Submission, *, client: Client, received_at: int, idempotency_key: str) -> NewMail:
    created_at = database_clock.from_ns(received_at)
    mail = Mail(
        id=uuid7(),
        api_key=client.api_key,
        user=client.user,
        source=client.source,
        idempotency_key=idempotency_key,
        created_at=created_at,
        size=wanted.size,
        sender=wanted.sender,
        recipient=", ".join(wanted.recipients),
        subject=wanted.subject,
        queue=wanted.queue,
        delivery_guarantee=wanted.delivery_guarantee,
        status=Status.QUEUED,
        expires_at=created_at + settings.MERCURY_EXPIRY,
    )
    checked_at = database_clock.now_ns()
    accepted = {
        "recipients": len(wanted.recipients),
        "queue": mail.queue,
        "delivery_guarantee": mail.delivery_guarantee,
    }
    events = (
        _build_new_event(client, wanted.size, received_at),
        EventDraft(EventName.ACCEPTED, Actor.MAIL_SERVICE, checked_at, accepted),
        EventDraft(EventName.ENQUEUE, Actor.MAIL_SERVICE, checked_at, {"queue": mail.queue}),
    )
    key = None
    if idempotency_key:
        key = IdempotencyKey(
            owner=client.owner, key=idempotency_key, body_hash=_hash(wanted), mail_id=mail.id, created_at=created_at
        )
    state = MailState(status=Status.QUEUED, next_attempt_at=created_at)
    return NewMail(mail, state, wanted.text, wanted.recipients, events, key)


def _store(new: Sequence[NewMail]) -> list[bool]:
    """Whether each was stored, or else its idempotency key is in use."""
    stored = writer.create(new)
    return [one.mail.id in stored for one in new]


def _wake_queues(stored: Sequence[NewMail]) -> None:
    queues = {one.mail.queue for one in stored}

    def wake_queues() -> None:
        for queue in queues:
            wake.wake_workers(queue)

    transaction.on_commit(wake_queues, robust=True)


_store_with_others = GroupCommit(_store, after=_wake_queues)


def _try_store(new: NewMail) -> bool:
    """Store the mail and wake its queue, in one transaction with those that come in at the same moment."""
    if not connection.in_atomic_block and new.mail.size <= GROUPED:
        try:
            return _store_with_others(new)
        except (DataError, IntegrityError) as error:
            log.warning("group_not_stored", error=type(error).__name__)  # alone it is seen whose fault it was
    (stored,) = _store([new])
    if stored:
        _wake_queues([new])
    return stored


def _build_new_event(client: Client, size: int, at_ns: int) -> EventDraft:
    blob: dict[str, Any] = {"source": client.source, "application": client.name, "size": size}
    if client.api_key is not None:
        blob["key"] = client.api_key.prefix
    return EventDraft(EventName.NEW, Actor.MAIL_SERVICE, at_ns, blob)


def _keep_rejected(
    data: Mapping[str, object], errors: tuple[InvalidField, ...], *, client: Client, received_at: int
) -> Mail:
    """Keep what failed validation, cut to a bound, so that "why was my mail not sent" has an answer."""
    recipient = data.get("recipient") if data.get("recipient") is not None else data.get("recipients")
    shown = ", ".join(map(str, recipient)) if isinstance(recipient, list) else recipient
    text = submission.make_storable(data.get("content"), KEPT_OF_A_REJECTED)
    subject = submission.make_storable(data.get("subject"), submission.MAX_SUBJECT)
    delivery_guarantee, queue = data.get("delivery_guarantee"), data.get("queue")
    created_at = database_clock.from_ns(received_at)
    mail = Mail(
        id=uuid7(),
        api_key=client.api_key,
        user=client.user,
        source=client.source,
        created_at=created_at,
        size=len(subject.encode()) + len(text.encode()),
        sender=submission.make_storable(data.get("sender"), submission.MAX_SENDER),
        recipient=submission.make_storable(shown, KEPT_OF_A_REJECTED),
        subject=subject,
        queue=queue if queue in submission.QUEUES else QueueName.TEXT,
        delivery_guarantee=delivery_guarantee
        if delivery_guarantee in DeliveryGuarantee.values
        else settings.MERCURY_DELIVERY_GUARANTEE,
        status=Status.REJECTED,
        expires_at=created_at,
        finished_at=created_at,
    )
    details = [{"field": error.field, "code": error.code, "detail": error.detail} for error in errors]
    events = (
        _build_new_event(client, mail.size, received_at),
        EventDraft(EventName.BAD_REQUEST, Actor.MAIL_SERVICE, database_clock.now_ns(), {"errors": details}),
    )
    state = MailState(
        status=Status.REJECTED, finished_at=created_at, failure_class="message", reason_code=errors[0].code[:64]
    )
    writer.create([NewMail(mail, state, text, (), events)])
    return mail


def _replay_or_store(new: NewMail) -> Receipt:
    """The receipt of the request that was first with this key; or store the mail, if the key's time is over."""
    assert new.key is not None  # noqa: S101 (without a key every mail is stored)
    with transaction.atomic():
        earlier = _find_earlier(new.key)
        if earlier is not None:
            return Receipt(earlier, replayed=True)
        if not all(_store([new])):
            raise IdempotencyKeyInUse("A request with this Idempotency-Key is still running. Retry in a second.")
        _wake_queues([new])
    return Receipt(new.mail, replayed=False)


def _find_earlier(key: IdempotencyKey) -> Mail | None:
    """The mail that this key led to within its time; a row whose time is over is deleted."""
    row = next(iter(IdempotencyKey.objects.filter(owner=key.owner, key=key.key)), None)
    if row is None:
        return None
    if key.created_at - row.created_at >= IDEMPOTENCY_KEYS_KEPT:
        row.delete()
        return None
    if row.body_hash != key.body_hash:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was already used with a different body. Use a new key for a new email."
        )
    return row.mail


def _hash(wanted: Submission) -> str:
    """The same for every body that means the same mail, whatever the order of its fields.

    A queue counts where it was asked for: without one the hash is that of a Mercury which did not know the field.
    """
    meant = [wanted.sender, wanted.recipients, wanted.subject, wanted.text, wanted.delivery_guarantee]
    if wanted.queue in submission.QUEUES:
        meant.append(wanted.queue)
    return hashlib.sha256(json.dumps(meant).encode()).hexdigest()
