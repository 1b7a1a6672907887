"""Mailgun: options, capabilities, the payload with its quirks, and how its answers are read."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from anymail.backends import mailgun

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, AnymailApi, LeanPayload
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, Option, ProviderKind, Transport
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named

_RECIPIENT_REJECTED = re.compile(r"(?:^|\W)to\W.{0,20}\bnot a valid address", re.IGNORECASE)


class MailgunPayload(LeanPayload, mailgun.MailgunPayload):  # type: ignore[misc]
    """Mailgun's payload."""

    never_empty = frozenset({"body"})


class MailgunApi(AnymailApi):
    """Mailgun's messages API for one account."""

    accepted_status = 200
    payload_class = MailgunPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        settings = {name: options[name] for name in ("api_key", "api_url", "sender_domain")}
        super().__init__(mailgun.EmailBackend(**settings, **NO_GLOBAL_FALLBACK))

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of a `{"id": …, "message": "Queued. …"}`. A wrong path gets a 200 of another kind."""
        match answer.parse_json():
            case {"id": str(name), "message": str(words)} if words.startswith("Queued"):
                return name.strip("<>")
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"message": …}`."""
        return _read_message(answer)

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal is about. Mailgun says that 'to' is not valid, and sometimes which address."""
        words = _read_message(answer)
        if not _RECIPIENT_REJECTED.search(words):
            return NONE_REJECTED
        return RejectedRecipients(reasons=dict.fromkeys(find_named(words, recipients), words), has_unnamed=True)


def _read_message(answer: HttpAnswer) -> str:
    match answer.parse_json():
        case {"message": str(words)}:
            return words
    return ""


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
    api=MailgunApi,
    can=("keeps the Message-ID", "reports delivery by webhook"),
    cannot=(
        "answer for each recipient",
        "show recipients of another request in To",
        "send an empty body (a space is sent)",
    ),
    regions=MappingProxyType({"us": "https://api.mailgun.net/v3", "eu": "https://api.eu.mailgun.net/v3"}),
    max_recipients=1000,
)
