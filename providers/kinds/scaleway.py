"""Scaleway Transactional Email: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from anymail.backends import scaleway
from anymail.utils import Attachment

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, SET_BY_PROVIDER, AnymailApi, LeanPayload, encode_headers
from providers.kinds.base import CA, MAX_CONNECTIONS, AccountUrl, Option, ProviderKind, Transport, build_api_url
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.cleaning import clean_login
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named
from providers.reply_words import Topic

MIN_LENGTH = 10  # characters of subject, text and HTML
MAX_RECIPIENTS = 10
MAX_ATTACHMENTS = 10
ATTACHMENT_TYPES = frozenset(
    [
        "application/ics",
        "application/pdf",
        "application/xml",
        "image/gif",
        "image/jpeg",
        "image/jpg",
        "image/png",
        "text/calendar",
        "text/csv",
        "text/html",
        "text/plain",
        "text/xml",
    ]
)
_TOPICS = {
    "denied_authentication": Topic.AUTHENTICATION,
    "permissions_denied": Topic.AUTHENTICATION,
    "precondition_failed": Topic.IDENTITY,
    "quotas_exceeded": Topic.QUOTA,
    "resource_expired": Topic.SUSPENDED,
    "too_many_requests": Topic.RATE,
}
_NOT_SENT = frozenset({"failed", "canceled"})
_RECIPIENT_FIELD = re.compile(r"(?:to|b?cc)\b.*")


class ScalewayPayload(LeanPayload, scaleway.ScalewayPayload):  # type: ignore[misc]
    """Scaleway's payload, without tags and metadata: they would be headers that recipients can read."""

    def set_subject(self, subject: str) -> None:
        """Set the subject. Raises AnymailUnsupportedFeature for one that Scaleway refuses."""
        self._check_length("subject", subject)
        super().set_subject(subject)

    def set_text_body(self, body: str) -> None:
        """Set the text. Raises AnymailUnsupportedFeature for one that Scaleway refuses."""
        if body or not getattr(self.message, "alternatives", None):
            self._check_length("text", body)
        super().set_text_body(body)

    def set_html_body(self, body: str) -> None:
        """Set the HTML. Raises AnymailUnsupportedFeature for one that Scaleway refuses."""
        self._check_length("HTML", body)
        super().set_html_body(body)

    def set_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Set the attachments. Raises AnymailUnsupportedFeature for a type that Scaleway refuses, and for too many."""
        if len(attachments) > MAX_ATTACHMENTS:
            self.unsupported_feature(f"more than {MAX_ATTACHMENTS} attachments")
        for attachment in attachments:
            if attachment.mimetype not in ATTACHMENT_TYPES:
                self.unsupported_feature(f"attachments of the type {attachment.mimetype}")
        super().set_attachments(attachments)

    def add_attachment(self, attachment: Attachment) -> None:
        """Add an attachment, with the type that is in Scaleway's list: without a character set."""
        super().add_attachment(attachment)
        self.data["attachments"][-1]["type"] = attachment.mimetype

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, without those that Scaleway writes itself."""
        super().set_extra_headers(encode_headers(headers, without=SET_BY_PROVIDER))

    def set_tags(self, tags: Sequence[str]) -> None:
        """Leave the tags out."""

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Leave the metadata out; our id is in X-Mercury-ID."""

    def _check_length(self, name: str, text: str) -> None:
        if len(text) < MIN_LENGTH:
            self.unsupported_feature(f"a {name} of less than {MIN_LENGTH} characters")


class ScalewayApi(AnymailApi):
    """Scaleway's API for transactional email, for one project."""

    accepted_status = 200
    payload_class = ScalewayPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        address = options["api_url"].replace("{", "{{").replace("}", "}}")  # anymail formats it, to insert a region
        settings = {"secret_key": options["secret_key"], "project_id": options["project_id"]}
        super().__init__(scaleway.EmailBackend(**settings, api_url=address, region="", **NO_GLOBAL_FALLBACK))

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of the first recipient's email of an `{"emails": [{"id": …, "mail_rcpt": …}]}`."""
        results = _list_results(answer)
        sent = [result["id"] for result in results if result.get("status") not in _NOT_SENT]
        return sent[0] if sent else ("" if results else None)

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"type": …, "message": …, "details": [{"argument_name": …, "help_message": …}]}`."""
        match answer.parse_json():
            case {"type": str(kind), "message": str(words)}:
                return "; ".join([f"{kind}: {words}", *(f"{name}: {why}" for name, why in _list_details(answer))])
        return ""

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the type of an error is about."""
        match answer.parse_json():
            case {"type": str(kind)}:
                return _TOPICS.get(kind)
        return None

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients whose email failed at once, or those that a refusal is about."""
        failed = {
            result["mail_rcpt"]: f"Scaleway: {result.get('status_details') or result['status']}"
            for result in _list_results(answer)
            if result.get("status") in _NOT_SENT
        }
        details = _list_details(answer)
        if failed or not details or not all(_RECIPIENT_FIELD.fullmatch(name) for name, _ in details):
            return RejectedRecipients(reasons=failed) if failed else NONE_REJECTED
        reasons = {address: why for name, why in details for address in find_named(f"{name} {why}", recipients)}
        return RejectedRecipients(reasons=reasons, has_unnamed=True)


def _list_results(answer: HttpAnswer) -> list[Mapping[str, Any]]:
    """Return the email of each recipient; none if the document is another."""
    match answer.parse_json():
        case {"emails": [*results]} if all(map(_is_result, results)):
            return results
    return []


def _is_result(result: Any) -> bool:
    match result:
        case {"id": str(), "mail_rcpt": str()}:
            return True
    return False


def _list_details(answer: HttpAnswer) -> list[tuple[str, str]]:
    """Return the arguments that an error is about, each with its words."""
    document = answer.parse_json()
    details = document.get("details") if isinstance(document, dict) else None
    found = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    return [
        (name, str(detail.get("help_message") or detail.get("reason") or ""))
        for detail in found
        if isinstance(name := detail.get("argument_name"), str)
    ]


def _read_url(url: AccountUrl) -> Mapping[str, Any]:
    return {"project_id": url.username, "secret_key": url.password}


_ADDRESS = "https://api.scaleway.com/transactional-email/v1alpha1/regions/fr-par/"
SCALEWAY = ProviderKind(
    key="scaleway",
    label="Scaleway",
    transport=Transport.HTTP,
    api=ScalewayApi,
    capabilities=Capabilities(
        features=IN_MIME - {Feature.INLINE},
        max_size=2_000_000,
        max_recipients=MAX_RECIPIENTS,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=True,
        reports_delivery=False,
    ),
    options=(
        Option(name="project_id", label="Project ID", required=True, clean=clean_login),
        Option(name="secret_key", label="Secret key", help="Of an API key of IAM.", required=True, secret=True),
        build_api_url(_ADDRESS, "With the region in it."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"scaleway": _read_url},
    regions={"fr-par": _ADDRESS},
)
