"""A batch of emails, and what became of each: for the API's description; the view reads and writes plain values."""

from typing import Any

from rest_framework import serializers

from mails.intake.idempotency import MAX_LENGTH
from mails.intake.submission import SubmissionSerializer
from mercury.lib.rest.problems import FieldErrorSerializer


class SubmissionInBatchSerializer(SubmissionSerializer):
    """An email to be sent, with its key."""

    idempotency_key = serializers.CharField(
        required=False,
        allow_null=True,
        min_length=1,
        max_length=MAX_LENGTH,
        help_text="As the header `Idempotency-Key` of a single email: for 24 hours the same key and email get the first "
        "result. 1 to 255 printable ASCII characters.",
        style={"example": "order-1742"},
    )


class BatchSerializer(serializers.Serializer[Any]):
    """Emails to be sent."""

    mails = SubmissionInBatchSerializer(many=True, help_text="Up to 1,000 emails.")


class BatchResultSerializer(serializers.Serializer[Any]):
    """What became of one email of a batch."""

    status = serializers.IntegerField(help_text="202 if it was accepted; else what a request of its own would get.")
    mail = serializers.UUIDField(
        required=False, help_text="Its id; also of an email that failed validation, which is kept as rejected."
    )
    url = serializers.URLField(required=False, help_text="The email itself.")
    replayed = serializers.BooleanField(
        required=False,
        help_text="True if an earlier request, or an earlier email of this one, stored it with the same key.",
    )
    code = serializers.CharField(required=False, help_text="Why it was refused; stable and short, for programs.")
    detail = serializers.CharField(required=False, help_text="Why it was refused, for people.")
    errors = FieldErrorSerializer(  # type: ignore[assignment]  # its own name here
        many=True,
        required=False,
        help_text="The first 20 errors of a refused email, with pointers into the request: `/3/recipient`.",
    )


class BatchResultsSerializer(serializers.Serializer[Any]):
    """What became of the emails of a batch."""

    accepted = serializers.IntegerField(help_text="How many were accepted.")
    refused = serializers.IntegerField(help_text="How many were not.")
    results = BatchResultSerializer(many=True, help_text="A result for each email, in the order of the request.")
