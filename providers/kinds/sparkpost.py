"""SparkPost: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anymail.backends import sparkpost

from providers.kinds.anymail_api import (
    NO_GLOBAL_FALLBACK,
    SET_BY_PROVIDER,
    AnymailApi,
    LeanPayload,
    find_shown,
    fit_metadata,
    leave_out,
)
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named
from providers.reply_words import Topic

MAX_TAG = 64  # bytes of a campaign_id
MAX_METADATA = 10_000  # bytes of JSON
_TEMPLATE = "{{"  # in a header, what follows is replaced, also with perform_substitutions off
_TOPICS = {  # of SparkPost's extended error codes
    "1100": Topic.AUTHENTICATION,
    "1303": Topic.AUTHENTICATION,
    "1304": Topic.AUTHENTICATION,
    "2101": Topic.HOURLY,
    "2102": Topic.QUOTA,
    "2103": Topic.QUOTA,
    "7001": Topic.IDENTITY,
}
_ADDRESS = re.compile(r"[^\s@]@[^\s@]")


class SparkPostPayload(LeanPayload, sparkpost.SparkPostPayload):  # type: ignore[misc]
    """SparkPost's payload: bodies go out as they were written, and To and Cc name all recipients."""

    never_empty = frozenset({"subject", "body"})

    def init_payload(self) -> None:
        """Begin the document. Transactional: SparkPost adds no List-Unsubscribe of its own."""
        super().init_payload()
        self.data["options"] = {"perform_substitutions": False, "transactional": True}

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, without those that SparkPost writes itself."""
        if "List-Unsubscribe" in headers:
            self.unsupported_feature("List-Unsubscribe")
        super().set_extra_headers(leave_out(headers, SET_BY_PROVIDER))

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set our id, and of the rest what there is room for."""
        super().set_metadata(fit_metadata(metadata, size=MAX_METADATA))

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set the first tag that fits: SparkPost has one for each email."""
        super().set_tags([tag for tag in tags if len(tag.encode()) <= MAX_TAG][:1])

    def serialize_data(self) -> bytes:
        """Return the document. Raises AnymailUnsupportedFeature for a header that SparkPost would change."""
        body: bytes = super().serialize_data()
        if any(_TEMPLATE in text for text in self._list_header_texts()):
            self.unsupported_feature(f"{_TEMPLATE} in a header")
        return body

    def _finalize_recipients(self) -> None:
        super()._finalize_recipients()
        shown = find_shown(self.message, self.backend.idna_encode)
        if shown.get("To"):
            for recipient in self.data["recipients"]:
                recipient["address"]["header_to"] = shown["To"]
        if shown.get("Cc"):
            self.data["content"].setdefault("headers", {})["Cc"] = shown["Cc"]

    def _list_header_texts(self) -> Iterator[str]:
        content = self.data["content"]
        yield from (content.get(name, "") for name in ("subject", "from", "reply_to"))
        yield from content.get("headers", {}).values()
        yield from (recipient["address"]["header_to"] for recipient in self.data["recipients"][:1])


class SparkPostApi(AnymailApi):
    """SparkPost's transmissions API for one account."""

    accepted_status = 200
    payload_class = SparkPostPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(
            sparkpost.EmailBackend(
                api_key=options["api_key"], api_url=options["api_url"], subaccount=None, **NO_GLOBAL_FALLBACK
            )
        )

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of the transmission; None if it rejects some of several recipients and does not name them."""
        match _read_results(answer):
            case {
                "id": str(name),
                "total_accepted_recipients": int(accepted),
                "total_rejected_recipients": int(rejected),
            }:
                named = sum(1 for words in _list_recipient_errors(answer) if _ADDRESS.search(words))
                return name if not accepted or not rejected or named == rejected else None
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of `{"errors": [{"message": …, "description": …}]}`."""
        return "; ".join([*_list_errors(answer.parse_json()), *_list_recipient_errors(answer)])

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the first known code of the errors is about."""
        codes = (str(error.get("code")) for error in _find_errors(answer.parse_json()))
        return next((_TOPICS[code] for code in codes if code in _TOPICS), None)

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that the answer names, or all if it accepts none; a refusal may be about unnamed ones."""
        errors = _list_recipient_errors(answer)
        reasons = {address: words for words in errors for address in find_named(words, recipients)}
        match _read_results(answer):
            case {"id": str(), "total_accepted_recipients": 0}:
                words = self.read_error(answer) or "SparkPost rejected all recipients."
                return RejectedRecipients(reasons={address: reasons.get(address, words) for address in recipients})
        return RejectedRecipients(reasons=reasons, has_unnamed=bool(errors)) if errors else NONE_REJECTED


def _read_results(answer: HttpAnswer) -> Mapping[str, Any]:
    document = answer.parse_json()
    results = document.get("results") if isinstance(document, dict) else None
    return results if isinstance(results, dict) else {}


def _list_recipient_errors(answer: HttpAnswer) -> list[str]:
    """Return the words about single recipients, which SparkPost gives in addition to the counts."""
    return _list_errors({"errors": _read_results(answer).get("rcpt_to_errors")})


def _list_errors(document: Any) -> list[str]:
    """Return message and description of each error of a document."""
    texts = ([error.get(name) for name in ("message", "description")] for error in _find_errors(document))
    found = (": ".join(text for text in words if isinstance(text, str) and text) for words in texts)
    return [words for words in found if words]


def _find_errors(document: Any) -> list[Mapping[str, Any]]:
    errors = document.get("errors") if isinstance(document, dict) else None
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


SPARKPOST = ProviderKind(
    key="sparkpost",
    label="SparkPost",
    transport=Transport.HTTP,
    api=SparkPostApi,
    capabilities=Capabilities(
        features=(IN_MIME - {Feature.UNSUBSCRIBE}) | {Feature.TAGS, Feature.METADATA},
        max_size=20_000_000,
        max_recipients=1000,
        never_empty=SparkPostPayload.never_empty,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=True,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        build_api_url("https://api.sparkpost.com/api/v1/", "Another one for the EU, or for SparkPost Enterprise."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"sparkpost": read_key},
    regions={"us": "https://api.sparkpost.com/api/v1/", "eu": "https://api.eu.sparkpost.com/api/v1/"},
)
