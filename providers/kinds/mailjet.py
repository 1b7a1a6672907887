"""Mailjet: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anymail.backends import mailjet

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, SET_BY_PROVIDER, AnymailApi, LeanPayload, encode_headers
from providers.kinds.base import CA, MAX_CONNECTIONS, AccountUrl, Option, ProviderKind, Transport, build_api_url
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.cleaning import clean_login
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named
from providers.reply_words import Topic

MAX_SUBJECT = 255  # characters
# Headers that make Mailjet refuse an email, in addition to those that no sender may set.
_FORBIDDEN = frozenset(
    [
        "sender",
        "return-path",
        "delivered-to",
        "dkim-signature",
        "domainkey-status",
        "received-spf",
        "authentication-results",
        "received",
        "user-agent",
        "x-mailer",
        "x-feedback-id",
        "x-csa-complaints",
        "list-id",
    ]
)
_TOPICS = {
    "mj-0001": Topic.SUSPENDED,
    "mj-0011": Topic.SIZE,
    "mj-0015": Topic.AUTHENTICATION,
    "send-0006": Topic.IDENTITY,
    "send-0007": Topic.IDENTITY,
    "send-0008": Topic.IDENTITY,
    "send-0015": Topic.MANY_RECIPIENTS,
}
_INVALID_ADDRESS = "mj-0013"
_RECIPIENT_FIELD = re.compile(r"(To|B?[Cc]c)(?:\[(\d{1,4})\])?(?:\.Email)?|Email")


class MailjetPayload(LeanPayload, mailjet.MailjetPayload):  # type: ignore[misc]
    """Mailjet's payload. All that does not belong to a recipient is in its globals."""

    never_empty = frozenset({"body"})

    def set_subject(self, subject: str) -> None:
        """Set the subject. Raises AnymailUnsupportedFeature for one that Mailjet refuses."""
        if len(subject) > MAX_SUBJECT:
            self.unsupported_feature(f"a subject of more than {MAX_SUBJECT} characters")
        super().set_subject(subject)

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, without those that Mailjet writes itself."""
        for name in headers:
            if name.lower() in _FORBIDDEN or name.lower().startswith(("x-mj-", "x-mailjet-")):
                self.unsupported_feature(f"the header {name}")
        super().set_extra_headers(encode_headers(headers, without=SET_BY_PROVIDER))

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set the payload of reports, and the id that Mailjet finds an email by."""
        self.data["Globals"]["EventPayload"] = self.serialize_json(metadata).decode()
        self.data["Globals"]["CustomID"] = metadata.get("mercury_id", "")

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set the first tag: Mailjet has one campaign for each email."""
        super().set_tags(tags[:1])


class MailjetApi(AnymailApi):
    """Mailjet's send API v3.1 for one account."""

    accepted_status = 200
    payload_class = MailjetPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        settings = {name: options[name] for name in ("api_key", "secret_key", "api_url")}
        super().__init__(mailjet.EmailBackend(**settings, **NO_GLOBAL_FALLBACK))

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of the first recipient's email of a `{"Messages": [{"Status": "success", "To": […]}]}`."""
        match answer.parse_json():
            case {"Messages": [{"Status": "success", "To": [{"MessageID": int(number)}, *_]}]}:
                return str(number)
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of all errors, each after the fields that it is about."""
        texts = [(", ".join(_list_fields(error)), error.get("ErrorMessage")) for error in _find_errors(answer)]
        return "; ".join(f"{fields}: {words}" if fields else words for fields, words in texts if isinstance(words, str))

    def read_status(self, answer: HttpAnswer) -> int:
        """Return the status of the email's errors, which is not that of the answer if it is a 200."""
        if not 200 <= answer.status_code < 300:
            return answer.status_code
        statuses = [status for error in _find_errors(answer) if isinstance(status := error.get("StatusCode"), int)]
        return max((status for status in statuses if 400 <= status < 500), default=answer.status_code)

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the first known code of the errors is about."""
        codes = (error.get("ErrorCode") for error in _find_errors(answer))
        return next((_TOPICS[code] for code in codes if isinstance(code, str) and code in _TOPICS), None)

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal names, if all its errors are about addresses of recipients.

        `recipients` begin with those in To; one in Cc or Bcc is known by the words only.
        """
        reasons: dict[str, str] = {}
        for error in _find_errors(answer):
            places = [_RECIPIENT_FIELD.fullmatch(field) for field in _list_fields(error)]
            if error.get("ErrorCode") != _INVALID_ADDRESS or not places or not all(places):
                return NONE_REJECTED
            words = str(error.get("ErrorMessage", ""))
            named = find_named(words, recipients) or list(_find_listed(places, recipients))
            if not named:
                return RejectedRecipients(reasons={}, has_unnamed=True)
            reasons |= dict.fromkeys(named, words)
        return RejectedRecipients(reasons=reasons)


def _find_listed(places: Sequence[re.Match[str] | None], recipients: Sequence[str]) -> Iterator[str]:
    """Return the recipients that fields such as `To[1].Email` are about."""
    for place in places:
        if place is not None and place[1] == "To" and place[2] and int(place[2]) < len(recipients):
            yield recipients[int(place[2])]


def _find_errors(answer: HttpAnswer) -> list[Mapping[str, Any]]:
    """Return the errors of the email, or the one of the whole request."""
    match answer.parse_json():
        case {"Messages": [{"Status": "error", "Errors": [*errors]}]}:
            return [error for error in errors if isinstance(error, dict)]
        case {"ErrorMessage": str()} as error:
            return [error]
    return []


def _list_fields(error: Mapping[str, Any]) -> list[str]:
    fields = error.get("ErrorRelatedTo")
    return [field for field in fields if isinstance(field, str)] if isinstance(fields, list) else []


def _read_url(url: AccountUrl) -> Mapping[str, Any]:
    return {"api_key": url.username, "secret_key": url.password}


MAILJET = ProviderKind(
    key="mailjet",
    label="Mailjet",
    transport=Transport.HTTP,
    api=MailjetApi,
    capabilities=Capabilities(
        features=(IN_MIME - {Feature.REPLY_TO_LIST}) | {Feature.TAGS, Feature.METADATA, Feature.SMTPUTF8},
        max_size=15_000_000,
        max_recipients=50,
        never_empty=MailjetPayload.never_empty,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        Option(name="api_key", label="API key", help="The public one of the pair.", required=True, clean=clean_login),
        Option(name="secret_key", label="Secret key", required=True, secret=True),
        build_api_url("https://api.mailjet.com/v3.1/", "Another one for an account in the US."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"mailjet": _read_url},
    regions={"eu": "https://api.mailjet.com/v3.1/", "us": "https://api.us.mailjet.com/v3.1/"},
)
