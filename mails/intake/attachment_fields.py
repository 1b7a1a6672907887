"""The attachments of a submission: contents in base64, files as a door received them, or uploads by id. Uses no database."""

import binascii
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from enum import StrEnum
from html import unescape
from typing import Any
from urllib.parse import unquote

from django.core.files import File
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from mails.files import types
from mails.files.names import clean_filename
from mails.files.types import HEAD
from mails.intake.submission_fields import SubmissionField, build_error, shorten
from mails.message.message import AttachmentReference
from mercury.lib.value import value

MAX_ATTACHMENTS = 100  # of one email
MAX_CONTENT_ID = 128  # characters
_MEMBERS = ("filename", "content_type", "content", "file", "content_id", "delivery")
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# In an attribute or a style, not in words: with quotes, or up to the next blank (RFC 2392).
_SHOWN_IN_HTML = re.compile(
    r"""(?:=\s*"\s*cid:([^"]{1,1000}))|(?:=\s*'\s*cid:([^']{1,1000}))|(?:(?:=|url\(\s*["']?)\s*cid:([^\s"'<>)]{1,1000}))""",
    re.IGNORECASE,
)
_BLANKS = str.maketrans("", "", " \t\r\n")
_CHUNK = 1024 * 1024

_SCHEMA = {
    "type": ["array", "null"],
    "maxItems": MAX_ATTACHMENTS,
    "items": {
        "type": "object",
        "properties": {
            "filename": {"type": "string", "description": "Its name. Required with `content`."},
            "content_type": {
                "type": "string",
                "description": "Its type, such as image/png. Absent: as the content shows.",
            },
            "content": {"type": "string", "format": "byte", "description": "The content, in base64."},
            "file": {
                "type": "string",
                "format": "uuid",
                "description": "The id of an uploaded file, instead of `content`.",
            },
            "content_id": {
                "type": "string",
                "maxLength": MAX_CONTENT_ID,
                "description": "The HTML shows it as `cid:…`.",
            },
            "delivery": {
                "type": "string",
                "enum": ["auto", "attachment", "link"],
                "description": "As an attachment, or by a download link. `auto`: by a link if it is too large to attach.",
            },
        },
        "additionalProperties": False,
    },
}


class FileDelivery(StrEnum):
    """How a file gets to the recipients."""

    AUTO = "auto"  # as an attachment, where the limits allow it
    ATTACHMENT = "attachment"
    LINK = "link"  # the email has a download link


@value
class GivenFile:
    """An attachment as a submission gives it: with its content, or as the upload `file_id`."""

    content_id: str
    filename: str = ""  # of an upload: instead of its own
    content_type: str = ""
    file_id: uuid.UUID | None = None
    delivery: FileDelivery = FileDelivery.AUTO
    size: int = 0
    sha256: str = ""
    content: "bytes | File[bytes] | None" = field(default=None, repr=False, compare=False)

    @property
    def identity(self) -> dict[str, Any]:
        """Return what tells it from other files: two submissions with the same mean the same."""
        upload = {"file": str(self.file_id)} if self.file_id else {"sha256": self.sha256, "type": self.content_type}
        delivery = {} if self.delivery == FileDelivery.AUTO else {"delivery": self.delivery.value}
        return {"filename": self.filename, "content_id": self.content_id, **upload, **delivery}

    def refer(self) -> AttachmentReference:
        """Return the reference to a content that is with the submission."""
        return AttachmentReference(
            filename=self.filename,
            content_type=self.content_type,
            size=self.size,
            sha256=self.sha256,
            content_id=self.content_id,
        )


@value
class StoredContent:
    """A content that Mercury has stored, in place of bytes. Only Mercury's own code can give one, never a client."""

    sha256: str
    size: int  # bytes
    content_type: str


FindFiles = Callable[[tuple[GivenFile, ...]], tuple[tuple[AttachmentReference, ...], Any]]


def list_upload_ids(value: object) -> set[uuid.UUID]:
    """Return the ids of uploads that a value of the field names, whatever else is wrong with it."""
    items = value[:MAX_ATTACHMENTS] if isinstance(value, list) else []
    ids = [item.get("file") for item in items if isinstance(item, dict)]
    return {uuid.UUID(text) for text in ids if isinstance(text, str) and _UUID.fullmatch(text)}


