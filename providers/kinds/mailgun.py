"""Mailgun: options, capabilities, the payload with its quirks, and how its answers are read."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from anymail.backends import mailgun
from anymail.exceptions import AnymailAPIError

from providers.kinds.anymail_payload import NO_GLOBAL_FALLBACK, LeanPayload
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, Option, ProviderKind, Transport
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named

_RECIPIENT_REJECTED = re.compile(r"(?:^|\W)to\W.{0,20}\bnot a valid address", re.IGNORECASE)

MAILGUN = ProviderKind(
    key="mailgun",
    label="Mailgun",
    transport=Transport.HTTP,
    options=(
        API_KEY,
        Option(name="sender_domain", label="Sending domain", help="Empty: the domain of the sender's address."),
        Option(
            name="api_url",
            label="API address",
            help="Another one for the EU.",
            default="https://api.mailgun.net/v3",
        ),
        MAX_CONNECTIONS,
        CA,
    ),
    backend="providers.kinds.mailgun.MailgunBackend",
    can=("keeps the Message-ID", "reports delivery by webhook"),
    cannot=(
        "answer for each recipient",
        "show recipients of another request in To",
        "send an empty body (a space is sent)",
    ),
    regions=MappingProxyType({"us": "https://api.mailgun.net/v3", "eu": "https://api.eu.mailgun.net/v3"}),
    max_recipients=1000,
)


class MailgunPayload(LeanPayload, mailgun.MailgunPayload):  # type: ignore[misc]
    """Mailgun's payload. Mailgun refuses an empty body: a space replaces it."""

    def set_text_body(self, body: str) -> None:
        """Set the text, or a space."""
        super().set_text_body(body or " ")


class MailgunBackend(mailgun.EmailBackend):  # type: ignore[misc]
    """anymail's backend for one account."""

    accepted_status = 200

    def __init__(self, *, api_key: str, api_url: str, sender_domain: str | None) -> None:
        super().__init__(api_key=api_key, api_url=api_url, sender_domain=sender_domain, **NO_GLOBAL_FALLBACK)

    def build_message_payload(self, message: Any, defaults: Mapping[str, Any]) -> MailgunPayload:
        """Return the payload of one email."""
        return MailgunPayload(message, defaults, self)

    def find_rejected(self, document: Any, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal is about. Mailgun says that 'to' is not valid, and sometimes which address."""
        text = document.get("message") if isinstance(document, dict) else None
        if not isinstance(text, str) or not _RECIPIENT_REJECTED.search(text):
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
