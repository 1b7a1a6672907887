"""SendGrid: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

import orjson
from anymail.exceptions import AnymailInvalidAddress
from django.core.mail import EmailMessage

from providers.kinds.anymail_api import ExactAttachment, is_plain_address, parse_addresses
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer, HttpApi, HttpRequest
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named

_RECIPIENT_FIELD = re.compile(r"personalizations\.0\.(?:to(?:\.(\d{1,4})(?:\.email)?)?|b?cc(?:\.\d{1,4}(?:\.email)?)?)")


_NEVER_EMPTY = frozenset({"subject", "body"})  # a space replaces them


class SendGridApi(HttpApi):
    """SendGrid's v3 mail/send for one account. anymail supports it no longer, so the document is built here."""

    accepted_status = 202

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._url = urljoin(options["api_url"].rstrip("/") + "/", "mail/send")
        self._headers = {"Authorization": f"Bearer {options['api_key']}", "Content-Type": "application/json"}

    def build_request(self, message: EmailMessage) -> HttpRequest:
        """Return the request. Raises ValueError or TypeError for an address or a value that it cannot have."""
        try:
            document = _build_document(message)
        except AnymailInvalidAddress as error:
            raise ValueError(str(error)) from None
        return HttpRequest(url=self._url, headers=self._headers, body=orjson.dumps(document))

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the header `X-Message-Id`; None for a 202 with a body: SendGrid's own have none."""
        return None if answer.text.strip() else answer.headers.get("X-Message-Id", "")

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of `{"errors": [{"message": …, "field": …}]}`, each after its field."""
        return "; ".join(f"{field}: {words}" if field else words for field, words in _list_errors(answer) if words)

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal names, if all its fields are such as `personalizations.0.to.1.email`.

        `recipients` begin with those in To; one in Cc or Bcc is known by the words only.
        """
        reasons: dict[str, str] = {}
        for field, words in _list_errors(answer):
            found = _RECIPIENT_FIELD.fullmatch(field)
            if found is None:
                return NONE_REJECTED
            named = find_named(words, recipients)
            if found[1] is not None and int(found[1]) < len(recipients):
                named = [recipients[int(found[1])]]
            if not named:
                return RejectedRecipients(reasons={}, has_unnamed=True)
            reasons |= dict.fromkeys(named, words)
        return RejectedRecipients(reasons=reasons)


def _build_document(message: EmailMessage) -> dict[str, Any]:
    """Return the document of mail/send, without the fields that the email does not need."""
    recipients = {"to": message.to, "cc": message.cc, "bcc": message.bcc}
    optional = {
        "reply_to_list": _list_addresses(message.reply_to),
        "headers": message.extra_headers,
        "attachments": [_build_attachment(attachment) for attachment in message.attachments],
        "categories": getattr(message, "tags", ()),
        "custom_args": getattr(message, "metadata", {}),
    }
    return {
        "personalizations": [{kind: _list_addresses(listed) for kind, listed in recipients.items() if listed}],
        "from": _read_sender(message.from_email),
        "subject": message.subject or " ",
        "content": _list_bodies(message),
    } | {name: value for name, value in optional.items() if value}


def _list_addresses(recipients: Iterable[str]) -> list[dict[str, str]]:
    return [found for recipient in recipients for found in _read_addresses(recipient)]


@lru_cache(maxsize=1024)  # few senders send most emails
def _read_sender(sender: str) -> dict[str, str]:
    return _read_addresses(sender)[0]


def _read_addresses(text: str) -> list[dict[str, str]]:
    """Return the objects of an address, or of a list of them. Raises ValueError for one beyond ASCII."""
    if is_plain_address(text):
        return [{"email": text}]
    parsed = parse_addresses(text)
    if not all(address.addr_spec.isascii() for address in parsed):
        raise ValueError("SendGrid carries no addresses with letters beyond ASCII.")
    return [
        {"email": address.addr_spec} | ({"name": address.display_name} if address.display_name else {})
        for address in parsed
    ]


def _list_bodies(message: EmailMessage) -> list[dict[str, str]]:
    """Return text and HTML, in the order that SendGrid prescribes."""
    alternatives = [(str(content), kind) for content, kind in getattr(message, "alternatives", ()) or ()]
    bodies = [(str(message.body), f"text/{message.content_subtype}"), *alternatives]
    filled = [{"type": kind, "value": content} for content, kind in bodies if content]
    return filled or [{"type": "text/plain", "value": " "}]


def _build_attachment(attachment: Any) -> dict[str, str]:
    """Return the object of an attachment; an inline one is shown by its Content-ID."""
    read = ExactAttachment(attachment)
    built = {"content": read.b64content_utf8, "type": read.mimetype, "filename": read.name or ""}
    return built | {"disposition": "inline", "content_id": read.cid} if read.inline else built


def _list_errors(answer: HttpAnswer) -> list[tuple[str, str]]:
    """Return field and words of each error of the answer; an empty text for what it lacks."""
    document = answer.parse_json()
    errors = document.get("errors") if isinstance(document, dict) else None
    return [_read_error(error) for error in errors] if isinstance(errors, list) else []


def _read_error(error: Any) -> tuple[str, str]:
    if not isinstance(error, dict):
        return "", ""
    field, words = error.get("field"), error.get("message")
    return field if isinstance(field, str) else "", words if isinstance(words, str) else ""


SENDGRID = ProviderKind(
    key="sendgrid",
    label="SendGrid",
    transport=Transport.HTTP,
    api=SendGridApi,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.TAGS, Feature.METADATA},
        max_size=30_000_000,
        max_recipients=1000,
        never_empty=_NEVER_EMPTY,
        keeps_message_id=True,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        build_api_url("https://api.sendgrid.com/v3/", "Another one for EU subusers."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"sendgrid": read_key},
    variables={"SENDGRID_API_KEY": "api_key"},
    regions={"us": "https://api.sendgrid.com/v3/", "eu": "https://api.eu.sendgrid.com/v3/"},
)
