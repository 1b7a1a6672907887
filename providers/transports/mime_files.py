"""The files of an email as parts of it (RFC 2045, RFC 2183, RFC 2387): in base64, so that nothing on the way changes them.

`multipart/mixed[multipart/related[bodies, inline files …], files …]`, without a level that would have one part only.
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from email.mime.base import MIMEBase
from typing import Any, NamedTuple
from urllib.parse import quote

OCTETS = "application/octet-stream"
_LINE = 76  # characters of a line, RFC 2045 §6.8
_PART_OF_NAME = 56  # characters, so that a part with its name is in a line
_BLOCK = 57 * 4096  # octets that are encoded at once: whole lines
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")  # RFC 2045 §5.1
_QUOTABLE = re.compile(r"[ -~]{1,60}")
_TYPE = re.compile(r"[!-~]+/[!-~]+")
_OF_PARTS = (b"content-type", b"content-transfer-encoding")
_CONTENT_ID = re.compile(r"[!-;=?-~]+")  # printable, without angle brackets


class AttachedFile(NamedTuple):
    """A file as it is attached. Inline if it has a Content-ID."""

    filename: str
    content: bytes
    content_type: str
    content_id: str = ""


class InlineFile(MIMEBase):
    """A file that the HTML shows, in the form that Django and anymail take: their payloads ask for its bytes."""

    def __init__(self, filename: str, content: bytes, content_type: str, content_id: str) -> None:
        main, _, sub = content_type.partition("/")
        super().__init__(main, sub)
        self.file = AttachedFile(filename, content, content_type, content_id)
        self.add_header("Content-ID", f"<{content_id}>")
        self.add_header("Content-Disposition", "inline", filename=filename)

    def get_payload(self, i: int | None = None, decode: bool = False) -> Any:
        """Return the bytes, or their base64."""
        return self.file.content if decode else b"".join(encode(self.file.content)).decode()


def list_files(attachments: Sequence[Any]) -> list[AttachedFile]:
    """Return the attachments of a Django message. Raises ValueError for another form than this project attaches."""
    return [_read(attachment) for attachment in attachments]


def count_bytes(attachments: Sequence[Any]) -> int:
    """Return the bytes of their contents."""
    return sum(len(file.content) for file in list_files(attachments))


def enclose(content: bytes, attachments: Sequence[Any], *, mark: str) -> bytes:
    """Return the message with its files. `mark`: makes the lines between its parts (RFC 2046 §5.1.1) unlike any in them."""
    files = list_files(attachments)
    if not files:
        return content
    inline = [file for file in files if file.content_id]
    attached = [file for file in files if not file.content_id]
    headers, bodies = _split_headers(content)
    pieces: list[bytes] = bodies
    if inline:
        pieces = _combine("related", pieces, inline, f"=_related_{mark}", more=_name_root(pieces[0]))
    if attached:
        pieces = _combine("mixed", pieces, attached, f"=_mixed_{mark}")
    return b"".join([headers, b"MIME-Version: 1.0\r\n", *pieces])


def encode(content: bytes) -> Iterator[bytes]:
    """Yield base64 in lines, in blocks: a list of all lines would need twice the memory of the content."""
    view = memoryview(content)
    for start in range(0, len(content), _BLOCK):
        block = binascii.b2a_base64(view[start : start + _BLOCK], newline=False)
        yield b"\r\n".join([block[at : at + _LINE] for at in range(0, len(block), _LINE)]) + b"\r\n"


def _read(attachment: Any) -> AttachedFile:
    if isinstance(attachment, InlineFile):
        return attachment.file
    if not isinstance(attachment, tuple) or not isinstance(attachment[1], bytes):
        raise ValueError("an attachment is neither bytes nor an inline file")
    filename, content, content_type = attachment
    return AttachedFile(filename or "", content, content_type or OCTETS)


def _split_headers(content: bytes) -> tuple[bytes, list[bytes]]:
    """Split a message into the headers that stay at its top, and what becomes its first part."""
    head, _, body = content.partition(b"\r\n\r\n")
    top: list[bytes] = []
    own: list[bytes] = []
    of_part = False
    for line in head.split(b"\r\n"):
        if not line.startswith((b" ", b"\t")):
            name = line.partition(b":")[0].lower()
            of_part = name in _OF_PARTS
            if name == b"mime-version":
                continue
        (own if of_part else top).append(line + b"\r\n")
    return b"".join(top), [b"".join(own), b"\r\n", body]


def _name_root(headers: bytes) -> str:
    """Return the parameter that names the type of the first part (RFC 2387 §3.1)."""
    match = re.match(rb"content-type:\s*([^\s;]+)", headers, re.IGNORECASE)
    return f'; type="{match[1].decode()}"' if match else ""


def _combine(
    subtype: str, first: Sequence[bytes], files: Sequence[AttachedFile], boundary: str, *, more: str = ""
) -> list[bytes]:
    """Return a multipart of the first part, which has its headers, and these files."""
    begin = f"--{boundary}\r\n".encode()
    head = f'Content-Type: multipart/{subtype}{more};\r\n boundary="{boundary}"\r\n\r\n'.encode()
    pieces = [head, begin, *first, b"\r\n"]
    for file in files:
        pieces += [begin, _describe(file), *encode(file.content)]
    return [*pieces, f"--{boundary}--\r\n".encode()]


def _describe(file: AttachedFile) -> bytes:
    """Return the headers of a part. Raises ValueError if a value would end its header."""
    if not _TYPE.fullmatch(file.content_type) or (file.content_id and not _CONTENT_ID.fullmatch(file.content_id)):
        raise ValueError("the type or Content-ID of a file has a character that a header may not have")
    content_type = OCTETS if file.content_type.startswith(("message/", "multipart/")) else file.content_type
    disposition = "inline" if file.content_id else "attachment"
    lines = [
        f"Content-Type: {content_type}",
        "Content-Transfer-Encoding: base64",
        *_join_parameters(f"Content-Disposition: {disposition}", _name(file.filename)),
        *([f"Content-ID: <{file.content_id}>"] if file.content_id else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _name(filename: str) -> list[str]:
    """Return the parameter with the name: as it is, in quotes, or as RFC 2231 has other letters and long names, in parts."""
    if not filename:
        return []
    if _TOKEN.fullmatch(filename) and len(filename) <= 60:
        return [f"filename={filename}"]
    if _QUOTABLE.fullmatch(filename) and not set(filename) & {'"', "\\"}:
        return [f'filename="{filename}"']
    parts = ["utf-8''"]
    for character in filename:
        octets = quote(character, safe="")
        if len(parts[-1]) + len(octets) > _PART_OF_NAME:
            parts.append("")
        parts[-1] += octets
    if len(parts) == 1:
        return [f"filename*={parts[0]}"]
    return [f"filename*{number}*={part}" for number, part in enumerate(parts)]


def _join_parameters(header: str, parameters: Sequence[str]) -> list[str]:
    """Return the lines of a header with its parameters (RFC 2231 §3)."""
    lines = [header]
    for parameter in parameters:
        if len(lines[-1]) + len(parameter) + len("; ;") > _LINE:
            lines[-1] += ";"
            lines.append(f" {parameter}")
        else:
            lines[-1] += f"; {parameter}"
    return lines
