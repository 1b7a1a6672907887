"""An email in bytes as a person may look at it: text, HTML, headers, source, files. Knows no model and no account.

Nothing in an email is trusted: whatever the bytes are, reading them raises nothing, and what is found is text that can be
encoded. A page still passes it through `printable`.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from typing import IO

from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.utils.http import content_disposition_header

from mercury.lib.mail import encoded_words, html_cleaning, pictures
from mercury.lib.mail.html_cleaning import CleanHtml

SOURCE_SHOWN = 200_000  # bytes
TEXT_SHOWN = 200_000  # characters
PICTURE_SHOWN = 10_000_000  # bytes; a larger one is a file only


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A part that is neither the text nor the HTML. It is downloaded, never shown, except for a picture within the HTML."""

    number: int  # its place among the files, from 1
    name: str
    kind: str  # its media type, as the mail says
    size: int  # bytes
    content_id: str = ""
    content: bytes = b""  # where it was read
    is_kept: bool = True  # False: its content is deleted

    @property
    def is_shown_inside(self) -> bool:
        """Return True if the HTML may show it."""
        return bool(self.content_id) and self.is_kept and self.kind in pictures.TYPES and self.size <= PICTURE_SHOWN


@dataclass(frozen=True, slots=True)
class MailPreview:
    """Parts of an email. `html` is as it was sent: only `clean_html` makes it safe to show."""

    source: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    html: str = ""
    files: list[File] = field(default_factory=list)
    goes_on: bool = False  # whether the mail is longer than what was read here
    leaves_out_files: bool = False  # whether the source is without the contents of its files

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

    def clean_html(self, *, remote_images: bool, picture_path: Callable[[int], str] | None = None) -> CleanHtml:
        """Return the HTML as it may be shown in the frame. `picture_path`: the path of the picture with this number."""
        shown = [file for file in self.files if picture_path and file.is_shown_inside]
        urls = {file.content_id: pictures.sign(picture_path(file.number)) for file in shown if picture_path}
        return html_cleaning.clean(self.html, pictures=urls, remote_images=remote_images)


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
    headers = [(_sanitize_type(name), decode_part(_read_utf8(value))) for name, value in message.raw_items()]
    return MailPreview(source, headers, bodies.get("text/plain", ""), bodies.get("text/html", ""), files)


def _read_utf8(header: object) -> str:
    """Return a header's value as text; its octets beyond ASCII are UTF-8 (RFC 6532)."""
    return str(header).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def decode_part(header: object) -> str:
    """Return a header's value with its encoded words (RFC 2047) decoded, or unchanged where they cannot be."""
    return _sanitize_type(encoded_words.read(str(header)))


def build_html_response(
    preview: MailPreview, *, remote_images: bool, picture_path: Callable[[int], str]
) -> HttpResponse:
    """Return the HTML for the frame. `picture_path`: the path of the picture with this number."""
    harmless = preview.clean_html(remote_images=remote_images, picture_path=picture_path)
    return html_cleaning.build_response(harmless, remote_images=remote_images)


def build_file_response(content: bytes | IO[bytes], name: str) -> HttpResponseBase:
    """Return a file as a download, never to be shown, whatever type it claims. An open file is sent in chunks, and closed."""
    return _download(content, name, "application/octet-stream")


def clean_name(name: str, number: int) -> str:
    """Return the name of a file as pages show it and browsers save it: no path, no control character."""
    last = _sanitize_type(name).replace("\\", "/").rpartition("/")[2]
    clean = re.sub(r"[^\w.()+ -]", "_", last).strip(". ")[:120]  # \w knows no mark that turns the writing direction
    return clean or f"part-{number}"


def build_source_response(source: bytes, name: str) -> HttpResponseBase:
    """Return the whole email as a download that any mail program opens."""
    return _download(source, f"{name}.eml", "message/rfc822")


def _download(content: bytes | IO[bytes], name: str, kind: str) -> HttpResponseBase:
    answer: HttpResponseBase
    if isinstance(content, bytes):
        answer = HttpResponse(content, content_type=kind)
    else:
        answer = FileResponse(content, content_type=kind)
    answer["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
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
    content = _read_content(part)
    return File(
        number=number,
        name=clean_name(part.get_filename() or "", number),
        kind=_sanitize_type(part.get_content_type()),
        size=len(content),
        content_id=_sanitize_type(str(part.get("Content-ID", "")).strip().strip("<>")),
        content=content,
    )


def _sanitize_type(text: str) -> str:
    """Return the text without lone surrogates, which no response can encode."""
    return text.encode("utf-8", "replace").decode()
