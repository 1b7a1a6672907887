"""Postmark: its account, what it can carry, its requests and its answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from anymail.backends import postmark

from providers.kinds.anymail_api import NO_GLOBAL_FALLBACK, AnymailApi, LeanPayload
from providers.kinds.attachments import refuse_extensions
from providers.kinds.base import CA, MAX_CONNECTIONS, Option, ProviderKind, Transport, build_api_url, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named
from providers.reply_words import Topic

MAX_BODY = 5_000_000  # bytes of the text, and of the HTML
MAX_TAG = 1000  # characters
MAX_FIELDS, MAX_NAME, MAX_VALUE = 10, 20, 80  # of the metadata; a request with more is refused

_PROGRAMS = """
    bat bin chm com cpl crt exe hlp hta inf ins isp jse lnk mdb msc msi msp mst pcd pif reg scr sct shs vba vbe vbs wsf wsh
    wsl
"""
_REFUSED_EXTENSIONS = frozenset(_PROGRAMS.split())
_TOPICS = {
    10: Topic.AUTHENTICATION,
    100: Topic.SYSTEM,  # maintenance
    400: Topic.IDENTITY,
    401: Topic.IDENTITY,
    405: Topic.QUOTA,  # no credits are left
    406: Topic.MAILBOX_CLOSED,  # all recipients are inactive
    411: Topic.CONTENT,  # an attachment of a forbidden type
    412: Topic.SUSPENDED,  # the account waits for approval
    413: Topic.SUSPENDED,
    429: Topic.RATE,
    **dict.fromkeys(range(1220, 1240), Topic.OPTIONS),  # about message streams
}
_INVALID_REQUEST, _INACTIVE = 300, 406
_RECIPIENT_REJECTED = re.compile(r"(?:invalid|error parsing) '(?:to|b?cc)'", re.IGNORECASE)
_INACTIVE_LIST = re.compile(r"inactive addresses:(.*)\.\s*Inactive recipients", re.IGNORECASE | re.DOTALL)


class PostmarkPayload(LeanPayload, postmark.PostmarkPayload):  # type: ignore[misc]
    """Postmark's payload."""

    never_empty = frozenset({"subject", "body"})

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers, and ask to keep the Message-ID. Postmark sets the date itself."""
        sent = {name: value for name, value in headers.items() if name.lower() != "date"}
        super().set_extra_headers({**sent, "X-PM-KeepID": "true"})

    def set_text_body(self, body: str) -> None:
        """Set the text. Raises ValueError if it is too large."""
        super().set_text_body(_check_body(body))

    def set_html_body(self, body: str) -> None:
        """Set the HTML. Raises ValueError if it is too large."""
        super().set_html_body(_check_body(body))

    def set_attachments(self, attachments: Sequence[Any]) -> None:
        """Set the attachments. Raises ValueError for one that Postmark refuses."""
        refuse_extensions([attachment.name or "" for attachment in attachments], _REFUSED_EXTENSIONS, "Postmark")
        super().set_attachments(attachments)

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set the first tag that fits: an email has one."""
        super().set_tags([tag for tag in tags if len(tag) <= MAX_TAG][:1])

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set as much of the metadata as fits, first the id by which Mercury knows the email."""
        ours_first = sorted(metadata, key=lambda name: name != "mercury_id")
        fitting = [name for name in ours_first if len(name) <= MAX_NAME and len(metadata[name]) <= MAX_VALUE]
        super().set_metadata({name: metadata[name] for name in fitting[:MAX_FIELDS]})


def _check_body(body: str) -> str:
    if len(body.encode()) > MAX_BODY:
        raise ValueError(f"Postmark carries a text and an HTML of at most {MAX_BODY:,} bytes each.")
    return body


class PostmarkApi(AnymailApi):
    """Postmark's email API for one account, which is a server with a message stream."""

    accepted_status = 200
    payload_class = PostmarkPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        backend = postmark.EmailBackend(
            server_token=options["api_key"],
            api_url=options["api_url"],
            message_stream=options.get("message_stream"),
            use_bulk_api=False,
            generate_message_id=False,
            **NO_GLOBAL_FALLBACK,
        )
        super().__init__(backend)

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of a `{"ErrorCode": 0, "Message": …, "MessageID": …}`; a delayed email has no code."""
        match answer.parse_json():
            case {"MessageID": str(name), "Message": str()} if _read_code(answer) in (0, None):
                return name
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"ErrorCode": …, "Message": …}`."""
        match answer.parse_json():
            case {"ErrorCode": int(), "Message": str(words)}:
                return words
        return ""

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what its `ErrorCode` is about. That of an invalid request says nothing."""
        code = _read_code(answer)
        return None if code is None else _TOPICS.get(code)

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return those of To, Cc and Bcc that are invalid, and those that Postmark no longer sends to."""
        words, code = self.read_error(answer), _read_code(answer)
        if code in (0, _INACTIVE) and (found := _INACTIVE_LIST.search(words)):
            return RejectedRecipients(reasons=dict.fromkeys(find_named(found[1], recipients), words))
        if code == _INVALID_REQUEST and _RECIPIENT_REJECTED.match(words):
            return RejectedRecipients(reasons=dict.fromkeys(find_named(words, recipients), words), has_unnamed=True)
        return NONE_REJECTED


def _read_code(answer: HttpAnswer) -> int | None:
    match answer.parse_json():
        case {"ErrorCode": int(code)}:
            return code
    return None


POSTMARK = ProviderKind(
    key="postmark",
    label="Postmark",
    transport=Transport.HTTP,
    api=PostmarkApi,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.TAGS, Feature.METADATA},
        max_size=10_000_000,
        max_recipients=50,
        never_empty=PostmarkPayload.never_empty,
        keeps_message_id=True,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        Option(name="api_key", label="Server API token", required=True, secret=True),
        Option(
            name="message_stream",
            label="Message stream",
            help="The id of a stream of the server. Empty: its transactional stream, `outbound`.",
        ),
        build_api_url("https://api.postmarkapp.com/", "Change it only for a proxy of your own."),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"postmark": read_key},
)
