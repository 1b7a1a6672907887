"""Judge submissions: each becomes an email to be stored, or a refusal. Writes nothing."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, assert_never

from django.conf import settings
from django.db.models.base import ModelState
from django.utils.functional import cached_property  # without a lock: a judge is one thread's

from mails import queue_rules, schedule
from mails.intake import idempotency, queue_choice, submission
from mails.intake.attachment_fields import GivenFile
from mails.intake.client import Client, is_sender_allowed
from mails.intake.given_files import OwnFiles
from mails.intake.idempotency import EarlierBodies
from mails.intake.receipts import IDEMPOTENCY_KEY, InvalidField, RefusalReason, Refused
from mails.intake.submission import CopySource, InvalidSubmission, Submission, ValidSubmission
from mails.intake.submission_fields import KEPT_OF_A_REJECTED
from mails.lifecycle.values import EventDraft, MailState, NewMail
from mails.message import addresses
from mails.message.message import LinkReference, Message
from mails.models import ApiKey, Mail, uuid7
from mails.queue_rules import Rule
from mails.routing.book import RuleBook, get_book
from mails.routing.facts import build_facts
from mails.states import Actor, EventName, RecipientKind, Source, Status
from mercury.lib.database import database_clock
from mercury.lib.moments import format_iso
from mercury.lib.value import value
from providers.accounts import registry
from providers.kinds.capabilities import Feature
from providers.kinds.catalog import KINDS


@value
class Draft:
    """A judged submission: the email to be stored, the refusal, or both for a rejected email that is kept."""

    new: NewMail | None = None
    refused: Refused | None = None
    files: tuple[GivenFile, ...] = ()  # of `new`


_FIELDS_OF_KIND = {RecipientKind.TO: "recipient", RecipientKind.CC: "cc", RecipientKind.BCC: "bcc"}
_NO_SMTPUTF8 = (
    "'{address}' has letters beyond ASCII before the @, and no account can carry such addresses (SMTPUTF8). Use another "
    "address, or ask an operator for an account that can."
)


class Judge:
    """Judges the submissions of one call: they have the same client and the same time of arrival."""

    def __init__(self, client: Client, submissions: Sequence[Submission] = ()) -> None:
        """`submissions`: all that it will judge, so that what they refer to is read by one query."""
        self._client = client
        self._files = OwnFiles(client.file_owner, [given.fields.get("attachments") for given in submissions])
        self._received_at = database_clock.now_ns()
        self._created_at = database_clock.from_ns(self._received_at)
        keys = [given.idempotency_key for given in submissions]
        self._earlier = EarlierBodies(client.owner, keys, self._created_at)
        self._accepted_events: dict[tuple[Any, ...], tuple[EventDraft, ...]] = {}
        self._senders: dict[str, Refused | None] = {}  # as they were given, with what is against them

    def judge(self, given: Submission) -> Draft:
        """Return what is to be stored of a submission, or why nothing is. Reads the allowed senders of a person, once."""
        key = given.idempotency_key
        if key is not None and (problem := idempotency.explain_invalid(key)):
            return Draft(refused=_refuse_key(problem))
        match submission.judge(given.fields, find_files=self._files.resolve):
            case ValidSubmission() as valid:
                if refused := self._check_sender(valid.message.sender):
                    return Draft(refused=refused)
                if errors := self._find_time_errors(valid, key):
                    return self._reject(_refuse(valid, errors))
                new = self._build_mail(valid, key, given.copy_of)
                if Feature.SMTPUTF8 in new.mail.needs and (unusable := _refuse_addresses(valid)):
                    return self._reject(unusable)
                return Draft(new=new, files=valid.files)
            case InvalidSubmission() as invalid:
                return self._reject(invalid)
            case never:
                assert_never(never)

    @cached_property
    def _allowed_senders(self) -> list[str]:
        return self._client.list_allowed_senders()

    @cached_property
    def _limited_by(self) -> ApiKey | None:
        key = self._client.api_key
        return key if key is not None and key.has_limits else None

    @cached_property
    def _queue_rules(self) -> Sequence[Rule]:
        return queue_rules.read()

    @cached_property
    def _shared(self) -> dict[str, Any]:
        """Return the attributes of all emails of the call."""
        client = self._client
        return _get_defaults() | {
            "api_key_id": client.api_key.pk if client.api_key is not None else None,
            "user_id": client.user.pk if client.user is not None else None,
            "source": client.source,
            "created_at": self._created_at,
        }

    @cached_property
    def _created_event(self) -> dict[str, Any]:
        """Return the blob of the event NEW but for the size."""
        client = self._client
        key = {"key": client.api_key.prefix} if client.api_key is not None else {}
        return {"source": client.source, "application": client.name, "size": 0} | key

    @cached_property
    def _checked_at(self) -> int:
        return database_clock.now_ns()

    def _check_sender(self, sender: str) -> Refused | None:
        if sender not in self._senders:
            self._senders[sender] = self._judge_sender(sender)
        return self._senders[sender]

    def _judge_sender(self, sender: str) -> Refused | None:
        allowed = self._allowed_senders
        if is_sender_allowed(addresses.extract_address(sender), allowed):
            return None
        senders = f"Allowed senders: {', '.join(allowed)}." if allowed else "It has no allowed senders yet."
        detail = (
            f"Not allowed to send as {sender}. {senders} "
            "An administrator can add senders in the admin: Keys for an application, Users for a person."
        )
        reason = RefusalReason.SENDER_NOT_ALLOWED
        return Refused(reason=reason, detail=detail, errors=(InvalidField(field="sender", code=reason, detail=detail),))

    def _find_time_errors(self, valid: ValidSubmission, key: str | None) -> tuple[InvalidField, ...]:
        """Return what is wrong with its times; nothing for a repeated request, whose times may be past by now."""
        values, now = valid.values, self._created_at
        if not values["send_at"] and not values["expires_at"]:
            return ()
        errors = tuple(
            InvalidField(field=error.field, code=error.code, detail=error.detail)
            for error in schedule.find_errors(values["send_at"], values["expires_at"], now)
        )
        if errors and key and self._earlier.has(key, valid):
            return ()
        return errors

    def _build_mail(self, valid: ValidSubmission, key: str | None, copy_of: CopySource | None) -> NewMail:
        created_at = self._created_at
        send_at = valid.values["send_at"]
        times = schedule.plan(send_at, valid.values["expires_at"], created_at)
        due_at = max(times.send_at, created_at)
        message = _add_links(valid, due_at + settings.MERCURY_LINK_EXPIRY)
        rule = queue_choice.find_rule(self._queue_rules, valid, self._client)
        queue = rule.queue if rule else valid.queue
        mail = self._new_mail(
            **message.columns,
            idempotency_key=key or "",
            queue=queue,
            delivery_guarantee=valid.delivery_guarantee,
            status=Status.QUEUED,
            send_at=send_at,
            expires_at=times.expires_at,
            copy_of=copy_of.mail_id if copy_of else None,
        )
        mail.routing_rule = self._match_routing_rule(mail, message)
        return NewMail(
            mail=mail,
            message=message,
            state=MailState(status=Status.QUEUED, next_attempt_at=due_at),
            events=(self._build_new_event(mail.size, copy_of), *self._build_accepted_events(valid, queue, rule)),
            key=idempotency.build_key(key, valid, owner=self._client.owner, mail=mail) if key else None,
            limited_by=self._limited_by,
            copied=self._build_copied_event(mail, copy_of) if copy_of else None,
        )

    def _match_routing_rule(self, mail: Mail, message: Message) -> int | None:
        """Return the id of the routing rule that the email matches. Costs nothing where there are no rules."""
        book = self._routing_rules
        if not book.policies:
            return None
        facts = build_facts(
            sender=message.sender,
            addresses=[recipient.address for recipient in message.recipients],
            tags=message.tags,
            queue=mail.queue,
            api_key=self._client.api_key.name if self._client.api_key else "",
            size=mail.size,
        )
        rule = book.match(facts)
        return rule.id if rule else None

    @cached_property
    def _routing_rules(self) -> RuleBook:
        return get_book()

    def _reject(self, invalid: InvalidSubmission) -> Draft:
        """Refuse an email with invalid fields. That of an application is kept; a person sees the error at once and corrects it."""
        new = self._build_rejected(invalid) if self._client.source == Source.API else None
        refused = Refused(
            reason=RefusalReason.INVALID_MAIL,
            detail="; ".join(f"{error.place}: {error.detail}" for error in invalid.errors),
            errors=invalid.errors,
            mail_id=new.mail.id if new else None,
        )
        return Draft(new=new, refused=refused)

    def _build_rejected(self, invalid: InvalidSubmission) -> NewMail:
        """Return the email as it is kept, so that its sender can find out why it was not sent."""
        created_at, checked_at = self._created_at, self._checked_at
        mail = self._new_mail(
            **invalid.message.columns | {"recipient": invalid.recipient},
            queue=invalid.queue,
            delivery_guarantee=invalid.delivery_guarantee,
            status=Status.REJECTED,
            expires_at=created_at,
            finished_at=created_at,
        )
        details = [{"field": error.place, "code": error.code, "detail": error.detail} for error in invalid.errors]
        return NewMail(
            mail=mail,
            message=invalid.message,
            state=MailState(
                status=Status.REJECTED,
                finished_at=created_at,
                failure_class="message",
                reason_code=invalid.errors[0].code[:64],
            ),
            events=(
                self._build_new_event(mail.size),
                EventDraft(
                    event=EventName.BAD_REQUEST, by=Actor.MAIL_SERVICE, at_ns=checked_at, blob={"errors": details}
                ),
            ),
        )

    def _new_mail(self, **columns: Any) -> Mail:
        """Return the row of an email. To copy what all have in common takes a tenth of the time that `Mail(…)` takes."""
        mail, state = Mail.__new__(Mail), ModelState()
        state.fields_cache = {"api_key": self._client.api_key, "user": self._client.user}
        mail.__dict__ |= self._shared | columns | {"id": uuid7(), "_state": state}
        return mail

    def _build_copied_event(self, mail: Mail, source: CopySource) -> EventDraft:
        """Return the event of the email that this one is a copy of."""
        at_ns = max(self._checked_at, source.last_event_at)
        return EventDraft(event=EventName.COPIED, by=source.by, at_ns=at_ns, blob={"copy": str(mail.id)})

    def _build_new_event(self, size: int, copy_of: CopySource | None = None) -> EventDraft:
        blob = self._created_event | {"size": size}
        if copy_of is not None:
            blob["copy_of"] = str(copy_of.mail_id)
        return EventDraft(event=EventName.NEW, by=Actor.MAIL_SERVICE, at_ns=self._received_at, blob=blob)

    def _build_accepted_events(self, valid: ValidSubmission, queue: str, rule: Rule | None) -> tuple[EventDraft, ...]:
        """Return the events after NEW. Emails that they say the same of share them, and the writer encodes them once."""
        name = rule.name if rule else ""
        same = (len(valid.message.recipients), queue, valid.delivery_guarantee, valid.values["send_at"], name)
        if same not in self._accepted_events:
            recipients, queue, guarantee, send_at, name = same
            accepted = {"recipients": recipients, "queue": queue, "delivery_guarantee": guarantee}
            queued = {"queue": queue} | ({"send_at": format_iso(send_at)} if send_at else {})
            queued |= {"rule": name} if name else {}
            self._accepted_events[same] = tuple(
                EventDraft(event=event, by=Actor.MAIL_SERVICE, at_ns=self._checked_at, blob=blob)
                for event, blob in ((EventName.ACCEPTED, accepted), (EventName.ENQUEUE, queued))
            )
        return self._accepted_events[same]


@cache
def _get_defaults() -> dict[str, Any]:
    """Return the attributes of an email that nothing is known of. All emails of the process get them: no list is among them."""
    return vars(Mail(tried=(), failure_classes=()))


def _refuse_addresses(valid: ValidSubmission) -> InvalidSubmission | None:
    """Return the submission as refused if no account in use can ever carry its addresses. One query."""
    candidates = registry.load_candidates()
    usable = (candidate.config.kind for candidate in candidates if candidate.enabled and candidate.configured)
    if any(Feature.SMTPUTF8 in KINDS[kind].capabilities.features for kind in usable):
        return None
    message = valid.message
    fields = {message.sender: "sender"} | {mailbox.address: "reply_to" for mailbox in message.reply_to}
    fields |= {recipient.address: _FIELDS_OF_KIND[recipient.kind] for recipient in message.recipients}
    errors = tuple(
        InvalidField(field=fields.get(address, "sender"), code="smtputf8", detail=_NO_SMTPUTF8.format(address=address))
        for address in message.list_utf8_addresses()
    )
    return _refuse(valid, errors)


def _refuse(valid: ValidSubmission, errors: tuple[InvalidField, ...]) -> InvalidSubmission:
    """Return a submission whose fields are right each by itself as refused, with what is kept of it."""
    message = valid.message
    kept = replace(
        message, attachments=(), text=message.text[:KEPT_OF_A_REJECTED], html=message.html[:KEPT_OF_A_REJECTED]
    )
    return InvalidSubmission(
        errors=errors,
        message=kept,
        recipient=message.columns["recipient"],
        delivery_guarantee=valid.delivery_guarantee,
        queue=valid.queue,
    )


def _add_links(valid: ValidSubmission, expires: dt.datetime) -> Message:
    """Return the message with a new download link to each file that has none in the message."""
    if not valid.linked:
        return valid.message
    links = tuple(
        LinkReference(
            id=str(uuid7()),
            filename=file.filename,
            content_type=file.content_type,
            size=file.size,
            sha256=file.sha256,
            expires=expires.isoformat(),
            max_downloads=settings.MERCURY_LINK_DOWNLOADS or None,
        )
        for file in valid.linked
    )
    return replace(valid.message, links=links)


def _refuse_key(problem: str) -> Refused:
    reason = RefusalReason.INVALID_KEY
    error = InvalidField(field=IDEMPOTENCY_KEY, code=reason, detail=problem)
    return Refused(reason=reason, detail=f"{IDEMPOTENCY_KEY}: {problem}", errors=(error,))
