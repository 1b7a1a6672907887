"""Emails as answers show them.

Answers are made by plain functions, with no query of their own: `to_representation` costs microseconds. A field's
declaration gives its type, its bounds and its words to the API's description and to docs/api.md.
"""

import uuid
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request

from mails.api.fields import format_time, to_nanoseconds
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Mail
from mails.obstacles import Obstacles
from mails.queues import QueueName
from mails.states import Action, DeliveryGuarantee, RecipientState, Status
from mails.timeline.summary import summarize


class AcceptedMailSerializer(serializers.Serializer[Mail]):
    """An email as it was accepted: what never changes, so that a repeated request gets the first answer again."""

    id = serializers.UUIDField(help_text="A UUID of version 7; treat it as opaque.")
    url = serializers.URLField(help_text="The email itself.")
    events = serializers.URLField(help_text="The list of its events.")
    sender = serializers.CharField(help_text="The address it comes from.")
    recipient = serializers.CharField(help_text="The addresses it goes to, separated by commas.")
    recipients = serializers.CharField(help_text="The same text under its other name.")
    subject = serializers.CharField(help_text="The subject; may be empty.")
    content = serializers.CharField(help_text="The body, as plain text.")
    created = serializers.DateTimeField(help_text="When it was accepted.")
    created_at = serializers.IntegerField(help_text="The same in nanoseconds since the Unix epoch.")
    queue = serializers.ChoiceField(choices=QueueName.values, help_text="The queue it waits in.")
    delivery_guarantee = serializers.ChoiceField(
        choices=DeliveryGuarantee.values, help_text="What follows an attempt with an unknown outcome."
    )

    def to_representation(self, instance: Mail) -> dict[str, Any]:
        """Return the email with the `content` of the context."""
        url = build_mail_api_url(self.context["request"], instance.pk)
        return {
            "id": str(instance.pk),
            "url": url,
            "events": f"{url}/events/",
            "sender": instance.sender,
            "recipient": instance.recipient,
            "recipients": instance.recipient,
            "subject": instance.subject,
            "content": self.context["content"],
            "created": format_time(instance.created_at),
            "created_at": to_nanoseconds(instance.created_at),
            "queue": instance.queue,
            "delivery_guarantee": instance.delivery_guarantee,
        }


class MailStateSerializer(serializers.Serializer[Mail]):
    """The state of an email, without sender, recipients and content."""

    id = serializers.UUIDField(help_text="A UUID of version 7; treat it as opaque.")
    url = serializers.URLField(help_text="The email itself.")
    status = serializers.ChoiceField(choices=Status.values, help_text="Where it is in its life.")
    provider = serializers.CharField(help_text="The account of the last attempt; empty before the first.")
    attempts = serializers.IntegerField(min_value=0, help_text="Attempts so far.")
    failure_class = serializers.CharField(
        help_text="Whose problem the last refusal is: message, account, recipient, rate, provider, local; empty if none."
    )
    reason_code = serializers.CharField(help_text="Why it has this status; stable and short, for grouping.")
    possible_duplicate = serializers.BooleanField(help_text="An outcome is unknown: it may have been sent twice.")
    pending_action = serializers.ChoiceField(
        choices=[Action.CANCEL.value, Action.HOLD.value, Action.SENT.value],
        allow_null=True,
        help_text="The action requested during the attempt in progress; it is carried out when that ends.",
    )
    next_attempt = serializers.DateTimeField(allow_null=True, help_text="When it is due.")
    expires = serializers.DateTimeField(help_text="When Mercury stops trying.")
    finished = serializers.DateTimeField(allow_null=True, help_text="When it reached its final status.")
    body_removed = serializers.DateTimeField(
        allow_null=True, help_text="When retention removed the body; `content` is empty since."
    )

    def to_representation(self, instance: Mail) -> dict[str, Any]:
        """Return the state."""
        return {
            "id": str(instance.pk),
            "url": build_mail_api_url(self.context["request"], instance.pk),
            "status": instance.status,
            "provider": instance.provider,
            "attempts": instance.attempt_count,
            "failure_class": instance.failure_class,
            "reason_code": instance.reason_code,
            "possible_duplicate": instance.possible_duplicate,
            "pending_action": ActionRequest.parse(instance.pending_action).action if instance.pending_action else None,
            "next_attempt": format_time(instance.next_attempt_at),
            "expires": format_time(instance.expires_at),
            "finished": format_time(instance.finished_at),
            "body_removed": format_time(instance.text_removed_at),
        }


class ObstacleSerializer(serializers.Serializer[Any]):
    """An account that cannot accept the email now."""

    account = serializers.CharField(help_text="The account's name.")
    reason = serializers.CharField(help_text="Why it cannot accept the email now; for people.")
    until = serializers.DateTimeField(allow_null=True, help_text="When it can, if only time is needed.")


class RecipientSerializer(serializers.Serializer[Any]):
    """One recipient and its outcome."""

    email = serializers.CharField(help_text="The address.")
    state = serializers.ChoiceField(choices=RecipientState.values, help_text="The outcome.")
    reason = serializers.CharField(help_text="The provider's words, if it refused.")


class MailSerializer(AcceptedMailSerializer, MailStateSerializer):
    """An email and its state."""

    content = serializers.CharField(
        allow_null=True,
        help_text="The body, as plain text. Null in a list that has no room for it, see `content_omitted`.",
    )
    content_omitted = serializers.BooleanField(
        help_text="This page of a list holds one megabyte of bodies without it; the email's `url` has it whole."
    )
    summary = serializers.CharField(help_text="Status and reason in one sentence, for people.")
    obstacles = ObstacleSerializer(many=True, help_text="While no account can accept it: each account, and why not.")
    recipients_detail = RecipientSerializer(many=True, help_text="Each recipient and its outcome.")

    def to_representation(self, instance: Mail) -> dict[str, Any]:
        """Return the email with the `obstacles` of the context; without a `content` there, its own. One query: the recipients."""
        obstacles: Obstacles = self.context["obstacles"]
        context = self.context if "content" in self.context else {**self.context, "content": _read_content(instance)}
        return {
            **AcceptedMailSerializer(context=context).to_representation(instance),
            **MailStateSerializer(context=context).to_representation(instance),
            "content_omitted": context["content"] is None,
            "summary": summarize(instance, timezone.now(), obstacles),
            "obstacles": [
                {"account": obstacle.account, "reason": obstacle.reason, "until": format_time(obstacle.until)}
                for obstacle in obstacles.accounts
            ],
            "recipients_detail": [
                {"email": recipient.address, "state": recipient.state, "reason": recipient.reason}
                for recipient in instance.recipients.all()
            ],
        }


class ManagedMailSerializer(MailSerializer):
    """The email after an action; a client without the scope `mails:read` gets its state alone."""

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, those beyond the state as optional."""
        fields = super().get_fields()
        for name in fields.keys() - MailStateSerializer().fields.keys():
            fields[name].required = False
        return fields


def build_mail_api_url(request: Request | HttpRequest, mail_id: uuid.UUID | str) -> str:
    """Return the absolute URL of an email, on the host that was asked."""
    return request.build_absolute_uri(reverse("api-mail-detail", kwargs={"mail_id": str(mail_id)}))


def _read_content(mail: Mail) -> str:
    try:
        return mail.content.text
    except ObjectDoesNotExist:  # retention removed the body
        return ""
