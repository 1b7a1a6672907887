"""Resend: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from anymail.backends import resend
from django.core.mail import EmailMessage

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, SET_BY_PROVIDER, AnymailApi, LeanPayload, leave_out
from providers.kinds.attachments import PROGRAMS, refuse_extensions
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer, HttpRequest
from providers.kinds.idempotency import make_key
from providers.kinds.name_value_tags import build_tags
from providers.kinds.rejected_recipients import RejectedRecipients, find_in_words
from providers.outcomes import QuotaPeriod
from providers.reply_words import Topic, find_quota_period

_TOPICS = {
    "missing_api_key": Topic.AUTHENTICATION,
    "restricted_api_key": Topic.AUTHENTICATION,
    "invalid_api_key": Topic.AUTHENTICATION,
    "invalid_access": Topic.AUTHENTICATION,
    "invalid_from_address": Topic.IDENTITY,
    "invalid_region": Topic.OPTIONS,
    "invalid_attachment": Topic.CONTENT,
    "rate_limit_exceeded": Topic.RATE,
    "daily_quota_exceeded": Topic.QUOTA,
    "monthly_quota_exceeded": Topic.QUOTA,
    "invalid_idempotency_key": Topic.SYSTEM,
    "invalid_idempotent_request": Topic.REPEATED,  # the key of another request
    "concurrent_idempotent_requests": Topic.IN_PROGRESS,
}
_RECIPIENT_REJECTED = re.compile(r"\binvalid `(?:to|b?cc)`", re.IGNORECASE)


class ResendPayload(LeanPayload, resend.ResendPayload):  # type: ignore[misc]
    """Resend's payload, with tags of its own in place of headers that recipients could read."""

    never_empty = frozenset({"subject", "body"})

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, except those that Resend replaces."""
        super().set_extra_headers(leave_out(headers, SET_BY_PROVIDER))

    def set_attachments(self, attachments: Sequence[Any]) -> None:
        """Set the attachments. anymail refuses one whose extension does not fit its type: Resend would drop the email."""
        refuse_extensions([attachment.name or "" for attachment in attachments], PROGRAMS, "Resend")
        super().set_attachments(attachments)

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set metadata and tags as tags."""
        self.data["tags"] = [{"name": name, "value": value} for name, value in build_tags(self.message).items()]

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set metadata and tags as tags."""
        self.set_metadata({})


class ResendApi(AnymailApi):
    """Resend's emails API for one account."""

    accepted_status = 200
    payload_class = ResendPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        backend = resend.EmailBackend(
            api_key=options["api_key"],
            api_url=options["api_url"],
            verify_attachment_extensions=True,
            **NO_GLOBAL_FALLBACK,
        )
        super().__init__(backend)

    def build_request(self, message: EmailMessage) -> HttpRequest:
        """Return the request, with its idempotency key. Raises ValueError or TypeError if Resend cannot carry the email."""
        request = super().build_request(message)
        return replace(request, headers={**request.headers, "Idempotency-Key": make_key(message)})

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of a `{"id": …}`."""
        match answer.parse_json():
            case {"id": str(name)} if name:
                return name
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"statusCode": …, "name": …, "message": …}`."""
        return _read_error(answer)[1]

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the `name` of the error is about; that of an invalid request says nothing."""
        return _TOPICS.get(_read_error(answer)[0])

    def read_quota_period(self, answer: HttpAnswer) -> QuotaPeriod | None:
        """Return the period that the `name` of the error has: `daily_quota_exceeded`, `monthly_quota_exceeded`."""
        period = find_quota_period(_read_error(answer)[0])
        return period if period is not QuotaPeriod.UNKNOWN else None

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal is about. Resend names the field that is not valid, and sometimes the address."""
        return find_in_words(_read_error(answer)[1], recipients, rejection=_RECIPIENT_REJECTED)


def _read_error(answer: HttpAnswer) -> tuple[str, str]:
    """Return name and words of the error; empty ones if it is none."""
    match answer.parse_json():
        case {"name": str(name), "message": str(words)}:
            return name, words
    return "", ""


RESEND = ProviderKind(
    key="resend",
    label="Resend",
    transport=Transport.HTTP,
    api=ResendApi,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.TAGS, Feature.METADATA},
        max_size=40_000_000,
        max_recipients=50,
        never_empty=ResendPayload.never_empty,
        idempotency_hours=24,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        build_api_url("https://api.resend.com/", "Change it only for a proxy of your own."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"resend": read_key},
)
