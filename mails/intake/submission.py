"""A submission: each field of an email, declared once for API, form, command line and docs. Uses no database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.exceptions import ValidationError

from mails.intake.errors import InvalidField, InvalidSubmission
from mails.intake.submission_fields import (
    MAX_SENDER,
    MAX_SUBJECT,
    ContentField,
    RecipientsField,
    SenderField,
    SubjectField,
    WordField,
    count_bytes,
)
from mails.queues import QueueName
from mails.states import DeliveryGuarantee
from mercury.lib.rest.serializers import StrictSerializer

QUEUES = (QueueName.BULK.value,)  # that a client may ask for; the others follow from the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A valid email, as it will be stored."""

    sender: str  # an address, with or without a display name
    recipients: tuple[str, ...]  # addresses, each once
    subject: str
    text: str
    delivery_guarantee: DeliveryGuarantee
    queue: QueueName

    @property
    def size(self) -> int:
        """Bytes of subject and text, in UTF-8."""
        return count_bytes(self.subject) + count_bytes(self.text)


class SubmissionSerializer(StrictSerializer):
    """An email to be sent."""

    sender = SenderField(
        required=True,
        label="From",
        min_length=3,
        max_length=MAX_SENDER,
        help_text="One address, with or without a display name, at most 256 characters.",
        style={"example": "mercury@olimpus.com"},
    )
    recipient = RecipientsField(
        required=True,
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

    aliases: ClassVar[Mapping[str, str]] = {"recipients": "recipient"}
    ignored = ("id", "url", "events")  # so that an email read from the API can be posted again


_serializer = SubmissionSerializer()  # one for the process: to make its fields costs more than to check an email
FIELDS = _serializer.names


def get_field(name: str) -> Any:
    """Return the declaration of a field: label, help text, choices."""
    return _serializer.fields[name]


def parse_submission(data: Mapping[str, object]) -> Submission:
    """Check a submission against every rule and return it.

    Raises InvalidSubmission with all errors found, not only the first. An unknown field is an error, so that a
    misspelt one is not ignored.
    """
    try:
        values = _serializer.run_validation(data)
    except ValidationError as invalid:
        errors: Any = invalid.detail
        found = (
            InvalidField(field=name, code=detail.code, detail=str(detail))
            for name, details in errors.items()
            for detail in details
        )
        raise InvalidSubmission(tuple(found)) from None
    return Submission(
        sender=values["sender"],
        recipients=values["recipient"],
        subject=values["subject"],
        text=values["content"],
        delivery_guarantee=DeliveryGuarantee(values["delivery_guarantee"] or settings.MERCURY_DELIVERY_GUARANTEE),
        queue=QueueName(values["queue"] or QueueName.TEXT),
    )
