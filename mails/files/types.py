"""Types of files: what a client declares, against what the content begins with. Uses no database."""

import mimetypes
import re
from pathlib import PurePath

import puremagic

HEAD = 4096  # bytes of a content that tell its type
OCTETS = "application/octet-stream"
MAX_LENGTH = 127  # characters, RFC 4288 §4.2
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*"  # RFC 6838 §4.2
_TYPE = re.compile(rf"({_NAME}/{_NAME})\s*(;.*)?", re.DOTALL)
# Types whose files begin in one way only, and what a page could run if a program believed the content instead of the type.
_BEGINNINGS: dict[str, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/bmp": re.compile(rb"BM"),
    "image/tiff": re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    "application/pdf": re.compile(rb".{0,1024}?%PDF-", re.DOTALL),
    "application/zip": re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08)"),
    "application/gzip": re.compile(rb"\x1f\x8b"),
}
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
}
_OFFICE = ("application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument.")
_MARKUP = re.compile(
    rb"\s*(<!--.{0,2048}?-->\s*)*<(!doctype\s+html|html|head|body|script|iframe|svg|\?xml)[\s>/]",
    re.DOTALL | re.IGNORECASE,
)
# What only a page begins with (WHATWG MIME Sniffing §7.1, and more), in types whose files are never text.
_MEDIA = re.compile(r"(image|audio|video|font)/(?!.*[+](xml|json)$)")
_TAG = re.compile(r"\s*<([a-z]|!--|!doctype|\?xml)", re.IGNORECASE)
_BYTE_ORDER = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_TEXTUAL = re.compile(
    r"text/|application/(xml|xhtml|javascript|json|octet-stream|x-)|.*[+](xml|json)$|message/|application/vnd\.|model/"
)


def parse_type(declared: str) -> str:
    """Return a declared type in lower case, without parameters; empty if it is none."""
    match = _TYPE.fullmatch(declared.strip())
    return match[1].lower() if match and len(match[1]) <= MAX_LENGTH else ""


def choose_type(declared: str, filename: str, head: bytes) -> str:
    """Return the type of a file: the declared one, else what its content shows, else what its name says.

    `declared`: as `parse_type` returns it.
    """
    if declared and declared != OCTETS:
        return declared
    guesses = (sniff_type(head), mimetypes.guess_type(PurePath(filename).name)[0] or "")
    return next((guess for guess in guesses if guess and not find_mismatch(guess, head)), OCTETS)


def sniff_type(head: bytes) -> str:
    """Return the type that a content begins like; empty if it could be anything."""
    for known, beginning in _BEGINNINGS.items():
        if known != "application/zip" and beginning.match(head):
            return known
    if _MARKUP.match(head):
        return "image/svg+xml" if b"<svg" in head.lower() and b"<html" not in head.lower() else "text/html"
    try:
        candidates = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return ""
    return next((found.mime_type for found in candidates if found.mime_type and found.confidence >= 0.4), "")


def find_mismatch(declared: str, head: bytes) -> str:
    """Return the type that the content shows instead of the declared one; empty if they can go together."""
    declared = _ALIASES.get(declared, declared)
    beginning = _BEGINNINGS["application/zip"] if declared.startswith(_OFFICE) else _BEGINNINGS.get(declared)
    if beginning is not None:
        return "" if beginning.match(head) else sniff_type(head) or "something else"
    if _MARKUP.match(head) and not _TEXTUAL.match(declared):
        return sniff_type(head)
    if _MEDIA.match(declared) and _TAG.match(_read_as_text(head)):
        return "text/html or other markup"
    return ""


def _read_as_text(head: bytes) -> str:
    """Return the beginning of a content as programs read it that take it for text."""
    encoding = next((name for mark, name in _BYTE_ORDER.items() if head.startswith(mark)), "latin-1")
    return head[: HEAD & ~1].decode(encoding, errors="replace").lstrip("\ufeff")
