"""SendGrid: options, capabilities, the payload with its quirks, and how its answers are read."""

import re
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from anymail.backends import sendgrid
from anymail.exceptions import AnymailNotSupportedWarning

from providers.kinds.anymail_payload import NO_GLOBAL_FALLBACK, LeanPayload
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, Option, ProviderKind, Transport
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named

_RECIPIENT_FIELD = re.compile(r"personalizations\.0\.to(?:\.(\d{1,4})(?:\.email)?)?")

SENDGRID = ProviderKind(
    key="sendgrid",
    label="SendGrid",
    transport=Transport.HTTP,
    options=(
        API_KEY,
        Option(
            name="api_url",
            label="API address",
            help="Another one for EU subusers.",
            default="https://api.sendgrid.com/v3/",
        ),
        MAX_CONNECTIONS,
        CA,
    ),
    backend="providers.kinds.sendgrid.SendGridBackend",
    can=("keeps the Message-ID", "reports delivery by webhook"),
    cannot=(
        "answer for each recipient",
        "show recipients of another request in To",
        "send an empty subject or body (a space is sent)",
    ),
    regions=MappingProxyType({"us": "https://api.sendgrid.com/v3/", "eu": "https://api.eu.sendgrid.com/v3/"}),
    max_recipients=1000,
)


class SendGridPayload(LeanPayload, sendgrid.SendGridPayload):  # type: ignore[misc]
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
                **NO_GLOBAL_FALLBACK,
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
            found = _RECIPIENT_FIELD.fullmatch(field)
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
