"""Entries of the suppression list, as answers show them and as a client adds them; and what an import did."""

from typing import Any, ClassVar

from django.http import HttpRequest
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request

from mails.api.fields import format_time
from mails.models import Suppression
from mails.states import SuppressionReason
from mails.suppression.rules import MAX_DETAIL
from mercury.lib.rest.serializers import StrictCharField, StrictChoiceField, StrictSerializer

_SCOPE = "A sender domain: it holds for email from there. Empty: for all email."
_REASON = "Why the address gets no email."


class SuppressionSerializer(serializers.Serializer[Suppression]):
    """An entry of the suppression list."""

    id = serializers.IntegerField(help_text="A growing number.")
    url = serializers.URLField(help_text="The entry as a resource; `DELETE` it to let the address get email again.")
    address = serializers.CharField(help_text="The address, in small letters.")
    scope = serializers.CharField(help_text=_SCOPE)
    reason = serializers.ChoiceField(choices=SuppressionReason.values, help_text=_REASON)
    detail = serializers.CharField(help_text="Why, in words; may be empty.")
    source = serializers.CharField(  # type: ignore[assignment]  # its own name here
        help_text="Who added it: `key:<name>`, `user:<name>`, `command line`, or an account whose provider reported it."
    )
    since = serializers.DateTimeField(help_text="Since when it holds.")
    expires = serializers.DateTimeField(allow_null=True, help_text="Until when; null: for ever.")
    mail = serializers.UUIDField(allow_null=True, help_text="The email that caused it, if one did. It may be deleted.")

    def to_representation(self, instance: Suppression) -> dict[str, Any]:
        """Return the entry."""
        return {
            "id": instance.pk,
            "url": build_suppression_url(self.context["request"], instance.pk),
            "address": instance.address,
            "scope": instance.scope,
            "reason": instance.reason,
            "detail": instance.detail,
            "source": instance.source,
            "since": format_time(instance.created_at),
            "expires": format_time(instance.expires_at),
            "mail": str(instance.mail_id) if instance.mail_id else None,
        }


class NewSuppressionSerializer(StrictSerializer):
    """An entry to be added."""  # `mails.suppression.rules` checks the texts

    problem = ("invalid_suppression", "The suppression is not valid; see errors.")
    ignored: ClassVar[tuple[str, ...]] = ("id", "url", "source", "since")

    address = StrictCharField(help_text="One email address. `*` and whole domains are refused.", max_length=320)
    scope = StrictCharField(
        required=False, help_text=f"{_SCOPE} A key without the sender `*` names one of its own.", max_length=255
    )
    reason = StrictChoiceField(
        choices=SuppressionReason.values, required=False, help_text=f"{_REASON} Default: `manual`."
    )
    detail = StrictCharField(required=False, help_text="Why, in words.", max_length=MAX_DETAIL)
    expires = StrictCharField(
        required=False, allow_null=True, help_text="Until when: ISO 8601; without a zone in UTC. Default: for ever."
    )
    mail = StrictCharField(required=False, allow_null=True, help_text="The id of the email that caused it.")


class CheckSerializer(serializers.Serializer[Any]):
    """Whether an address gets email."""

    address = serializers.CharField(help_text="The address, in small letters.")
    suppressed = serializers.BooleanField(help_text="True if email from the sender would not be sent to it.")
    scope = serializers.CharField(allow_null=True, help_text=f"{_SCOPE} Null if it is not suppressed.")
    reason = serializers.ChoiceField(choices=SuppressionReason.values, allow_null=True, help_text=_REASON)
    since = serializers.DateTimeField(allow_null=True, help_text="Since when.")


class LineErrorSerializer(serializers.Serializer[Any]):
    """What is wrong with a line of a file."""

    line = serializers.IntegerField(help_text="The line, from 1, which is the header.")
    column = serializers.CharField(help_text="The column; empty for the whole line.")
    detail = serializers.CharField(help_text="What is wrong, and what to write instead.")


class ImportReportSerializer(serializers.Serializer[Any]):
    """What an import did, or with `dry_run` would do."""

    rows = serializers.IntegerField(help_text="Rows of the file.")
    added = serializers.IntegerField(help_text="New entries.")
    updated = serializers.IntegerField(help_text="Entries that were on the list with another reason, detail or expiry.")
    skipped = serializers.IntegerField(
        help_text="Rows that are on the list as they are, that are repeated, or have expired."
    )
    invalid = serializers.IntegerField(help_text="Rows with errors. If there are any, nothing was stored.")
    errors = LineErrorSerializer(  # type: ignore[assignment]  # its own name here
        many=True, help_text="The first errors."
    )


def build_suppression_url(request: Request | HttpRequest, number: int) -> str:
    """Return the absolute URL of an entry."""
    return request.build_absolute_uri(reverse("api-suppression-detail", kwargs={"suppression_id": str(number)}))
