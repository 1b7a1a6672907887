"""Mandrill (Mailchimp Transactional): its account, what it can carry, its requests and its answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from anymail.backends import mandrill
from anymail.utils import EmailAddress

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, AnymailApi, LeanPayload, encode_headers, fit_metadata
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import RejectedRecipients
from providers.reply_words import Topic

MAX_TAG = 50  # characters
MAX_METADATA = 250  # bytes of JSON
# The errors whose names say that the request was not carried out: status and topic that they stand for.
_ERRORS: Mapping[str, tuple[int, Topic | None]] = {
    "Invalid_Key": (401, Topic.AUTHENTICATION),
    "PaymentRequired": (402, Topic.SUSPENDED),
    "PoorReputation": (403, Topic.REPUTATION),
    "ServiceUnavailable": (503, None),
    "Unknown_Subaccount": (404, Topic.OPTIONS),
    "ValidationError": (422, None),
}
_SENT = frozenset({"sent", "queued", "scheduled"})
_REJECTED = frozenset({"rejected", "invalid"})
# Reasons that reject an email whoever its recipients are.
_ACCOUNT_REASONS: Mapping[str, Topic] = {
    "invalid-sender": Topic.IDENTITY,
    "unsigned": Topic.IDENTITY,
    "test-mode-limit": Topic.QUOTA,
    "rule": Topic.OPTIONS,
}


class MandrillPayload(LeanPayload, mandrill.MandrillPayload):  # type: ignore[misc]
    """Mandrill's payload: one message to all of its recipients, whatever the account's settings are."""

    def init_payload(self) -> None:
        """Begin the document. Without `preserve_recipients` each would see itself in To alone, also one in Bcc."""
        super().init_payload()
        self.data["message"]["preserve_recipients"] = True

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, without the date that Mandrill writes itself."""
        super().set_extra_headers(encode_headers(headers, without={"date"}))

    def set_reply_to(self, emails: Sequence[EmailAddress]) -> None:
        """Set the header, in ASCII."""
        texts = [email.format(use_rfc2047=True, idna_encode=self.backend.idna_encode) for email in emails]
        self.data["message"].setdefault("headers", {})["Reply-To"] = ", ".join(texts)

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set our id, and of the rest what there is room for."""
        super().set_metadata(fit_metadata(metadata, size=MAX_METADATA))

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set the tags that Mandrill takes: of 50 characters at most, and not with `_` first."""
        super().set_tags([tag for tag in tags if len(tag) <= MAX_TAG and not tag.startswith("_")])


class MandrillApi(AnymailApi):
    """Mandrill's messages API for one account. Its key is in the body of each request."""

    accepted_status = 200
    payload_class = MandrillPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        settings = {name: options[name] for name in ("api_key", "api_url")}
        super().__init__(mandrill.EmailBackend(**settings, **NO_GLOBAL_FALLBACK))

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of the first recipient that gets the email; empty if all are rejected."""
        results = _list_results(answer)
        sent = [result for result in results if result["status"] in _SENT]
        return str(sent[0].get("_id") or "") if sent else ("" if results else None)

    def read_error(self, answer: HttpAnswer) -> str:
        """Return name and words of `{"status": "error", "name": …, "message": …}`, or why all recipients are rejected."""
        match answer.parse_json():
            case {"status": "error", "name": str(name), "message": str(words)}:
                return f"{name}: {words}"
        reason = _find_account_reason(answer)
        return f"Mandrill rejected all recipients: {reason}" if reason else ""

    def read_status(self, answer: HttpAnswer) -> int:
        """Return the status that the name of an error stands for: Mandrill answers most errors with a 500."""
        if _find_account_reason(answer):
            return 403
        return _ERRORS.get(_find_error_name(answer), (answer.status_code, None))[0]

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the name of an error, or the reason that rejects all recipients, is about."""
        if reason := _find_account_reason(answer):
            return _ACCOUNT_REASONS[reason]
        return _ERRORS.get(_find_error_name(answer), (0, None))[1]

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients whose status is `rejected` or `invalid`."""
        reasons = {
            result["email"]: f"Mandrill: {result['status']}, {result.get('reject_reason') or 'no reason given'}"
            for result in _list_results(answer)
            if result["status"] in _REJECTED
        }
        return RejectedRecipients(reasons=reasons)


def _list_results(answer: HttpAnswer) -> list[Mapping[str, Any]]:
    """Return the result of each recipient; none if the document is another."""
    document = answer.parse_json()
    if not isinstance(document, list) or not all(map(_is_result, document)):
        return []
    return document


def _is_result(result: Any) -> bool:
    match result:
        case {"email": str(), "status": str(status)}:
            return status in _SENT or status in _REJECTED
    return False


def _find_account_reason(answer: HttpAnswer) -> str:
    """Return the reason that rejects all recipients, if it is about the account; else an empty text."""
    results = _list_results(answer)
    reasons = [str(result.get("reject_reason")) for result in results if result["status"] in _REJECTED]
    about_account = len(reasons) == len(results) and all(reason in _ACCOUNT_REASONS for reason in reasons)
    return reasons[0] if reasons and about_account else ""


def _find_error_name(answer: HttpAnswer) -> str:
    match answer.parse_json():
        case {"status": "error", "name": str(name)}:
            return name
    return ""


MANDRILL = ProviderKind(
    key="mandrill",
    label="Mandrill",
    transport=Transport.HTTP,
    api=MandrillApi,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.TAGS, Feature.METADATA},
        max_size=25_000_000,
        max_recipients=1000,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=True,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        build_api_url("https://mandrillapp.com/api/1.0/", "Rarely another one."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"mandrill": read_key},
)
