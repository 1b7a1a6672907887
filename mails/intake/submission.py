"""A submission: each field of an email, declared once for API, form, command line and docs. Uses no database.

Where a field goes follows from its declaration: into the part of `Message` that has its name, or the name in its `source`.
Several fields may have the same `source`; their values are joined.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.exceptions import ValidationError

from mails.intake.receipts import InvalidField
from mails.intake.submission_fields import (
    MAX_SUBJECT,
    AddressField,
    ContentField,
    RecipientsField,
    SubjectField,
    WordField,
)
from mails.message.message import Message
from mails.queues import QueueName
from mails.states import DeliveryGuarantee
from mercury.lib.rest.serializers import StrictSerializer

MAX_SENDER = 256  # characters, CONTRACT v1.0
QUEUES = (QueueName.BULK.value,)  # that a client may ask for; the others follow from the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An email as a door has parsed it: the values of its fields, as given, and its idempotency key."""

    fields: Mapping[str, object]
    idempotency_key: str | None = None  # blank is another thing than none


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidSubmission:
    """An email that keeps every rule. `values`: its fields, normalized; None or empty for those that are absent."""

    message: Message
    delivery_guarantee: DeliveryGuarantee
    queue: QueueName
    values: Mapping[str, Any]


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
        required=True,
        source="recipients",
        label="To",
        help_text="One address, several separated by spaces or commas, or a list; at most 50 (`MERCURY_MAX_RECIPIENTS`). "
        'The part before the @ may be in quotes: `"john doe"@olimpus.com`; a domain may be private '
        "(`MERCURY_PRIVATE_DOMAINS`).",
        style={
            "example": "zeus@olimpus.com",
            "form_help": "Separate several addresses with commas or spaces. Up to {max_recipients}.",
        },
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
        label="Message",
        help_text="The body, as plain text; a whole request has at most 10 MB (`MERCURY_MAX_SIZE`).",
        style={"example": "Hi"},
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
        "an operator can pause it alone. No other value is allowed: the other queues follow from the message.",
    )

    options: ClassVar[tuple[str, ...]] = ("delivery_guarantee", "queue")  # fields that are no part of the message
    aliases: ClassVar[Mapping[str, str]] = {"recipients": "recipient"}
    ignored = ("id", "url", "events")  # so that an email read from the API can be posted again


_serializer = SubmissionSerializer()  # one for the process: to make its fields costs more than to check an email
FIELDS = _serializer.names


def get_field(name: str) -> Any:
    """Return the declaration of a field: label, help text, choices, `source`."""
    return _serializer.fields[name]


def judge(fields: Mapping[str, object]) -> ValidSubmission | InvalidSubmission:
    """Check an email against every rule and return it as it will be stored, or with all errors, not only the first.

    An unknown field is an error, so that a misspelt one is not ignored.
    """
    try:
        values = _serializer.run_validation(fields)
    except ValidationError as invalid:
        return _build_invalid(fields, invalid.detail)
    return ValidSubmission(
        message=_build_message(values),
        delivery_guarantee=_choose_guarantee(values),
        queue=_choose_queue(values),
        values=values,
    )


def _build_invalid(fields: Mapping[str, object], found: Any) -> InvalidSubmission:
    kept = {name: get_field(name).keep(_find_given(fields, name)) for name in map(str, _serializer.fields)}
    recipients = [kept.pop(name) for name in list(kept) if get_field(name).source == "recipients"]
    return InvalidSubmission(
        errors=tuple(
            InvalidField(field=name, code=detail.code, detail=str(detail))
            for name, details in found.items()
            for detail in details
        ),
        message=_build_message({name: value for name, value in kept.items() if value is not None}),
        recipient=", ".join(filter(None, recipients)),
        delivery_guarantee=_choose_guarantee(kept),
        queue=_choose_queue(kept),
    )


def _find_given(fields: Mapping[str, object], name: str) -> object:
    """Return the value of a field, under whichever of its names it was given; None if it is absent."""
    names = (name, *(alias for alias, field in _serializer.aliases.items() if field == name))
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _build_message(values: Mapping[str, Any]) -> Message:
    parts: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _serializer.options:
            part = get_field(name).source
            parts[part] = parts[part] + value if part in parts else value
    return Message(**parts)


def _choose_guarantee(values: Mapping[str, Any]) -> DeliveryGuarantee:
    return DeliveryGuarantee(values["delivery_guarantee"] or settings.MERCURY_DELIVERY_GUARANTEE)


def _choose_queue(values: Mapping[str, Any]) -> QueueName:
    return QueueName(values["queue"] or QueueName.TEXT)
