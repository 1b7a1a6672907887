"""Client webhooks and their deliveries: as answers show them, and as clients send them."""

import uuid
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from mails.api.fields import format_time
from mails.events.webhooks.operations import MOST_OVERLAP_HOURS, OVERLAP_HOURS, NewWebhook, explain_unknown_event
from mails.events.webhooks.shown_requests import describe_request
from mails.events.webhooks.urls import MAX_URL
from mails.models import ApiKey, DeliveryStatus, Webhook, WebhookDelivery, WebhookState
from mails.states import EventName
from mercury.lib.rest.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictIntegerField,
    StrictSerializer,
)

_URL = "Where events are sent: https; http only to hosts that the operators allow."
_EVENTS = "The events that it gets; empty: all, also those that clients append."
_ADDRESSES = "True: events have whole addresses; else only their domains."
_KEY = "The name of the API key whose emails it gets the events of."


class EventNameField(StrictChoiceField):
    """The name of an event; a misspelt one gets the closest name as a suggestion."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=EventName.values, **options)

    def to_internal_value(self, data: Any) -> str:
        """Return the name."""
        if isinstance(data, str) and data in EventName.values:
            return data
        raise ValidationError(explain_unknown_event(str(data)[:64]), "unknown_event")


class WebhookSerializer(serializers.Serializer[Any]):
    """A webhook."""

    id = serializers.UUIDField(help_text="A UUID of version 7.")
    resource = serializers.URLField(help_text="The webhook itself.")
    deliveries = serializers.URLField(help_text="Its deliveries, newest first.")
    url = serializers.CharField(help_text=_URL)
    description = serializers.CharField(help_text="What it is for.")
    events = serializers.ListField(child=serializers.CharField(), help_text=_EVENTS)
    addresses = serializers.BooleanField(help_text=_ADDRESSES)
    api_key = serializers.CharField(help_text=_KEY)
    state = serializers.ChoiceField(
        choices=WebhookState.values,
        help_text="`active`; `failing`: its last attempt failed, and Mercury tries again; `disabled`: nothing is sent.",
    )
    disabled = serializers.DateTimeField(allow_null=True, help_text="When it was disabled. Its events wait.")
    disabled_by = serializers.CharField(
        help_text="Who disabled it: `user:`, `key:` and a name, the command line, or `Mercury` itself; empty: nobody."
    )
    disabled_reason = serializers.CharField(help_text="Why it is disabled.")
    last_success = serializers.DateTimeField(allow_null=True, help_text="When it last accepted a delivery.")
    failing_since = serializers.DateTimeField(allow_null=True, help_text="Since when it has accepted none.")
    last_error = serializers.CharField(help_text="Why the last attempt failed; empty if it did not.")
    previous_secret_until = serializers.DateTimeField(
        allow_null=True, help_text="Until then requests have a signature with the secret before the last rotation, too."
    )
    created = serializers.DateTimeField(help_text="When it was added. It gets the events since then.")
    created_by = serializers.CharField(help_text="Who added it.")

    def to_representation(self, instance: Webhook) -> dict[str, Any]:
        """Return the webhook, without its secrets."""
        request = self.context["request"]
        return {
            "id": str(instance.pk),
            "resource": build_webhook_url(request, instance.pk),
            "deliveries": _build_deliveries_url(request, instance.pk),
            "url": instance.url,
            "description": instance.description,
            "events": instance.events,
            "addresses": instance.addresses,
            "api_key": instance.api_key.name,
            "state": instance.state.value,
            "disabled": format_time(instance.disabled_at),
            "disabled_by": instance.disabled_by,
            "disabled_reason": instance.disabled_reason,
            "last_success": format_time(instance.last_success_at),
            "failing_since": format_time(instance.failing_since),
            "last_error": instance.last_error,
            "previous_secret_until": format_time(instance.previous_secret_until),
            "created": format_time(instance.created_at),
            "created_by": instance.created_by,
        }


class WebhookWithSecretSerializer(WebhookSerializer):
    """A webhook with its secret, which is shown at creation and rotation only."""

    secret = serializers.CharField(help_text="Verifies the signatures of its requests. Shown only now: store it.")

    def to_representation(self, instance: NewWebhook) -> dict[str, Any]:  # type: ignore[override]
        """Return the webhook and its secret."""
        return {**super().to_representation(instance.webhook), "secret": instance.secret}


class NewWebhookSerializer(StrictSerializer):
    """A webhook to be added."""  # `mails.events.webhooks` has the rules of its URL

    problem = ("invalid_webhook", "The webhook is not valid; see errors.")
    ignored = tuple(
        name
        for name in WebhookSerializer._declared_fields
        if name not in ("url", "description", "events", "addresses", "api_key")
    )

    url = StrictCharField(
        help_text=_URL, max_length=MAX_URL, style={"example": "https://shop.olimpus.com/hooks/mercury"}
    )
    description = StrictCharField(required=False, max_length=200, help_text="What it is for.")
    events = serializers.ListField(
        child=EventNameField(),
        required=False,
        help_text=_EVENTS,
        style={"example": ["DONE", "DISCARDED"]},
    )
    addresses = StrictBooleanField(required=False, help_text=f"{_ADDRESSES} Default: false.")
    api_key = StrictCharField(
        required=False, help_text=f"{_KEY} Only people give it: a key adds webhooks of its own emails."
    )


class ChangedWebhookSerializer(StrictSerializer):
    """Changes of a webhook. What is left out stays as it is."""

    problem = NewWebhookSerializer.problem
    ignored = (*NewWebhookSerializer.ignored, "api_key")

    def get_fields(self) -> dict[str, Any]:
        """Return the fields of a new webhook, all optional; its API key stays."""
        fields = NewWebhookSerializer().get_fields()
        del fields["api_key"]
        for field in fields.values():
            field.required = False
        return fields


class NoFieldsSerializer(StrictSerializer):
    """An action of a webhook without fields."""


class DisableWebhookSerializer(StrictSerializer):
    """Why a webhook is disabled."""

    reason = StrictCharField(required=False, max_length=500, help_text="Why, in words.")


class RotateSecretSerializer(StrictSerializer):
    """How long the previous secret stays valid."""

    hours = StrictIntegerField(
        required=False,
        min_value=0,
        max_value=MOST_OVERLAP_HOURS,
        help_text="So long each request is signed with both secrets. 0: the previous one ends now. "
        f"Default: {OVERLAP_HOURS}.",
    )


class RedeliverRangeSerializer(StrictSerializer):
    """Which events are delivered again."""

    problem = ("invalid_range", "Nothing is delivered again; see errors.")

    since = StrictCharField(
        help_text="Events recorded from then on: ISO 8601 with a zone.", style={"example": "2026-11-30T08:00:00Z"}
    )
    until = StrictCharField(required=False, help_text="Events recorded before then. Default: now.")
    only_failed = StrictBooleanField(
        required=False,
        help_text="True: only those whose delivery was given up. False: all that the webhook gets. Default: true.",
    )


class RedeliveredSerializer(serializers.Serializer[Any]):
    """How many events are delivered again."""

    redelivered = serializers.IntegerField(
        min_value=0, help_text="Deliveries that wait now; with `dry_run`, that would."
    )


class DeliverySerializer(serializers.Serializer[Any]):
    """One event on its way to one webhook."""

    id = serializers.IntegerField(help_text="A growing number.")
    url = serializers.URLField(help_text="The delivery itself.")
    webhook = serializers.UUIDField(help_text="The id of its webhook.")
    message_id = serializers.CharField(
        help_text="The `webhook-id` of its requests, the same in each attempt and redelivery."
    )
    event = serializers.CharField(help_text="The name of the event; empty for a test.")
    event_id = serializers.IntegerField(allow_null=True, help_text="The id of the event; null for a test.")
    mail = serializers.UUIDField(allow_null=True, help_text="The id of the email; null for a test.")
    status = serializers.ChoiceField(
        choices=DeliveryStatus.values,
        help_text="`waiting`: for its first or next attempt; `delivered`: answered with 2xx; `failed`: given up.",
    )
    attempts = serializers.IntegerField(min_value=0, help_text="Requests since it was created or redelivered.")
    created = serializers.DateTimeField(help_text="When it was created.")
    last_attempt = serializers.DateTimeField(allow_null=True, help_text="When the last request ended.")
    next_attempt = serializers.DateTimeField(allow_null=True, help_text="When the next request is due; null: it ended.")
    finished = serializers.DateTimeField(allow_null=True, help_text="When it was delivered or given up.")
    status_code = serializers.IntegerField(allow_null=True, help_text="Of the last answer; null if there was none.")
    answer = serializers.CharField(help_text="The beginning of the last answer.")
    error = serializers.CharField(help_text="Why the last attempt failed; empty if it did not.")
    duration_ms = serializers.IntegerField(allow_null=True, help_text="Milliseconds of the last request.")

    def to_representation(self, instance: WebhookDelivery) -> dict[str, Any]:
        """Return the delivery."""
        return {
            "id": instance.pk,
            "url": build_delivery_url(self.context["request"], instance),
            "webhook": str(instance.webhook_id),
            "message_id": instance.message_id,
            "event": instance.event,
            "event_id": instance.event_id,
            "mail": str(instance.mail_id) if instance.mail_id else None,
            "status": instance.status,
            "attempts": instance.attempts,
            "created": format_time(instance.created_at),
            "last_attempt": format_time(instance.attempted_at),
            "next_attempt": format_time(instance.next_attempt_at),
            "finished": format_time(instance.finished_at),
            "status_code": instance.status_code,
            "answer": instance.answer,
            "error": instance.error,
            "duration_ms": instance.duration_ms,
        }


class ShownRequestSerializer(serializers.Serializer[Any]):
    """A request as Mercury sends it."""

    headers = serializers.DictField(
        child=serializers.CharField(),
        help_text="Its headers; those of the next request have other times. Signatures are hidden.",
    )
    body = serializers.CharField(help_text="Its body, JSON as text.")


class DeliveryWithRequestSerializer(DeliverySerializer):
    """A delivery with its request."""

    request = ShownRequestSerializer(
        allow_null=True,
        help_text="Null once the event is deleted, and for people without the permission to see emails.",
    )

    def to_representation(self, instance: WebhookDelivery) -> dict[str, Any]:
        """Return the delivery and its request, where the client may see that."""
        request = self.context["request"]
        may_see = isinstance(request.auth, ApiKey) or request.user.has_perm("mails.view_mail")
        shown = describe_request(instance) if may_see else None
        return {**super().to_representation(instance), "request": asdict(shown) if shown else None}


def build_webhook_url(request: Request | HttpRequest, webhook_id: uuid.UUID) -> str:
    """Return the absolute URL of a webhook as a resource."""
    return request.build_absolute_uri(reverse("api-webhook-detail", kwargs={"webhook_id": str(webhook_id)}))


def build_delivery_url(request: Request | HttpRequest, delivery: WebhookDelivery) -> str:
    """Return the absolute URL of a delivery."""
    names = {"webhook_id": str(delivery.webhook_id), "delivery_id": str(delivery.pk)}
    return request.build_absolute_uri(reverse("api-delivery-detail", kwargs=names))


def _build_deliveries_url(request: Request | HttpRequest, webhook_id: uuid.UUID) -> str:
    return request.build_absolute_uri(reverse("api-delivery-list", kwargs={"webhook_id": str(webhook_id)}))
