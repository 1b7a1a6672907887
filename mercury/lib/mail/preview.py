"""A mail in bytes as a person may look at it: text, HTML, headers, source, files. Knows no model and no account.

Nothing in a mail is trusted: whatever the bytes are, reading them raises nothing, and what is found is text that can be
encoded. A page still passes it through `printable`.
"""

from __future__ import annotations

import base64
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message

from django.http import HttpResponse
from django.utils.http import content_disposition_header

from mercury.lib.mail import encoded_words, html_cleaning
from mercury.lib.mail.html_cleaning import CleanHtml

SOURCE_SHOWN = 200_000  # bytes
TEXT_SHOWN = 200_000  # characters
PICTURE_SHOWN = 1_000_000  # bytes; a larger one is a file only
_PICTURES = frozenset({"image/png", "image/gif", "image/jpeg", "image/webp"})


@dataclass(frozen=True, slots=True)
class File:
    """A part that is neither the text nor the HTML. It is downloaded, never shown."""

    number: int  # its place among the files, from 1
    name: str
    kind: str  # its media type, as the mail says
    content: bytes
    content_id: str

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)


@dataclass(frozen=True, slots=True)
class MailPreview:
    """Parts of an email. `html` is as it was sent: only `clean_html` makes it safe to show."""

    source: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    html: str = ""
    files: list[File] = field(default_factory=list)
    goes_on: bool = False  # whether the mail is longer than what was read here

    @property
    def source_shown(self) -> str:
        """Return the beginning of the source as text."""
        return self.source[:SOURCE_SHOWN].decode("utf-8", "replace")

    @property
    def is_cut(self) -> bool:
        """Return True if the source is longer than what is shown."""
        return self.goes_on or len(self.source) > SOURCE_SHOWN

    @property
    def remote_images(self) -> int:
        """Return how many remote images the HTML has."""
        return self.clean_html(remote_images=False).remote_images

    def find_file(self, number: int) -> File | None:
        """Return the file with this number."""
        return next((file for file in self.files if file.number == number), None)

    def clean_html(self, *, remote_images: bool) -> CleanHtml:
        """Return the HTML as it may be shown in the frame."""
        pictures = {file.content_id: _build_data_url(file) for file in self.files if _is_shown_inside(file)}
        return html_cleaning.clean(self.html, pictures=pictures, remote_images=remote_images)


def read(source: bytes) -> MailPreview:
    """Parse an email. Parts that cannot be read are left out; the source is always available."""
    try:
        message = email.message_from_bytes(source, policy=email.policy.compat32)
        parts = list(_list_leaves(message))
    except (RecursionError, ValueError):  # nested without end; a boundary that is none
        return MailPreview(source)
    bodies: dict[str, str] = {}
    files: list[File] = []
    for part in parts:
        kind = part.get_content_type()
        if kind in ("text/plain", "text/html") and kind not in bodies and not _is_attachment(part):
            bodies[kind] = _read_text(part)[:TEXT_SHOWN] if kind == "text/plain" else _read_text(part)
        else:
            files.append(_build_file(part, len(files) + 1))
    headers = [(_sanitize_type(name), decode_part(value)) for name, value in message.items()]
    return MailPreview(source, headers, bodies.get("text/plain", ""), bodies.get("text/html", ""), files)


def decode_part(header: object) -> str:
    """Return a header's value with its encoded words (RFC 2047) decoded, or unchanged where they cannot be."""
    return _sanitize_type(encoded_words.read(str(header)))


def build_html_response(preview: MailPreview, *, remote_images: bool) -> HttpResponse:
    """Return the HTML for the frame."""
    return html_cleaning.build_response(preview.clean_html(remote_images=remote_images), remote_images=remote_images)


def build_file_response(file: File) -> HttpResponse:
    """Return a file as a download, never to be shown, whatever type it claims."""
    return _download(file.content, file.name, "application/octet-stream")


def source_response(source: bytes, name: str) -> HttpResponse:
    """Return the whole email as a download that any mail program opens."""
    return _download(source, f"{name}.eml", "message/rfc822")


def _download(content: bytes, name: str, kind: str) -> HttpResponse:
    answer = HttpResponse(content, content_type=kind)
    answer["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name)
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def _list_leaves(message: Message) -> Iterator[Message]:
    """Return the parts with content, in their order. A forwarded email is one part."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        payload = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            waiting += [inner for inner in reversed(payload) if isinstance(inner, Message)]
        else:
            yield part


def _is_attachment(part: Message) -> bool:
    return str(part.get("Content-Disposition", "")).strip().lower().startswith("attachment")


def _read_content(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload
    inner = part.get_payload()
    return (
        b"\n".join(message.as_bytes() for message in inner if isinstance(message, Message))
        if isinstance(inner, list)
        else b""
    )


def _read_text(part: Message) -> str:
    """Return the part's text, with the line ends of a page."""
    content = _read_content(part)
    charset = part.get_content_charset("utf-8")
    try:
        text = _sanitize_type(content.decode(charset, "replace"))
    except (LookupError, ValueError):  # no character set, or one that only encodes
        text = content.decode("utf-8", "replace")
    return text.replace("\r\n", "\n")


def _build_file(part: Message, number: int) -> File:
    kind = part.get_content_type()
    name = _sanitize_type(part.get_filename() or "").replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[^\w.()+ -]", "_", name).strip(". ")[:120]  # \w knows no mark that turns the writing direction
    content_id = str(part.get("Content-ID", "")).strip().strip("<>")
    return File(number, name or f"part-{number}", _sanitize_type(kind), _read_content(part), _sanitize_type(content_id))


def _is_shown_inside(file: File) -> bool:
    return bool(file.content_id) and file.kind in _PICTURES and file.size <= PICTURE_SHOWN


def _build_data_url(file: File) -> str:
    return f"data:{file.kind};base64,{base64.b64encode(file.content).decode()}"


def _sanitize_type(text: str) -> str:
    """Return the text without lone surrogates, which no response can encode."""
    return text.encode("utf-8", "replace").decode()
