"""Download links as answers show them."""

import uuid
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request

from mails.api.fields import format_time
from mails.files import link_tokens, links
from mails.files.link_tokens import BaseUrlMissing
from mails.files.links import LinkState
from mails.models import DownloadLink
from mercury.lib.database import database_clock
from mercury.lib.rest.serializers import StrictSerializer


class LinkSerializer(serializers.Serializer[DownloadLink]):
    """A download link."""

    id = serializers.UUIDField(help_text="A UUID of version 7.")
    url = serializers.URLField(help_text="The link as a resource; revoke it with `POST …/revoke`.")
    mail = serializers.UUIDField(help_text="The email that has it.")
    link = serializers.URLField(
        allow_null=True,
        help_text="The address in the email: anybody who has it may download. Null without MERCURY_BASE_URL.",
    )
    filename = serializers.CharField(help_text="The file's name.")
    content_type = serializers.CharField(help_text="The file's type.")
    size = serializers.IntegerField(min_value=1, help_text="Bytes.")
    sha256 = serializers.CharField(help_text="The SHA-256 of the file.")
    state = serializers.ChoiceField(
        choices=[state.value for state in LinkState], help_text="What the link is good for now."
    )
    downloads = serializers.IntegerField(min_value=0, help_text="Downloads that have begun.")
    max_downloads = serializers.IntegerField(allow_null=True, help_text="Downloads that it allows; null: any number.")
    expires = serializers.DateTimeField(help_text="When it ends.")
    revoked = serializers.DateTimeField(allow_null=True, help_text="When it was revoked.")

    def to_representation(self, instance: DownloadLink) -> dict[str, Any]:
        """Return the link."""
        return {
            "id": str(instance.pk),
            "url": build_link_url(self.context["request"], instance.pk),
            "mail": str(instance.mail_id),
            "link": _make_url(instance.pk),
            "filename": instance.filename,
            "content_type": instance.content_type,
            "size": instance.size,
            "sha256": instance.sha256,
            "state": links.get_state(instance, database_clock.now()).value,
            "downloads": instance.downloads,
            "max_downloads": instance.max_downloads,
            "expires": format_time(instance.expires_at),
            "revoked": format_time(instance.revoked_at),
        }


class RevokeLinkSerializer(StrictSerializer):
    """A revocation has no fields."""


def build_link_url(request: Request | HttpRequest, link_id: uuid.UUID) -> str:
    """Return the absolute URL of a link as a resource."""
    return request.build_absolute_uri(reverse("api-link-detail", kwargs={"link_id": str(link_id)}))


def _make_url(link_id: uuid.UUID) -> str | None:
    try:
        return link_tokens.make_url(link_id)
    except BaseUrlMissing:
        return None
