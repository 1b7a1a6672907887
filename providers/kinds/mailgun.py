"""Mailgun: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from anymail.backends import mailgun

from providers.kinds import cleaning
from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, AnymailApi, LeanPayload
from providers.kinds.base import (
    API_KEY,
    CA,
    MAX_CONNECTIONS,
    AccountUrl,
    Option,
    ProviderKind,
    Transport,
    build_api_url,
    read_key,
)
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import RejectedRecipients, find_in_words

_RECIPIENT_REJECTED = re.compile(r"(?:^|\W)(?:to|b?cc)\W.{0,20}\bnot a valid address", re.IGNORECASE)


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
        """Return the recipients that a refusal is about. Mailgun says that 'to' (or 'cc') is not valid, and sometimes which."""
        return find_in_words(_read_message(answer), recipients, rejection=_RECIPIENT_REJECTED)


def _read_message(answer: HttpAnswer) -> str:
    match answer.parse_json():
        case {"message": str(words)}:
            return words
    return ""


def _clean_api_url(value: str) -> str:
    """Return the address up to its version; Mailgun's documentation shows it with the domain and the resource."""
    return re.sub(r"(/v\d+)/[^/]+(/messages)?/?$", r"\1", cleaning.clean_url(value))


def _read_url(url: AccountUrl) -> Mapping[str, Any]:
    return {**read_key(url), "sender_domain": url.host}


MAILGUN = ProviderKind(
    key="mailgun",
    label="Mailgun",
    transport=Transport.HTTP,
    api=MailgunApi,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.TAGS, Feature.METADATA},
        max_size=25_000_000,
        max_recipients=1000,
        never_empty=MailgunPayload.never_empty,
        keeps_message_id=True,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        Option(
            name="sender_domain",
            label="Sending domain",
            help="Empty: the domain of the sender's address.",
            clean=cleaning.clean_domain,
        ),
        build_api_url("https://api.mailgun.net/v3", "Another one for the EU.", _clean_api_url),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"mailgun": _read_url},
    variables={"MAILGUN_API_KEY": "api_key", "MAILGUN_DOMAIN_NAME": "sender_domain", "MAILGUN_URL_API": "api_url"},
    regions={"us": "https://api.mailgun.net/v3", "eu": "https://api.eu.mailgun.net/v3"},
)
