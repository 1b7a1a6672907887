"""Files as answers show them."""

import uuid
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request

from mails.api.fields import format_time
from mails.models import StoredFile


class FileSerializer(serializers.Serializer[StoredFile]):
    """An uploaded file."""

    id = serializers.UUIDField(help_text="By which emails refer to it; a UUID of version 7.")
    url = serializers.URLField(help_text="The file itself.")
    filename = serializers.CharField(help_text="Its name: the last step of a path, without what cannot be printed.")
    content_type = serializers.CharField(help_text="Its type, as declared or as its content shows.")
    size = serializers.IntegerField(min_value=1, help_text="Bytes.")
    received = serializers.IntegerField(min_value=0, help_text="Bytes that have arrived; less than `size`: go on.")
    sha256 = serializers.CharField(allow_null=True, help_text="The SHA-256 of its content; null until all has arrived.")
    created = serializers.DateTimeField(help_text="When the upload began.")
    expires = serializers.DateTimeField(help_text="When it is deleted. Emails that use it keep its content.")

    def to_representation(self, instance: StoredFile) -> dict[str, Any]:
        """Return the file."""
        return {
            "id": str(instance.pk),
            "url": build_file_url(self.context["request"], instance.pk),
            "filename": instance.filename,
            "content_type": instance.content_type,
            "size": instance.size,
            "received": instance.received,
            "sha256": instance.content_id,
            "created": format_time(instance.created_at),
            "expires": format_time(instance.expires_at),
        }


def build_file_url(request: Request | HttpRequest, file_id: uuid.UUID) -> str:
    """Return the absolute URL of an upload."""
    return request.build_absolute_uri(reverse("api-file-detail", kwargs={"file_id": str(file_id)}))
