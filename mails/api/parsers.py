"""Request bodies: one JSON parser with a limit on size, which refuses what the databases would store differently."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.http import UnreadablePostError
from rest_framework.parsers import BaseParser, DataAndFiles

from mails.api import forms
from mercury.lib.durations import format_size
from mercury.lib.rest import large_bodies
from mercury.lib.rest.problems import FieldError, Problem
from mercury.lib.rest.strict_json import NotStrictJSON, loads, loads_any


class StrictJSONParser(BaseParser):
    """Parse `application/json` in UTF-8, up to `DATA_UPLOAD_MAX_MEMORY_SIZE`, by the rules of `mercury.lib.rest.strict_json`."""

    media_type = "application/json"

    @property
    def limit(self) -> int:
        """Return how many bytes a body may have."""
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        return limit

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the body, an object. Raises Problem: 413 before it reads a body that is too large, else 415 or 400."""
        request = (parser_context or {})["request"]
        _check_size(_read_declared_size(request.META), self.limit)
        check_encoding(request)
        _check_charset(request)
        try:
            body = stream.read(self.limit + 1)
        except UnreadablePostError:
            raise Problem(400, "body_incomplete", "The connection ended before the body did.") from None
        _check_size(len(body), self.limit)
        large_bodies.reserve(request, len(body))
        try:
            return self.load(body)
        except NotStrictJSON as invalid:
            error = FieldError(detail=invalid.detail, code=invalid.code, pointer=invalid.pointer)
            raise Problem(400, error.code, error.describe(), errors=[error]) from None

    def load(self, body: bytes) -> Any:
        """Return the value in these bytes. Raises NotStrictJSON."""
        return loads(body)


class BatchParser(StrictJSONParser):
    """The same for many emails, up to `MERCURY_MAX_SIZE`: their bodies are in memory several times while they are stored.

    Any value is a body; the view says what it must be.
    """

    @property
    def limit(self) -> int:
        """Return how many bytes a body may have."""
        limit: int = settings.MERCURY_MAX_SIZE
        return limit

    def load(self, body: bytes) -> Any:
        """Return the value in these bytes. Raises NotStrictJSON."""
        return loads_any(body)


class MailFormParser(BaseParser):
    """Parse `multipart/form-data`, unless the check of a CSRF token has done so; `mails.api.forms` reads what is in it."""

    media_type = forms.MEDIA_TYPE

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> "DataAndFiles[Any, Any]":
        """Return fields and files. Raises Problem (400, 413 or 415)."""
        request = (parser_context or {})["request"]
        check_encoding(request)
        return DataAndFiles(*forms.read(request))


def check_encoding(request: Any) -> None:
    """Raise Problem (415) if the body is compressed, or encoded in another way: it would be stored as it is."""
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        detail = "Send the body as it is, without a Content-Encoding."
        raise Problem(415, "unsupported_encoding", detail, headers={"Accept-Encoding": "identity"})


def _read_declared_size(meta: Mapping[str, Any]) -> int:
    try:
        return int(meta.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Problem(413, "too_large", f"The body is larger than {format_size(limit)} ({limit} bytes), the limit.")


def _check_charset(request: Any) -> None:
    charset = str(request._request.content_params.get("charset", "utf-8")).strip("\"' ").lower()
    if charset not in {"utf-8", "utf8"}:
        error = FieldError(
            detail=f"The charset '{charset[:40]}' is not supported. Send JSON as UTF-8.", code="wrong_charset"
        )
        raise Problem(400, error.code, error.detail, errors=[error])
