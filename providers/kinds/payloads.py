"""What SendGrid and Mailgun want to be told, by django-anymail, with the quirks that it leaves to us.

anymail builds the payload and reads the answer; it never opens a connection here (`over_http` does).
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


def parse_addresses(given: str | Sequence[str]) -> list[EmailAddress]:
    """The parsed addresses. Plain ones, which is nearly all, do without the parser: a third of a payload's cost."""
    found: list[EmailAddress] = []
    for address in (given,) if isinstance(given, str) else given:
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
_ALWAYS = frozenset({"subject", "body", *BasePayload.batch_attrs})  # a blank stands in; anymail asks for these
_join = lru_cache(maxsize=1024)(urljoin)


class _Lean(RequestsPayload):  # type: ignore[misc]
    """anymail's payload, without the work for what a message does not have: half of its cost."""

    def __init__(self, message: Any, defaults: Mapping[str, Any], backend: Any, **options: Any) -> None:
        self.base_message_attrs = _filled(message, _MESSAGE_ATTRS)
        self.anymail_message_attrs = _filled(message, BasePayload.anymail_message_attrs)
        super().__init__(message, defaults, backend, **options)

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        """What anymail would hand to requests."""
        params: dict[str, Any] = super().get_request_params(_join(api_url, super().get_api_endpoint()))
        return params

    def get_api_endpoint(self) -> None:
        """Nothing: it is joined to the URL already, once for all mails."""

    def serialize_json(self, data: Any) -> bytes:
        """The document as UTF-8. Raises TypeError for what JSON cannot hold."""
        return orjson.dumps(data, default=self._json_default)


def _filled(message: Any, attrs: Sequence[tuple[str, Any, Any]]) -> tuple[tuple[str, Any, Any], ...]:
    """Those attributes that hold something in this message."""
    return tuple(one for one in attrs if one[0] in _ALWAYS or getattr(message, one[0], None))


class SendGridPayload(_Lean, sendgrid.SendGridPayload):  # type: ignore[misc]
    """SendGrid refuses a mail without subject or text, where others take it: a blank stands in."""

    def set_subject(self, subject: str) -> None:
        """The subject, or a blank."""
        super().set_subject(subject or " ")

    def set_text_body(self, body: str) -> None:
        """The text, or a blank."""
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
        """The payload of one mail."""
        return SendGridPayload(message, defaults, self)

    def blame(self, document: Any, recipients: Sequence[str]) -> RejectedRecipients:
        """Return whom a refusal is about: fields such as `personalizations.0.to.1.email`, if it has no other."""
        words: dict[str, str] = {}
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
                return RejectedRecipients(words={}, some=True)
            words |= dict.fromkeys(named, text)
        return RejectedRecipients(words=words)

    def name_given(self, answer: Any, payload: Any, message: Any) -> str | None:
        """SendGrid's name of the mail, or None if a 202 has a body, which none of SendGrid's own has."""
        return None if answer.text.strip() else answer.headers.get("X-Message-Id", "")


class MailgunPayload(_Lean, mailgun.MailgunPayload):  # type: ignore[misc]
    """Mailgun refuses a mail without text: a blank stands in."""

    def set_text_body(self, body: str) -> None:
        """The text, or a blank."""
        super().set_text_body(body or " ")


class MailgunBackend(mailgun.EmailBackend):  # type: ignore[misc]
    """anymail's backend for one account."""

    accepted_status = 200

    def __init__(self, *, api_key: str, api_url: str, sender_domain: str | None) -> None:
        super().__init__(api_key=api_key, api_url=api_url, sender_domain=sender_domain, **_NO_GLOBAL_FALLBACK)

    def build_message_payload(self, message: Any, defaults: Mapping[str, Any]) -> MailgunPayload:
        """The payload of one mail."""
        return MailgunPayload(message, defaults, self)

    def blame(self, document: Any, recipients: Sequence[str]) -> RejectedRecipients:
        """Return whom a refusal is about. Mailgun says that 'to' is not valid, and names the address sometimes."""
        text = document.get("message") if isinstance(document, dict) else None
        if not isinstance(text, str) or not _MAILGUN_RECIPIENT.search(text):
            return NONE_REJECTED
        return RejectedRecipients(words=dict.fromkeys(find_named(text, recipients), text), some=True)

    def name_given(self, answer: Any, payload: Any, message: Any) -> str | None:
        """Mailgun's name of the mail, or None if anymail does not know a 200 by its body."""
        try:
            self.raise_for_status(answer, payload, message)
            statuses = self.parse_recipient_status(answer, payload, message)
        except (AnymailAPIError, AttributeError):
            return None
        name = next(iter(statuses.values())).message_id
        return name.strip("<>") if isinstance(name, str) else None
