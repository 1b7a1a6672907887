"""A submission: each field of an email, declared once for API, form, command line and docs. Uses no database.

Where a field goes follows from its declaration: into the part of `Message` that has its name, or the name in its `source`.
Several fields may have the same `source`; their values are joined.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.exceptions import ErrorDetail, ValidationError

from mails.intake import delivery
from mails.intake.address_fields import AddressField, RecipientsField, ReplyToField
from mails.intake.attachment_fields import AttachmentsField, FindFiles, GivenFile, check_shown, refer_to_contents
from mails.intake.delivery import ChosenDelivery
from mails.intake.header_fields import (
    HeadersField,
    MetadataField,
    TagsField,
    UnsubscribeMailtoField,
    UnsubscribeUrlField,
    find_unsubscribe_headers,
)
from mails.intake.receipts import InvalidField
from mails.intake.submission_fields import MAX_SUBJECT, ContentField, MomentField, SubjectField, WordField
from mails.message.html_text import derive_text
from mails.message.message import AttachmentReference, Message, MessageRecipient, count_bytes
from mails.queues import QueueName
from mails.states import DeliveryGuarantee, RecipientKind
from mercury.lib.durations import format_size
from mercury.lib.rest.serializers import StrictSerializer
from mercury.lib.value import value

MAX_SENDER = 256  # characters, CONTRACT v1.0
QUEUES = (QueueName.BULK.value,)  # that a client may ask for; the others follow from the message


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """The email that a copy is made from. `by`: who asks. `last_event_at`: that of the email, no event is dated before it."""

    mail_id: uuid.UUID
    last_event_at: int
    by: str


@value
class Submission:
    """An email as a door has parsed it: the values of its fields, as given, and its idempotency key."""

    fields: Mapping[str, object]
    idempotency_key: str | None = None  # blank is another thing than none
    copy_of: CopySource | None = None


@value
class ValidSubmission:
    """An email that keeps every rule. `values`: its fields, normalized; None or empty for those that are absent."""

    message: Message
    delivery_guarantee: DeliveryGuarantee
    queue: QueueName
    values: Mapping[str, Any]
    files: tuple[GivenFile, ...] = ()
    linked: tuple[AttachmentReference, ...] = ()  # files that the email has download links to


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidSubmission:
    """An email that breaks rules, with all errors found, and what is kept of it: cut to a limit, and storable."""

    errors: tuple[InvalidField, ...]
    message: Message
    recipient: str  # the addresses as they were written
    delivery_guarantee: DeliveryGuarantee
    queue: QueueName


class SubmissionSerializer(StrictSerializer):
    """An email to be sent."""

    sender = AddressField(
        required=True,
        label="From",
        min_length=3,
        max_length=MAX_SENDER,
        help_text="One address, with or without a display name, at most 256 characters.",
        style={"example": "mercury@olimpus.com"},
        error_messages={
            "required": "Give the address that the email comes from.",
            "several": "Give one address only; an email has one sender.",
        },
    )
    recipient = RecipientsField(
        source="recipients",
        label="To",
        help_text="One address, several separated by spaces or commas, or a list of addresses or of "
        '`{"email": …, "name": …}`; an address may have a display name: `Zeus <zeus@olimpus.com>`, then commas separate '
        "several. At most 50 recipients in all (`MERCURY_MAX_RECIPIENTS`). The part before the @ may be in quotes: "
        '`"john doe"@olimpus.com`; a domain may be private (`MERCURY_PRIVATE_DOMAINS`). An address that occurs twice, also '
        "in `to` and `cc` or `bcc`, gets one copy, and is named where it occurs first.",
        style={
            "example": "zeus@olimpus.com",
            "need": "required unless `bcc` is given",
            "form_help": "Separate several addresses with commas or spaces. Up to {max_recipients}.",
        },
    )
    cc = RecipientsField(
        kind=RecipientKind.CC,
        source="recipients",
        label="Cc",
        help_text="Who gets a copy, in the forms of `recipient`; needs a recipient in `to`.",
    )
    bcc = RecipientsField(
        kind=RecipientKind.BCC,
        source="recipients",
        label="Bcc",
        help_text="Who gets a copy that the other recipients do not see, in the forms of `recipient`; may be the only "
        "recipients.",
    )
    reply_to = ReplyToField(
        label="Reply-To", help_text="Where replies go, in the forms of `recipient`; at most 10 addresses."
    )
    subject = SubjectField(
        label="Subject",
        max_length=MAX_SUBJECT,
        help_text="At most 512 characters; blanks around it are removed. No control characters and no marks that reverse the "
        "text after them, also not as encoded words (RFC 2047); LRM, RLM, ALM and closed isolates are allowed.",
        style={"example": "You made my day"},
    )
    content = ContentField(
        source="text",
        label="Text",
        help_text="The body, as plain text; with the HTML at most 10 MB (`MERCURY_MAX_SIZE`).",
        style={"example": "Hi"},
    )
    html = ContentField(
        label="HTML",
        help_text="The body, as HTML. Without a text, one is derived from it: of its first 100,000 characters.",
        style={"form_help": "Write text, HTML or both. Without a text, Mercury derives one from the HTML."},
    )
    headers = HeadersField(
        label="Headers",
        help_text="An object of headers and their texts, at most 30: `X-…`, `List-…`, `In-Reply-To`, `References`, "
        "`Auto-Submitted`, `Precedence`, `Importance`, `Priority`, `Sensitivity`, `Feedback-ID`, `Thread-Topic`, "
        "`Thread-Index`, `Keywords`, `Comments`, `Organization`. Refused: headers that have a field of their own, headers "
        "that Mercury or a provider sets, and those that instruct a provider, such as `X-SMTPAPI`. A name has at most 64 "
        "characters, a text 2,000; letters beyond ASCII in `X-…` only.",
        style={"form_help": "One a line, with a colon: X-Order: 17."},
    )
    tags = TagsField(
        label="Tags",
        help_text="A list of at most 10 words to group emails by: 1 to 64 letters, digits and `- _ . : / + @ = #`. The "
        "provider gets them where it can.",
        style={"form_help": "Words to group emails by, separated by commas."},
    )
    metadata = MetadataField(
        label="Metadata",
        help_text="An object of at most 20 names (40 letters, digits, `.`, `-`, `_`) and texts (500 characters, one line) to "
        "find the email by. The provider gets them where it can.",
        style={"form_help": "Names and texts to find the email by, one a line, with a colon."},
    )
    unsubscribe_url = UnsubscribeUrlField(
        label="Unsubscribe URL",
        help_text="An https address; a POST to it unsubscribes the recipient. At most 800 characters. Makes "
        "`List-Unsubscribe` and `List-Unsubscribe-Post` (RFC 8058).",
        style={"form_help": "An https address; mail programs show a button that posts to it."},
    )
    unsubscribe_mailto = UnsubscribeMailtoField(
        label="Unsubscribe address",
        help_text="An address; an email to it unsubscribes its sender. Also with `?subject=…`. Makes `List-Unsubscribe` "
        "(RFC 2369).",
        style={"form_help": "An email address; who writes to it unsubscribes."},
    )
    attachments = AttachmentsField(
        label="Attachments",
        help_text='A list of at most 100 files, each `{"filename", "content_type", "content"}` with the content in '
        'base64, or `{"file": id}` of an uploaded one; with `content_id` the HTML shows it as `cid:…`. At most 5 MB each '
        "(`MERCURY_MAX_ATTACHMENT_SIZE`), 20 MB in all (`MERCURY_MAX_ATTACHMENTS_SIZE`).",
    )
    delivery_guarantee = WordField(
        choices=DeliveryGuarantee.choices,
        label="Delivery guarantee",
        help_text="What follows an unknown outcome: `at-least-once` sends one more copy, through another account if possible, "
        "and holds the email after a second unknown outcome; `at-most-once` holds it after the first. Default: "
        "`MERCURY_DELIVERY_GUARANTEE`.",
    )
    queue = WordField(
        choices=QUEUES,
        label="Queue",
        help_text="`bulk` for bulk mail such as newsletters: it does not delay other email, can have workers of its own, and "
        "an operator can pause it alone. No other value is allowed: the other queues follow from the message, or from the "
        "operators' rules.",
    )
    send_at = MomentField(
        label="Send at",
        help_text="When to send it: ISO 8601 with a zone, such as `2026-12-24T18:00:00Z`, or with the name of the zone, "
        "`2026-12-24T19:00[Europe/Berlin]`. At most a year ahead (`MERCURY_MAX_SCHEDULE`). A time that is past by up to 5 "
        "minutes means now. Default: now.",
        style={"form_help": "Empty: it is sent at once."},
    )
    expires_at = MomentField(
        label="Expires",
        help_text="When Mercury stops trying, in the forms of `send_at`, and after it. Default: 3 days after it is to be sent "
        "(`MERCURY_EXPIRY`).",
        style={"form_help": "Not sent by then, it is not sent at all. Empty: the usual time."},
    )

    # Fields that are no part of the message as they are given.
    options: ClassVar[tuple[str, ...]] = ("attachments", "delivery_guarantee", "queue", "send_at", "expires_at")
    aliases: ClassVar[Mapping[str, str]] = {"recipients": "recipient", "to": "recipient", "text": "content"}
    ignored = ("id", "url", "events")  # so that an email read from the API can be posted again

    @cached_property
    def absent_values(self) -> dict[str, Any]:
        """Return the values of optional fields, so that an email costs nothing for what it does not have."""
        return {str(name): field.run_validation() for name, field in self.fields.items() if not field.required}

    def check_together(self, values: dict[str, Any], errors: dict[str, Any]) -> None:
        """Add the errors of recipients, bodies and headers that are right each by itself."""
        if "recipient" in values and "cc" in values and "bcc" in values:
            to, cc, bcc = values["recipient"], values["cc"], values["bcc"]
            if not to or cc or bcc:  # else the field has checked them
                _check_recipients(to, cc, bcc, errors)
        if values.get("html") and "content" in values:
            _check_bodies(values["content"], values["html"], errors)
        if "attachments" in values and (values["attachments"] or "cid:" in values.get("html", "").lower()):
            check_shown(values.get("html", ""), values.get("attachments", ()), errors)
        if values.get("unsubscribe_url") or values.get("unsubscribe_mailto"):
            words = "Give the header, or the fields 'unsubscribe_url' and 'unsubscribe_mailto', not both."
            if names := find_unsubscribe_headers(values.get("headers", ())):
                errors["headers"] = {name: [ErrorDetail(words, "ambiguous")] for name in names}


def _check_recipients(
    to: tuple[MessageRecipient, ...],
    cc: tuple[MessageRecipient, ...],
    bcc: tuple[MessageRecipient, ...],
    errors: dict[str, Any],
) -> None:
    if not to and (cc or not bcc):
        errors["recipient"] = [ErrorDetail(_CC_ALONE if cc else _NO_RECIPIENT, "required")]
    most = settings.MERCURY_MAX_RECIPIENTS
    if (cc or bcc) and (count := len({recipient.address for recipient in (*to, *cc, *bcc)})) > most:
        words = f"{count} recipients in to, cc and bcc; at most {most} are allowed."
        errors["cc" if cc else "bcc"] = [ErrorDetail(words, "too_many")]


def _check_bodies(text: str, html: str, errors: dict[str, Any]) -> None:
    most = settings.MERCURY_MAX_SIZE
    if (size := count_bytes(text) + count_bytes(html)) > most:
        words = f"Text and HTML have {format_size(size)}; at most {format_size(most)} fit."
        errors["html"] = [ErrorDetail(words, "too_large")]


_RECIPIENTS = ("recipient", "cc", "bcc")
_NO_RECIPIENT = "Give at least one address that the email goes to."
_CC_ALONE = "Give at least one address that the email goes to: a Cc is a copy. Without one, use 'bcc'."
_serializer = SubmissionSerializer()  # one for the process: to make its fields costs more than to check an email
FIELDS = _serializer.names
_PARTS: Mapping[str, str] = {  # of a message, by the field that they come from
    str(name): str(field.source) for name, field in _serializer.fields.items() if name not in _serializer.options
}


def get_field(name: str) -> Any:
    """Return the declaration of a field: label, help text, choices, `source`."""
    return _serializer.fields[name]


def judge(
    fields: Mapping[str, object], *, find_files: FindFiles = refer_to_contents
) -> ValidSubmission | InvalidSubmission:
    """Check an email against every rule and return it as it will be stored, or with all errors, not only the first.

    An unknown field is an error, so that a misspelt one is not ignored. `find_files`: returns the references of its files,
    and errors by their numbers.
    """
    try:
        values = _serializer.to_internal_value(fields)  # it has no validators, which `run_validation` would look for
    except ValidationError as invalid:
        return _build_invalid(fields, invalid.detail)
    message = _build_message(values)
    if message.html and not message.text:  # the values stay as given: what is derived may differ in another version
        message = replace(message, text=derive_text(message.html))
    linked: tuple[AttachmentReference, ...] = ()
    if files := values["attachments"]:
        references, errors = find_files(files)
        chosen = ChosenDelivery(errors=errors) if errors else delivery.choose(files, references)
        if chosen.errors:
            return _build_invalid(fields, {"attachments": chosen.errors})
        # In the order of the parts of the email, which pages and downloads number.
        message = replace(message, attachments=tuple(sorted(chosen.attached, key=lambda file: not file.content_id)))
        linked = chosen.linked
    return ValidSubmission(
        message=message,
        files=files,
        linked=linked,
        delivery_guarantee=_choose_guarantee(values),
        queue=_choose_queue(values, message),
        values=values,
    )


def _build_invalid(fields: Mapping[str, object], found: Any) -> InvalidSubmission:
    kept = {name: get_field(name).keep(_find_given(fields, name)) for name in map(str, _serializer.fields)}
    recipient, *_ = [kept.pop(name) for name in _RECIPIENTS]  # a blind copy stays unnamed
    message = _build_message({name: value for name, value in kept.items() if value is not None})
    return InvalidSubmission(
        errors=tuple(error for name, details in found.items() for error in _list_errors(name, details)),
        message=message,
        recipient=recipient,
        delivery_guarantee=_choose_guarantee(kept),
        queue=_choose_queue(kept, message),
    )


def _list_errors(name: str, details: Any, path: tuple[str, ...] = ()) -> Iterator[InvalidField]:
    """Yield the errors of a field, each with its path within the field."""
    if isinstance(details, dict):
        for step, inner in details.items():
            yield from _list_errors(name, inner, (*path, str(step)))
    else:
        for detail in details:
            yield InvalidField(field=name, code=detail.code, detail=str(detail), path=path)


def _find_given(fields: Mapping[str, object], name: str) -> object:
    """Return the value of a field, under whichever of its names it was given; None if it is absent."""
    names = (name, *(alias for alias, field in _serializer.aliases.items() if field == name))
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _build_message(values: Mapping[str, Any]) -> Message:
    parts: dict[str, Any] = {"sender": ""}
    for name, part in _PARTS.items():
        if value := values.get(name):
            parts[part] = parts[part] + value if parts.get(part) else value
    if values.get("cc") or values.get("bcc"):
        parts["recipients"] = _name_once(parts["recipients"])
    return Message(**parts)


def _name_once(recipients: Sequence[MessageRecipient]) -> tuple[MessageRecipient, ...]:
    """Return the recipients without those that have the address of an earlier one."""
    first: dict[str, MessageRecipient] = {}
    for recipient in recipients:
        first.setdefault(recipient.address, recipient)
    return tuple(first.values())


def _choose_guarantee(values: Mapping[str, Any]) -> DeliveryGuarantee:
    return DeliveryGuarantee(values["delivery_guarantee"] or settings.MERCURY_DELIVERY_GUARANTEE)


def _choose_queue(values: Mapping[str, Any], message: Message) -> QueueName:
    if values["queue"]:
        return QueueName(values["queue"])
    if message.size > settings.MERCURY_LARGE_SIZE:
        return QueueName.LARGE
    if message.attachments:
        return QueueName.ATTACHMENT
    return QueueName.HTML if message.html else QueueName.TEXT