def refer_to_contents(files: tuple[GivenFile, ...]) -> tuple[tuple[AttachmentReference, ...], Any]:
    """Return references to files that are with the submission: without a client there are no uploads."""
    return tuple(file.refer() for file in files), None


@extend_schema_field(_SCHEMA, component_name="Attachments")
class AttachmentsField(SubmissionField, serializers.Field[Any, Any, Any, Any]):
    """The files of an email."""

    default_error_messages = {
        "too_many": "{count} attachments; at most {most} are allowed.",
        "duplicate_content_id": "'{shown}' is the content_id of another attachment, too; each needs its own.",
    }

    def to_internal_value(self, data: Any) -> tuple[GivenFile, ...]:
        """Return the files. Raises ValidationError by their numbers, from 0."""
        if data is None:
            return ()
        if not isinstance(data, list):
            self.fail_type(data, "a list of objects")
        if len(data) > MAX_ATTACHMENTS:
            self.fail("too_many", count=len(data), most=MAX_ATTACHMENTS)
        found, errors = list[GivenFile](), dict[str, Any]()
        for number, item in enumerate(data):
            try:
                found.append(self._read(item, [file.content_id for file in found]))
            except ValidationError as invalid:
                errors[str(number)] = invalid.detail
        if errors:
            raise ValidationError(errors)
        return tuple(found)

    def keep(self, value: object) -> None:
        """Return nothing: a rejected email keeps no file."""

    def _read(self, item: Any, content_ids: list[str]) -> GivenFile:
        if not isinstance(item, dict):
            self.fail_type(item, "an object with 'filename' and 'content', or with 'file'")
        errors: dict[str, Any] = _find_unknown(item)
        values = {name: self._read_member(name, item, errors) for name in _MEMBERS}
        if errors:
            raise ValidationError(errors)
        content_id = values["content_id"]
        if content_id and content_id in content_ids:
            self.fail("duplicate_content_id", shown=content_id)
        if values["file"]:
            return GivenFile(
                file_id=values["file"],
                filename=values["filename"],
                content_id=content_id,
                delivery=values["delivery"],
            )
        if isinstance(stored := item["content"], StoredContent):
            return GivenFile(
                filename=values["filename"],
                content_type=stored.content_type,
                content_id=content_id,
                delivery=values["delivery"],
                size=stored.size,
                sha256=stored.sha256,
            )
        measured = _measure(item["content"], values["filename"], values["content_type"], content_id)
        return replace(measured, delivery=values["delivery"])

    def _read_member(self, name: str, item: Mapping[str, Any], errors: dict[str, Any]) -> Any:
        try:
            return _READERS[name](self, item)
        except ValidationError as invalid:
            errors[name] = invalid.detail
            return None


def _find_shown(html: str) -> set[str]:
    """Return the content_ids that the HTML shows. Addresses write some characters in other ways (RFC 2392, RFC 3986)."""
    found = ("".join(groups) for groups in _SHOWN_IN_HTML.findall(html))
    return {unquote(unescape(text)).strip() for text in found}


def check_shown(html: str, files: tuple[GivenFile, ...], errors: dict[str, Any]) -> None:
    """Add an error for each file that the HTML shows and that is not there, and for one with a name but no HTML for it."""
    names = {file.content_id for file in files if file.content_id}
    if names and not html:
        words = "An attachment with a content_id is shown by the HTML, and this email has none."
        numbers = [str(number) for number, file in enumerate(files) if file.content_id]
        errors["attachments"] = {
            number: {"content_id": [ErrorDetail(words, "content_id_without_html")]} for number in numbers
        }
    shown = _find_shown(html) if "cid:" in html.lower() else set()
    missing = sorted(shown - names)
    if missing:
        words = f"It shows 'cid:{shorten(missing[0])}', but no attachment has this content_id."
        errors["html"] = [ErrorDetail(words, "unknown_content_id")]


def _find_unknown(item: Mapping[str, Any]) -> dict[str, Any]:
    words = f"There is no such member. Known: {', '.join(_MEMBERS)}."
    return {shorten(name): [ErrorDetail(words, "unknown_field")] for name in list(item)[:20] if name not in _MEMBERS}


def _read_filename(field: AttachmentsField, item: Mapping[str, Any]) -> str:
    name = field.read_text(item.get("filename"))
    if not name.strip() and item.get("file") is None:
        raise build_error("required", "Give the name of the file.")
    return clean_filename(name) if name.strip() else ""


