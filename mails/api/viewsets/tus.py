"""The tus protocol 1.0 for resumable uploads: its headers, as requests have them and answers give them."""

import base64
import binascii
from collections.abc import Mapping

from django.conf import settings
from django.utils.http import http_date
from rest_framework.request import Request

from mails.files.resumable import ALGORITHMS, Checksum
from mails.models import StoredFile
from mercury.lib.rest.problems import FieldError, Problem

VERSION = "1.0.0"
MEDIA_TYPE = "application/offset+octet-stream"
_HEADER = {"Tus-Resumable": VERSION}


def is_creation(request: Request) -> bool:
    """Return True if the request begins a resumable upload. Raises Problem (412) for another version of the protocol."""
    version = request.headers.get("Tus-Resumable")
    if version not in (None, VERSION):
        raise Problem(412, "wrong_tus_version", f"Only tus {VERSION} is spoken here.", headers={"Tus-Version": VERSION})
    return version is not None


def read_length(request: Request, header: str) -> int:
    """Return a number of bytes. Raises Problem (400)."""
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise build_header_problem(header, "It must be a whole number of bytes.")
    return int(text)


def read_metadata(request: Request) -> dict[str, str]:
    """Return the metadata of a new upload: words, and texts in base64. Raises Problem (400)."""
    found = {}
    for pair in filter(None, map(str.strip, request.headers.get("Upload-Metadata", "").split(","))):
        name, _, encoded = pair.partition(" ")
        try:
            found[name] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            raise build_header_problem("Upload-Metadata", "Write names, each with its text in base64.") from None
    return found


def read_checksum(request: Request) -> Checksum | None:
    """Return the checksum of a piece; None if it has none. Raises Problem (400)."""
    header = request.headers.get("Upload-Checksum")
    if header is None:
        return None
    algorithm, _, encoded = header.partition(" ")
    if algorithm not in ALGORITHMS:
        raise build_header_problem("Upload-Checksum", f"Write one of {', '.join(ALGORITHMS)}, and the hash in base64.")
    try:
        return Checksum(algorithm, base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise build_header_problem("Upload-Checksum", "The hash is not base64.") from None


def check_media_type(request: Request) -> None:
    """Raise Problem (415) unless the body is a piece of an upload."""
    if request._request.content_type != MEDIA_TYPE:
        raise Problem(415, "unsupported_media_type", f"Send a piece of an upload as {MEDIA_TYPE}.")


def build_header_problem(header: str, detail: str) -> Problem:
    """Return the 400 for a header."""
    error = FieldError(detail=detail, code="invalid_header", header=header)
    return Problem(400, error.code, error.describe(), errors=[error])


def describe(file: StoredFile) -> Mapping[str, str]:
    """Return the headers that say how far an upload is."""
    return {
        **_HEADER,
        "Upload-Offset": str(file.received),
        "Upload-Length": str(file.size),
        "Upload-Expires": http_date(file.expires_at.timestamp()),
    }


def describe_server() -> Mapping[str, str]:
    """Return the headers that say what is spoken here."""
    return {
        **_HEADER,
        "Tus-Version": VERSION,
        "Tus-Extension": "creation,expiration,termination,checksum",
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        "Tus-Max-Size": str(settings.MERCURY_MAX_FILE_SIZE),
    }
