"""Accept email: API, form and command line submit it to `accept`, which stores it in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DataError, IntegrityError, connection, transaction

from mails.access import grants
from mails.dispatch import wake
from mails.intake import idempotency
from mails.intake.errors import IdempotencyKeyInUse, InvalidField, InvalidSubmission, SenderNotAllowed
from mails.intake.submission import QUEUES, Submission, parse_submission
from mails.intake.submission_fields import MAX_SENDER, MAX_SUBJECT, make_storable
from mails.lifecycle import writer
from mails.lifecycle.values import EventDraft, MailState, NewMail
from mails.message import addresses
from mails.message.message import Message, MessageRecipient
from mails.models import ApiKey, Mail, uuid7
from mails.queues import QueueName
from mails.states import Actor, DeliveryGuarantee, EventName, Source, Status
from mercury.lib.database import database_clock
from mercury.lib.database.group_commit import GroupCommit

log = structlog.get_logger(__name__)

GROUPED = 64 * 1024  # bytes; a larger email has its own transaction, so that a group stays small in memory
KEPT_OF_A_REJECTED = 4096  # characters of the content of an email that failed validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The submitter of an email: an application by its key, a person, or the command line (neither)."""

    source: Source
    api_key: ApiKey | None = None
    user: User | None = None

    @property
    def owner(self) -> str:
        """The owner of its idempotency keys."""
        if self.api_key is not None:
            return f"key:{self.api_key.pk}"
        return f"user:{self.user.pk}" if self.user is not None else "command"

    @property
    def name(self) -> str:
        """The application's or the person's name."""
        if self.api_key is not None:
            return self.api_key.name
        return self.user.get_username() if self.user is not None else "command line"

    def list_allowed_senders(self) -> list[str]:
        """Return the addresses it may send as; `@example.com` means a whole domain, `*` any address."""
        if self.api_key is not None:
            return list(self.api_key.senders)
        return ["*"] if self.user is None else grants.list_senders(self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A stored email. `replayed`: an earlier request with the same idempotency key stored it."""

    mail: Mail
    replayed: bool


def accept(data: Mapping[str, object], *, client: Client, idempotency_key: str | None = None) -> Receipt:
    """Store an email for sending and return its receipt; once this returns, the email cannot be lost.

    Email, events and key are stored in one transaction, which may include email of other threads; after its commit the
    queue is woken, and a failure to wake it does not reach the caller. The same idempotency key of the same client gives
    the same email for 24 hours. Raises InvalidSubmission that names each field (an email from the API is kept as rejected,
    with a BAD REQUEST event, and does not use up the key), SenderNotAllowed, or an idempotency error; then nothing is stored.
    """
    received_at = database_clock.now_ns()
    if idempotency_key is not None:
        idempotency.check_key(idempotency_key)
    try:
        submission = parse_submission(data)
    except InvalidSubmission as invalid:
        if client.source == Source.API:  # a person sees the error at once and corrects it
            invalid.mail_id = str(_keep_rejected(data, invalid.errors, client=client, received_at=received_at).pk)
        raise
    allowed = client.list_allowed_senders()
    if not is_sender_allowed(addresses.extract_address(submission.sender), allowed):
        raise SenderNotAllowed(submission.sender, allowed)
    new = _build_mail(submission, client=client, received_at=received_at, idempotency_key=idempotency_key or "")
    return Receipt(mail=new.mail, replayed=False) if _try_store(new) else _replay_or_store(new)


def is_sender_allowed(address: str, allowed: list[str]) -> bool:
    """Return True if an allowed sender covers this address; domains compare without case."""
    local, _, domain = address.rpartition("@")
    covering = {"*", f"@{domain.lower()}", f"{local}@{domain.lower()}"}
    return any(addresses.normalize_entry(entry) in covering for entry in allowed)


def _build_mail(submission: Submission, *, client: Client, received_at: int, idempotency_key: str) -> NewMail:
    created_at = database_clock.from_ns(received_at)
    message = Message(
        sender=submission.sender,
        recipients=tuple(MessageRecipient(address=address) for address in submission.recipients),
        subject=submission.subject,
        text=submission.text,
    )
    mail = Mail(
        id=uuid7(),
        api_key=client.api_key,
        user=client.user,
        source=client.source,
        idempotency_key=idempotency_key,
        created_at=created_at,
        **message.columns,
        queue=submission.queue,
        delivery_guarantee=submission.delivery_guarantee,
        status=Status.QUEUED,
        expires_at=created_at + settings.MERCURY_EXPIRY,
    )
    checked_at = database_clock.now_ns()
    accepted = {
        "recipients": len(submission.recipients),
        "queue": mail.queue,
        "delivery_guarantee": mail.delivery_guarantee,
    }
    events = (
        _build_new_event(client, mail.size, received_at),
        EventDraft(event=EventName.ACCEPTED, by=Actor.MAIL_SERVICE, at_ns=checked_at, blob=accepted),
        EventDraft(event=EventName.ENQUEUE, by=Actor.MAIL_SERVICE, at_ns=checked_at, blob={"queue": mail.queue}),
    )
    key = None
    if idempotency_key:
        key = idempotency.build_key(idempotency_key, submission, owner=client.owner, mail=mail)
    state = MailState(status=Status.QUEUED, next_attempt_at=created_at)
    return NewMail(mail=mail, message=message, state=state, events=events, key=key)


def _store(new: Sequence[NewMail]) -> list[bool]:
    """Store emails and return for each whether it was stored; False: its idempotency key is in use."""
    stored = writer.create(new)
    return [draft.mail.id in stored for draft in new]


def _wake_queues(stored: Sequence[NewMail]) -> None:
    wake.wake_after_commit({draft.mail.queue for draft in stored})


_store_with_others = GroupCommit(_store, after=_wake_queues)


def _try_store(new: NewMail) -> bool:
    """Store the email and wake its queue, in one transaction with others that arrive at the same moment."""
    if not connection.in_atomic_block and new.mail.size <= GROUPED:
        try:
            return _store_with_others(new)
        except (DataError, IntegrityError) as error:
            log.warning(
                "group_not_stored", error=type(error).__name__
            )  # each is stored alone, which shows the invalid one
    (stored,) = _store([new])
    if stored:
        _wake_queues([new])
    return stored


def _build_new_event(client: Client, size: int, at_ns: int) -> EventDraft:
    blob: dict[str, Any] = {"source": client.source, "application": client.name, "size": size}
    if client.api_key is not None:
        blob["key"] = client.api_key.prefix
    return EventDraft(event=EventName.NEW, by=Actor.MAIL_SERVICE, at_ns=at_ns, blob=blob)


def _keep_rejected(
    data: Mapping[str, object], errors: tuple[InvalidField, ...], *, client: Client, received_at: int
) -> Mail:
    """Store an email that failed validation, cut to a limit, so that its sender can find out why it was not sent."""
    recipient = data.get("recipient") if data.get("recipient") is not None else data.get("recipients")
    shown = ", ".join(map(str, recipient)) if isinstance(recipient, list) else recipient
    message = Message(
        sender=make_storable(data.get("sender"), MAX_SENDER),
        subject=make_storable(data.get("subject"), MAX_SUBJECT),
        text=make_storable(data.get("content"), KEPT_OF_A_REJECTED),
    )
    delivery_guarantee, queue = data.get("delivery_guarantee"), data.get("queue")
    created_at = database_clock.from_ns(received_at)
    mail = Mail(
        id=uuid7(),
        api_key=client.api_key,
        user=client.user,
        source=client.source,
        created_at=created_at,
        **message.columns | {"recipient": make_storable(shown, KEPT_OF_A_REJECTED)},
        queue=queue if queue in QUEUES else QueueName.TEXT,
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
        EventDraft(
            event=EventName.BAD_REQUEST, by=Actor.MAIL_SERVICE, at_ns=database_clock.now_ns(), blob={"errors": details}
        ),
    )
    state = MailState(
        status=Status.REJECTED, finished_at=created_at, failure_class="message", reason_code=errors[0].code[:64]
    )
    writer.create([NewMail(mail=mail, message=message, state=state, events=events)])
    return mail


def _replay_or_store(new: NewMail) -> Receipt:
    """Return the receipt of the first request with this key, or store the email if the key has expired."""
    assert new.key is not None  # noqa: S101 (without a key every email is stored)
    with transaction.atomic():
        earlier = idempotency.find_earlier_mail(new.key)
        if earlier is not None:
            return Receipt(mail=earlier, replayed=True)
        if not all(_store([new])):
            raise IdempotencyKeyInUse("A request with this Idempotency-Key is still running. Retry in a second.")
        _wake_queues([new])
    return Receipt(mail=new.mail, replayed=False)