def _read_type(field: AttachmentsField, item: Mapping[str, Any]) -> str:
    declared = field.read_text(item.get("content_type"))
    content_type = types.parse_type(declared)
    if declared and not content_type:
        raise build_error(
            "invalid_content_type", f"'{shorten(declared)}' is not the type of a file. Write one such as image/png."
        )
    return content_type


def _read_content(field: AttachmentsField, item: Mapping[str, Any]) -> None:
    content, upload = item.get("content"), item.get("file")
    if content is None and upload is None:
        raise build_error("required", "Give the content in base64, or the id of an uploaded file as 'file'.")
    if content is not None and upload is not None:
        raise build_error("ambiguous", "Give 'content' or 'file', not both.")
    if not isinstance(content, File | StoredContent | None):
        field.read_text(content, "text in base64")


def _read_upload(field: AttachmentsField, item: Mapping[str, Any]) -> uuid.UUID | None:
    if item.get("file") is None:
        return None
    text = field.read_text(item["file"], "the id of an uploaded file")
    if not _UUID.fullmatch(text):
        raise build_error("unknown_file", f"'{shorten(text)}' is not the id of an uploaded file.")
    if item.get("content_type") is not None:
        raise build_error("ambiguous", "An uploaded file has its type; leave 'content_type' out.")
    return uuid.UUID(text)


def _read_content_id(field: AttachmentsField, item: Mapping[str, Any]) -> str:
    text = field.read_text(item.get("content_id")).strip()
    name = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    if text and (not _CONTENT_ID.fullmatch(name) or len(name) > MAX_CONTENT_ID):
        raise build_error(
            "invalid_content_id",
            f"'{shorten(text)}' is not a content_id. Use 1 to {MAX_CONTENT_ID} letters, digits and marks such as . - _ @.",
        )
    return name


def _read_delivery(field: AttachmentsField, item: Mapping[str, Any]) -> FileDelivery:
    text = field.read_text(item.get("delivery"))
    if text and text not in tuple(FileDelivery):
        words = f"'{shorten(text)}' is not a delivery. Write one of: {', '.join(FileDelivery)}; or leave it out."
        raise build_error("invalid", words)
    return FileDelivery(text or FileDelivery.AUTO)


_READERS: Mapping[str, Callable[[AttachmentsField, Mapping[str, Any]], Any]] = {
    "filename": _read_filename,
    "content_type": _read_type,
    "content": _read_content,
    "file": _read_upload,
    "content_id": _read_content_id,
    "delivery": _read_delivery,
}


def _measure(given: "str | File[bytes]", filename: str, declared: str, content_id: str) -> GivenFile:
    """Return the file with its content, and size, hash and type of it. Raises ValidationError."""
    content = given if isinstance(given, File) else _decode(given)
    _refuse_empty(len(content) if isinstance(content, bytes) else content.size)
    sha256, head = _hash(content)
    content_type = types.choose_type(declared, filename, head)
    if found := types.find_mismatch(content_type, head):
        words = f"It is declared as {content_type}, but its content is {found}."
        raise ValidationError({"content_type": [ErrorDetail(words, "wrong_content_type")]})
    return GivenFile(
        filename=filename,
        content_type=content_type,
        content_id=content_id,
        size=len(content) if isinstance(content, bytes) else content.size,
        sha256=sha256,
        content=content,
    )


def _hash(content: "bytes | File[bytes]") -> tuple[str, bytes]:
    """Return the hash of a content, and its beginning."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), content[:HEAD]
    content.seek(0)
    hashed, head = hashlib.sha256(), b""
    while chunk := content.read(_CHUNK):
        hashed.update(chunk)
        head = head or chunk[:HEAD]
    content.seek(0)
    return hashed.hexdigest(), head


def _refuse_empty(size: int) -> None:
    if not size:
        raise ValidationError({"content": [ErrorDetail("The file is empty.", "empty_file")]})


def _decode(text: str) -> bytes:
    """Return the bytes. Blanks and line ends, as many programs write them, are no part of it. Raises ValidationError."""
    try:
        plain = text.translate(_BLANKS) if any(blank in text for blank in " \t\r\n") else text
        return binascii.a2b_base64(plain.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        words = "It is not base64 (RFC 4648 §4): A-Z, a-z, 0-9, + and /, padded with = to a multiple of four."
        raise ValidationError({"content": [ErrorDetail(words, "invalid_base64")]}) from None
