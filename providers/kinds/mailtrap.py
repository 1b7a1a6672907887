"""Mailtrap: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from anymail.backends import mailtrap

from providers.kinds.anymail_api import (
    NO_GLOBAL_FALLBACK,
    SET_BY_PROVIDER,
    AnymailApi,
    LeanPayload,
    encode_headers,
    fit_metadata,
)
from providers.kinds.base import (
    API_KEY,
    CA,
    MAX_CONNECTIONS,
    Option,
    OptionsInvalid,
    ProviderKind,
    Transport,
    build_api_url,
    read_key,
)
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.cleaning import clean_login
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named

MAX_CATEGORY = 255  # characters
MAX_METADATA = 1000  # bytes of JSON
_RECIPIENT_REJECTED = re.compile(r"^'?(?:to|b?cc)\b.{0,60}\b(?:invalid|not (?:a )?valid)", re.IGNORECASE)
_REGIONS = {
    name: f"https://{host}.api.mailtrap.io/api/"
    for name, host in {"transactional": "send", "bulk": "bulk", "sandbox": "sandbox"}.items()
}


class MailtrapPayload(LeanPayload, mailtrap.MailtrapPayload):  # type: ignore[misc]
    """Mailtrap's payload."""

    never_empty = frozenset({"subject", "body"})

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, without those that Mailtrap writes itself."""
        super().set_extra_headers(encode_headers(headers, without=SET_BY_PROVIDER))

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set our id, and of the rest what there is room for."""
        super().set_metadata(fit_metadata(metadata, size=MAX_METADATA))

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set the first tag that fits: Mailtrap has one category for each email."""
        super().set_tags([tag for tag in tags if len(tag) <= MAX_CATEGORY][:1])


class MailtrapApi(AnymailApi):
    """Mailtrap's send API for one account, or for one of its sandboxes."""

    accepted_status = 200
    payload_class = MailtrapPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(
            mailtrap.EmailBackend(
                api_token=options["api_key"],
                sandbox_id=options["sandbox_id"],
                api_url=options["api_url"],
                **NO_GLOBAL_FALLBACK,
            )
        )

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the first id of a `{"success": true, "message_ids": […]}`: that of the first recipient."""
        match answer.parse_json():
            case {"success": True, "message_ids": [str(name), *_]}:
                return name
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"success": false, "errors": […]}`."""
        return "; ".join(_list_errors(answer))

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal names, if all its errors are about recipients."""
        errors = _list_errors(answer)
        if not errors or not all(map(_RECIPIENT_REJECTED.search, errors)):
            return NONE_REJECTED
        reasons = {address: words for words in errors for address in find_named(words, recipients)}
        return RejectedRecipients(reasons=reasons, has_unnamed=True)


def _list_errors(answer: HttpAnswer) -> list[str]:
    match answer.parse_json():
        case {"errors": [*errors]}:
            return [words for words in errors if isinstance(words, str)]
    return []


def _complete(options: dict[str, Any]) -> Mapping[str, Any]:
    """Return the address of a sandbox for an account that names one. Raises OptionsInvalid if the address is another."""
    if options["sandbox_id"] and options["api_url"] == _REGIONS["transactional"]:
        return {"api_url": _REGIONS["sandbox"]}
    if not options["sandbox_id"] and options["api_url"] == _REGIONS["sandbox"]:
        raise OptionsInvalid({"sandbox_id": "It is required for the sandbox's address."})
    if options["sandbox_id"] and options["api_url"] == _REGIONS["bulk"]:
        raise OptionsInvalid({"sandbox_id": "The address for bulk email has no sandboxes."})
    return {}


def _clean_sandbox(value: str) -> str:
    """Return the number of a sandbox."""
    if not (value.isascii() and value.isdigit()):
        raise ValueError("It must be the number of a sandbox, from the address of its page.")
    return clean_login(value)


MAILTRAP = ProviderKind(
    key="mailtrap",
    label="Mailtrap",
    transport=Transport.HTTP,
    api=MailtrapApi,
    capabilities=Capabilities(
        features=(IN_MIME - {Feature.UNSUBSCRIBE}) | {Feature.TAGS, Feature.METADATA},
        max_size=10_000_000,
        max_recipients=1000,
        never_empty=MailtrapPayload.never_empty,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        Option(
            name="sandbox_id",
            label="Sandbox",
            help="Number of a sandbox that keeps the emails instead of delivering them.",
            clean=_clean_sandbox,
        ),
        build_api_url(_REGIONS["transactional"], "Another one for bulk email."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"mailtrap": read_key},
    regions=_REGIONS,
    complete=_complete,
)
