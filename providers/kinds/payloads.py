"""The requests of SendGrid and Mailgun, built by django-anymail, with the quirks that it leaves to us.

anymail builds the payload and reads the answer; `transports.http` opens the connection.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

import orjson
from anymail.backends import mailgun, sendgrid
from anymail.backends.base import BasePayload
from anymail.backends.base_requests import RequestsPayload
from anymail.exceptions import AnymailAPIError, AnymailNotSupportedWarning
from anymail.utils import EmailAddress, parse_address_list

from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named

_SENDGRID_RECIPIENT = re.compile(r"personalizations\.0\.to(?:\.(\d{1,4})(?:\.email)?)?")
_MAILGUN_RECIPIENT = re.compile(r"(?:^|\W)to\W.{0,20}\bnot a valid address", re.IGNORECASE)

# Every option anymail would otherwise take from Django's global settings.
_NO_GLOBAL_FALLBACK: Mapping[str, Any] = {
    "ignore_unsupported_features": False,
    "ignore_recipient_status": False,
    "debug_api_requests": False,
    "send_defaults": {},
    "idna_encoder": "idna2008",
    "requests_timeout": None,
}


_PLAIN = re.compile(
    r"([\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)", re.ASCII
)


def parse_addresses(texts: str | Sequence[str]) -> list[EmailAddress]:
    """Return the parsed addresses. Plain ones skip the parser, which is a third of a payload's cost."""
    found: list[EmailAddress] = []
    for address in (texts,) if isinstance(texts, str) else texts:
        plain = _PLAIN.fullmatch(address)
        if plain:
            found.append(EmailAddress(username=plain[1], domain=plain[2]))
        else:
            found += parse_address_list([address])
    return found


_MESSAGE_ATTRS = tuple(
    (name, combine, parse_addresses if convert is parse_address_list else convert)
    for name, combine, convert in BasePayload.base_message_attrs
)
_ALWAYS = frozenset({"subject", "body", *BasePayload.batch_attrs})  # a space replaces an empty one; anymail needs these
_join = lru_cache(maxsize=1024)(urljoin)


class _Lean(RequestsPayload):  # type: ignore[misc]
    """anymail's payload, without the work for what a message does not have: half of its cost."""

    def __init__(self, message: Any, defaults: Mapping[str, Any], backend: Any, **options: Any) -> None:
        self.base_message_attrs = _select_filled(message, _MESSAGE_ATTRS)
        self.anymail_message_attrs = _select_filled(message, BasePayload.anymail_message_attrs)
        super().__init__(message, defaults, backend, **options)

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        """Return the arguments that anymail would pass to `requests`."""
        params: dict[str, Any] = super().get_request_params(_join(api_url, super().get_api_endpoint()))
        return params

    def get_api_endpoint(self) -> None:
        """Return nothing: `get_request_params` joins it to the URL, once for all emails."""

    def serialize_json(self, data: Any) -> bytes:
        """Return the document as UTF-8. Raises TypeError for a value that JSON cannot hold."""
        return orjson.dumps(data, default=self._json_default)


def _select_filled(message: Any, attrs: Sequence[tuple[str, Any, Any]]) -> tuple[tuple[str, Any, Any], ...]:
    """Return the attributes that have a value in this message."""
    return tuple(attr for attr in attrs if attr[0] in _ALWAYS or getattr(message, attr[0], None))


class SendGridPayload(_Lean, sendgrid.SendGridPayload):  # type: ignore[misc]
    """SendGrid's payload. SendGrid refuses an empty subject or body, others do not: a space replaces it."""

    def set_subject(self, subject: str) -> None:
        """Set the subject, or a space."""
        super().set_subject(subject or " ")

    def set_text_body(self, body: str) -> None:
        """Set the text, or a space."""
        super().set_text_body(body or " ")


class SendGridBackend(sendgrid.EmailBackend):  # type: ignore[misc]
    """anymail's backend for one account. anymail calls it unsupported; Mercury's tests cover it."""

    accepted_status = 202

    def __init__(self, *, api_key: str, api_url: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AnymailNotSupportedWarning)
            super().__init__(
                api_key=api_key,
                api_url=api_url,
                username="",
                password="",
                generate_message_id=False,  # X-Mercury-ID is in custom_args already, and X-Message-Id in the answer
                merge_field_format=None,
                **_NO_GLOBAL_FALLBACK,
            )

    def build_message_payload(self, message: Any, defaults: Mapping[str, Any]) -> SendGridPayload:
        """Return the payload of one email."""
        return SendGridPayload(message, defaults, self)

    def find_rejected(self, document: Any, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal names, if all its fields are such as `personalizations.0.to.1.email`."""
        reasons: dict[str, str] = {}
        errors = document.get("errors") if isinstance(document, dict) else None
        for error in errors if isinstance(errors, list) else []:
            field, text = (
                (str(error.get(name) or "") for name in ("field", "message")) if isinstance(error, dict) else ("", "")
            )
            found = _SENDGRID_RECIPIENT.fullmatch(field)
            if found is None:
                return NONE_REJECTED
            named = find_named(text, recipients)
            if found[1] is not None and int(found[1]) < len(recipients):
                named = [recipients[int(found[1])]]
            if not named:
                return RejectedRecipients(reasons={}, has_unnamed=True)
            reasons |= dict.fromkeys(named, text)
        return RejectedRecipients(reasons=reasons)

    def read_message_id(self, answer: Any, payload: Any, message: Any) -> str | None:
        """Return SendGrid's id of the email, None for a 202 with a body: SendGrid's own have none."""
        return None if answer.text.strip() else answer.headers.get("X-Message-Id", "")


class MailgunPayload(_Lean, mailgun.MailgunPayload):  # type: ignore[misc]
    """Mailgun's payload. Mailgun refuses an empty body: a space replaces it."""

    def set_text_body(self, body: str) -> None:
        """Set the text, or a space."""
        super().set_text_body(body or " ")


class MailgunBackend(mailgun.EmailBackend):  # type: ignore[misc]
    """anymail's backend for one account."""

    accepted_status = 200

    def __init__(self, *, api_key: str, api_url: str, sender_domain: str | None) -> None:
        super().__init__(api_key=api_key, api_url=api_url, sender_domain=sender_domain, **_NO_GLOBAL_FALLBACK)

    def build_message_payload(self, message: Any, defaults: Mapping[str, Any]) -> MailgunPayload:
        """Return the payload of one email."""
        return MailgunPayload(message, defaults, self)

    def find_rejected(self, document: Any, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal is about. Mailgun says that 'to' is not valid, and sometimes which address."""
        text = document.get("message") if isinstance(document, dict) else None
        if not isinstance(text, str) or not _MAILGUN_RECIPIENT.search(text):
            return NONE_REJECTED
        return RejectedRecipients(reasons=dict.fromkeys(find_named(text, recipients), text), has_unnamed=True)

    def read_message_id(self, answer: Any, payload: Any, message: Any) -> str | None:
        """Return Mailgun's id of the email, None for a 200 with a body that anymail does not know."""
        try:
            self.raise_for_status(answer, payload, message)
            statuses = self.parse_recipient_status(answer, payload, message)
        except (AnymailAPIError, AttributeError):
            return None
        name = next(iter(statuses.values())).message_id
        return name.strip("<>") if isinstance(name, str) else None
