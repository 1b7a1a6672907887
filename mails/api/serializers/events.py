"""Events as answers show them."""

import uuid
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request

from mails.api.fields import format_time
from mails.api.serializers.mails import build_mail_api_url
from mails.models import Event
from mercury.lib.database import database_clock


class EventSerializer(serializers.Serializer[Event]):
    """An event of an email."""

    id = serializers.IntegerField(help_text="Grows with each event.")
    url = serializers.URLField(help_text="The event itself.")
    mail_id = serializers.UUIDField(help_text="The id of the email.")
    mail = serializers.URLField(help_text="The email.")
    event = serializers.CharField(
        help_text="Its name, of the sending model (`NEW`, `SEND`, `DONE` …) or a client's own."
    )
    created_at = serializers.IntegerField(help_text="Nanoseconds since the Unix epoch.")
    created = serializers.DateTimeField(help_text="The same, to the microsecond.")
    created_by = serializers.CharField(
        help_text="Who recorded it: `Mail Service`, `Dispatcher`, an account's attempt, `key:…`."
    )
    blob = serializers.CharField(help_text="More about it, usually JSON as text.")

    def to_representation(self, instance: Event) -> dict[str, Any]:
        """Return the event."""
        request, mail_id = self.context["request"], str(instance.mail_id)
        return {
            "id": instance.pk,
            "url": build_event_url(request, mail_id, instance.pk),
            "mail_id": mail_id,
            "mail": build_mail_api_url(request, mail_id),
            "event": instance.event,
            "created_at": instance.created_at,
            "created": format_time(database_clock.from_ns(instance.created_at)),
            "created_by": instance.created_by,
            "blob": instance.blob,
        }


def build_event_url(request: Request | HttpRequest, mail_id: uuid.UUID | str, event_id: int) -> str:
    """Return the absolute URL of one event."""
    kwargs = {"mail_id": str(mail_id), "event_id": event_id}
    return request.build_absolute_uri(reverse("api-event-detail", kwargs=kwargs))
