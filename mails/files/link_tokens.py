"""The signed tokens in the URLs of download links. No database: a token that Mercury has not signed costs no query.

A token names its link and nothing else, and is the same each time it is made: an email has the same bytes at every send.
`SECRET_KEY_FALLBACKS` keeps the links of earlier keys.
"""

import base64
import binascii
import uuid

from django.conf import settings
from django.core import signing
from django.urls import reverse

TICKET_SECONDS = 24 * 3600  # that a download may take, with all interruptions
_SALT = "mercury.download-link"
_TICKET_SALT = "mercury.download"


class BaseUrlMissing(Exception):
    """MERCURY_BASE_URL is not set, so a link in an email would lead nowhere."""

    def __init__(self) -> None:
        super().__init__(
            "Download links need MERCURY_BASE_URL, the address at which recipients reach this server. An operator sets it."
        )


def make_url(link_id: uuid.UUID) -> str:
    """Return the absolute URL of the page of this link. Raises BaseUrlMissing."""
    if not settings.MERCURY_BASE_URL:
        raise BaseUrlMissing
    return settings.MERCURY_BASE_URL + reverse("download", args=[make_token(link_id)])


def make_token(link_id: uuid.UUID) -> str:
    """Return the token of a link."""
    return _build_signer(_SALT).sign(_encode(link_id))


def read_token(token: str) -> uuid.UUID | None:
    """Return the link that a token names; None if Mercury has not signed it."""
    try:
        return _decode(_build_signer(_SALT).unsign(token))
    except signing.BadSignature:
        return None


def make_ticket(link_id: uuid.UUID) -> str:
    """Return what allows one download of this link, from now on and for a day."""
    return _build_ticket_signer(link_id).sign(_encode(uuid.uuid4()))


def read_ticket(link_id: uuid.UUID, ticket: str) -> uuid.UUID | None:
    """Return the download that a ticket of this link names; None if it is none, or older than a day."""
    try:
        return _decode(_build_ticket_signer(link_id).unsign(ticket, max_age=TICKET_SECONDS))
    except signing.BadSignature:
        return None


def _build_signer(salt: str) -> signing.Signer:
    return signing.Signer(sep=".", salt=salt)


def _build_ticket_signer(link_id: uuid.UUID) -> signing.TimestampSigner:
    return signing.TimestampSigner(sep=".", salt=f"{_TICKET_SALT}:{link_id}")


def _encode(value: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")


def _decode(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(bytes=base64.urlsafe_b64decode(text + "=="))
    except (ValueError, binascii.Error):
        return None
