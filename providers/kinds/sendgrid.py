"""SendGrid: its account, what it can carry, its requests and its answers."""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from anymail.backends import sendgrid
from anymail.exceptions import AnymailNotSupportedWarning

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, AnymailApi, LeanPayload
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named

_RECIPIENT_FIELD = re.compile(r"personalizations\.0\.(?:to(?:\.(\d{1,4})(?:\.email)?)?|b?cc(?:\.\d{1,4}(?:\.email)?)?)")


class SendGridPayload(LeanPayload, sendgrid.SendGridPayload):  # type: ignore[misc]
    """SendGrid's payload."""

    never_empty = frozenset({"subject", "body"})


class SendGridApi(AnymailApi):
    """SendGrid's v3 mail/send for one account. anymail calls its backend unsupported; Mercury's tests cover it."""

    accepted_status = 202
    payload_class = SendGridPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AnymailNotSupportedWarning)
            backend = sendgrid.EmailBackend(
                api_key=options["api_key"],
                api_url=options["api_url"],
                username="",
                password="",
                generate_message_id=False,  # X-Mercury-ID is in custom_args already, and X-Message-Id in the answer
                merge_field_format=None,
                **NO_GLOBAL_FALLBACK,
            )
        super().__init__(backend)

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
        never_empty=SendGridPayload.never_empty,
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
