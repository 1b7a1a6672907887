"""Brevo, formerly Sendinblue: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anymail.backends import brevo

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, SET_BY_PROVIDER, AnymailApi, LeanPayload, leave_out
from providers.kinds.attachments import require_extensions
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import RejectedRecipients, find_in_words
from providers.reply_words import Topic

MAX_TAGS, MAX_TAG = 10, 64  # Brevo documents no limits; these are those of others

_FILES = """
    aif aifc aiff avi bmp cgm css csv doc docm docx eps ez flac gif htm html ics jpeg jpg m4a m4v mkv mobi mov mp3 mp4 mpeg mpg
    msg odt ods ogg pdf pkpass png ppt pptx pub rtf shtml tar tif tiff txt wav wma wmv xls xlsm xlsx xml zip
"""
_ALLOWED_EXTENSIONS = frozenset(_FILES.split())
_TEMPLATE = re.compile(r"\{[{%]")
_TOPICS = {
    "unauthorized": Topic.AUTHENTICATION,
    "permission_denied": Topic.AUTHENTICATION,
    "reseller_permission_denied": Topic.AUTHENTICATION,
    "account_under_validation": Topic.SUSPENDED,
    "not_enough_credits": Topic.QUOTA,
}
_RECIPIENT_REJECTED = re.compile(r"\bnot valid in (?:to|b?cc)\b", re.IGNORECASE)


class BrevoPayload(LeanPayload, brevo.BrevoPayload):  # type: ignore[misc]
    """Brevo's payload."""

    never_empty = frozenset({"subject", "body"})

    def set_subject(self, subject: str) -> None:
        """Set the subject. Raises ValueError for a template."""
        super().set_subject(_check_template(subject))

    def set_text_body(self, body: str) -> None:
        """Set the text. Raises ValueError for a template."""
        super().set_text_body(_check_template(body))

    def set_html_body(self, body: str) -> None:
        """Set the HTML. Raises ValueError for a template."""
        super().set_html_body(_check_template(body))

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, except those that Brevo sets itself."""
        super().set_extra_headers(leave_out(headers, SET_BY_PROVIDER))

    def set_attachments(self, attachments: Sequence[Any]) -> None:
        """Set the attachments. Raises ValueError for one that Brevo refuses."""
        require_extensions([attachment.name or "" for attachment in attachments], _ALLOWED_EXTENSIONS, "Brevo")
        super().set_attachments(attachments)

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set the id by which Mercury knows the email. The rest would be in a header that recipients may see."""
        if "mercury_id" in metadata:
            self.data["headers"]["X-Mailin-custom"] = f'{{"mercury_id":"{metadata["mercury_id"]}"}}'

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set the tags that fit."""
        super().set_tags([tag for tag in tags if len(tag) <= MAX_TAG][:MAX_TAGS])

    def serialize_data(self) -> bytes:
        """Return the document, with the text as HTML, too, if there is no other: Brevo refuses an email without."""
        self.data.setdefault("htmlContent", build_html(self.data.get("textContent", " ")))
        document: bytes = super().serialize_data()
        return document


def build_html(text: str) -> str:
    """Return a text as HTML that looks like it."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return f'<html><body><div style="white-space: pre-wrap">{"<br>".join(map(escape, lines))}</div></body></html>'


def _check_template(text: str) -> str:
    """Return the text. Raises ValueError if Brevo would take it for a template and replace parts of it."""
    if _TEMPLATE.search(text):
        raise ValueError("Brevo would replace what is between {{ or {% and its end in the subject or the body.")
    return text


class BrevoApi(AnymailApi):
    """Brevo's transactional email API for one account."""

    accepted_status = 201
    wait_header = "X-Sib-RateLimit-Reset"
    payload_class = BrevoPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        backend = brevo.EmailBackend(
            api_key=options["api_key"],
            api_url=options["api_url"],
            workaround_display_name_bugs=True,
            prevent_header_encoding_bugs=True,
            **NO_GLOBAL_FALLBACK,
        )
        super().__init__(backend)

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of a `{"messageId": "<…>"}`."""
        match answer.parse_json():
            case {"messageId": str(name)} if name:
                return name.strip("<>")
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"code": …, "message": …}`."""
        return _read_error(answer)[1]

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the `code` of the error is about; that of an invalid request says nothing."""
        return _TOPICS.get(_read_error(answer)[0])

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal is about. Brevo names the field that has one, mostly not the address."""
        return find_in_words(_read_error(answer)[1], recipients, rejection=_RECIPIENT_REJECTED)


def _read_error(answer: HttpAnswer) -> tuple[str, str]:
    """Return code and words of the error; empty ones if it is none."""
    match answer.parse_json():
        case {"code": str(code), "message": str(words)}:
            return code, words
    return "", ""


_NOT_CARRIED = frozenset({Feature.INLINE, Feature.REPLY_TO_LIST, Feature.HEADERS_UTF8})

BREVO = ProviderKind(
    key="brevo",
    label="Brevo",
    transport=Transport.HTTP,
    api=BrevoApi,
    capabilities=Capabilities(
        features=(IN_MIME | {Feature.TAGS}) - _NOT_CARRIED,
        max_size=20_000_000,
        max_recipients=99,
        never_empty=BrevoPayload.never_empty,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=False,
        reports_delivery=True,
        sends_text_alone=False,
    ),
    options=(
        API_KEY,
        build_api_url("https://api.brevo.com/v3/", "Change it only for a proxy of your own."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"brevo": read_key},
)
