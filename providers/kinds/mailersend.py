"""MailerSend: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anymail.backends import mailersend
from anymail.utils import Attachment

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, AnymailApi, LeanPayload
from providers.kinds.attachments import require_extensions
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named
from providers.reply_words import Topic

MAX_TAGS = 5
MAX_RECIPIENTS = 10  # in Cc, and in Bcc; 50 in To
# Extensions of files that MailerSend takes; it gives a file the type of its extension.
EXTENSIONS = frozenset(
    [
        "ai",
        "aif",
        "aifc",
        "aiff",
        "avi",
        "bmp",
        "css",
        "csv",
        "doc",
        "docx",
        "eps",
        "epub",
        "flac",
        "gif",
        "ics",
        "indd",
        "jpe",
        "jpeg",
        "jpg",
        "key",
        "log",
        "m4a",
        "m4v",
        "mkv",
        "mobi",
        "mov",
        "mp3",
        "mp4",
        "mpeg",
        "mpg",
        "numbers",
        "odp",
        "ods",
        "odt",
        "ogg",
        "ott",
        "pages",
        "pdf",
        "png",
        "pps",
        "ppt",
        "pptx",
        "psd",
        "pub",
        "rtf",
        "svg",
        "tif",
        "tiff",
        "txt",
        "vcf",
        "wav",
        "wma",
        "wmv",
        "xls",
        "xlsx",
        "zip",
    ]
)
_ADDED_BY_MERCURY = frozenset({"date", "message-id", "x-mercury-id"})
_RECIPIENT_FIELD = re.compile(r"(to|b?cc)\.(\d{1,4})(?:\.email)?")
_CODE = re.compile(r"#(MS\d{5})\b")
_TOPICS = {"MS42205": Topic.SUSPENDED, "MS42207": Topic.IDENTITY, "MS42225": Topic.SUSPENDED}  # of plan, sender, trial
_SUPPRESSIONS = frozenset({"ALL_SUPPRESSED", "SOME_SUPPRESSED"})


class MailerSendPayload(LeanPayload, mailersend.MailerSendPayload):  # type: ignore[misc]
    """MailerSend's payload. It has no place for our id: neither metadata nor, without an Enterprise plan, headers."""

    never_empty = frozenset({"subject", "body"})

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Leave Mercury's own headers out. Raises AnymailUnsupportedFeature for one that the sender wrote."""
        if any(name.lower() not in _ADDED_BY_MERCURY for name in headers):
            self.unsupported_feature("custom headers without an Enterprise plan")

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Leave the metadata out: MailerSend has none."""

    def set_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Set the attachments. Raises ValueError for a type that MailerSend refuses."""
        super().set_attachments(attachments)
        names = [attached["filename"] or "" for attached in self.data["attachments"]]
        require_extensions(names, EXTENSIONS, "MailerSend")

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set as many tags as MailerSend takes."""
        super().set_tags(tags[:MAX_TAGS])


class MailerSendApi(AnymailApi):
    """MailerSend's email API for one account."""

    accepted_status = 202
    payload_class = MailerSendPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(
            mailersend.EmailBackend(
                api_token=options["api_key"], api_url=options["api_url"], batch_send_mode=None, **NO_GLOBAL_FALLBACK
            )
        )

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the header `X-Message-Id` of an answer that is empty, or that names suppressed recipients only."""
        is_documented = not answer.text.strip() or bool(_list_suppressed(answer))
        return answer.headers.get("X-Message-Id", "") if is_documented else None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"message": …, "errors": {field: [words]}}`."""
        details = [f"{field}: {words}" for field, words in _list_errors(answer)]
        match answer.parse_json():
            case {"message": str(words)}:
                return "; ".join(details) or words
        return ""

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the first known code in the words is about."""
        return next((_TOPICS[code] for code in _CODE.findall(self.read_error(answer)) if code in _TOPICS), None)

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients on MailerSend's suppression lists, or those that fields of a refusal such as `to.1.email` are.

        `recipients` begin with those in To; one in Cc or Bcc is known by the words only.
        """
        if suppressed := _list_suppressed(answer):
            return RejectedRecipients(reasons=suppressed)
        reasons: dict[str, str] = {}
        for field, words in _list_errors(answer):
            found = _RECIPIENT_FIELD.fullmatch(field)
            if found is None:
                return NONE_REJECTED
            named = find_named(words, recipients)
            if found[1] == "to" and int(found[2]) < len(recipients):
                named = [recipients[int(found[2])]]
            if not named:
                return RejectedRecipients(reasons={}, has_unnamed=True)
            reasons |= dict.fromkeys(named, words)
        return RejectedRecipients(reasons=reasons)


def _list_suppressed(answer: HttpAnswer) -> dict[str, str]:
    """Return the suppressed recipients with their reasons; none if one of the warnings is about something else."""
    document = answer.parse_json()
    warnings = document.get("warnings") if isinstance(document, dict) else None
    if not isinstance(warnings, list) or not all(map(_is_suppression, warnings)):
        return {}
    return dict(_read_suppressed(entry) for warning in warnings for entry in warning["recipients"])


def _is_suppression(warning: Any) -> bool:
    match warning:
        case {"type": str(kind), "recipients": [*entries]} if kind in _SUPPRESSIONS:
            return all(isinstance(entry, dict) and isinstance(entry.get("email"), str) for entry in entries)
    return False


def _read_suppressed(entry: Mapping[str, Any]) -> tuple[str, str]:
    reasons = entry.get("reasons") or entry.get("reason") or []
    words = ", ".join(str(reason) for reason in reasons) if isinstance(reasons, list) else str(reasons)
    return entry["email"], f"MailerSend suppresses this recipient: {words or 'no reason given'}"


def _list_errors(answer: HttpAnswer) -> Iterator[tuple[str, str]]:
    """Return each field of an error document with its words."""
    match answer.parse_json():
        case {"message": str(), "errors": dict(errors)}:
            for field, listed in errors.items():
                for words in listed if isinstance(listed, list) else [listed]:
                    yield str(field), str(words)


MAILERSEND = ProviderKind(
    key="mailersend",
    label="MailerSend",
    transport=Transport.HTTP,
    api=MailerSendApi,
    capabilities=Capabilities(
        features=IN_MIME - {Feature.REPLY_TO_LIST, Feature.HEADERS, Feature.HEADERS_UTF8, Feature.UNSUBSCRIBE}
        | {Feature.TAGS},
        max_size=25_000_000,
        max_recipients=MAX_RECIPIENTS,
        never_empty=MailerSendPayload.never_empty,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=True,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        build_api_url("https://api.mailersend.com/v1/", "Rarely another one."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"mailersend": read_key},
)
