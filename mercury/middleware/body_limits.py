"""Bounds for request bodies: by path, in bytes, and for all large ones at once."""

import io
import re
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from gunicorn.http.errors import ParseException

from mercury import error_pages
from mercury.lib.rest import large_bodies, upload_slots
from mercury.lib.rest.large_bodies import build_too_large
from mercury.lib.rest.problems import Problem

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Paths that take an email. Add a path here when it does; all others take 64 KB.
_TAKE_EMAIL = frozenset({"", "/preview", "/api/v1.0/mails", "/api/v1.0/mails/batch"})

# Paths that take a file, which is stored while it arrives.
_TAKES_FILES = re.compile(r"/api/v1\.0/(files(/[^/]+)?|suppressions/import)")
# Pages whose forms have files in them, as browsers without scripts send them.
_FORMS_WITH_FILES = frozenset({"/", "/admin/mails/suppression/import/"})
_TAKES_EVENTS = re.compile(r"/api/v1\.0/mails/[^/]+/events")

EVENT_LIMIT = 7 * large_bodies.SMALL  # a blob of 64 KB, each octet of which JSON may escape with six, and the rest


def _get_limit(request: HttpRequest) -> int:
    """Return how many bytes a body may have: few, unless the path takes an email from somebody who may have signed in."""
    path = request.path_info.rstrip("/")
    if takes_file(path) and _has_session(request):
        return settings.MERCURY_MAX_FILE_SIZE + large_bodies.SMALL  # of a form around it
    if _is_form_with_files(request) and _has_session(request):
        return settings.MERCURY_MAX_FILE_SIZE + settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if path in _TAKE_EMAIL and _has_session(request):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    else:
        limit = EVENT_LIMIT if _TAKES_EVENTS.fullmatch(path) else large_bodies.SMALL
    return min(limit, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def takes_file(path: str) -> bool:
    """Return True if the path takes a file: its body is never in memory as a whole."""
    return _TAKES_FILES.fullmatch(path) is not None


def _is_form_with_files(request: HttpRequest) -> bool:
    """Return True for a form that takes files: that of an email, as browsers without scripts send it, and imports."""
    is_chunked = "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
    return request.path_info in _FORMS_WITH_FILES and request.content_type == "multipart/form-data" and not is_chunked


def _has_session(request: HttpRequest) -> bool:
    return "HTTP_AUTHORIZATION" in request.META or settings.SESSION_COOKIE_NAME in request.COOKIES


def _get_length(request: HttpRequest) -> int:
    length = request.META.get("CONTENT_LENGTH") or "0"
    return int(length[:20]) if length.isascii() and length.isdecimal() else 0


def read_chunked_body(get_response: GetResponse) -> GetResponse:
    """Give a body without Content-Length (chunked) one, for Django takes such a body for empty.

    Reads at most one byte more than the path's limit; the length then says "too large" to the reader of the body. A body
    that breaks off, or whose chunks cannot be read, is the client's fault: 400.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if "chunked" not in meta.get("HTTP_TRANSFER_ENCODING", "").lower() or not meta.get("wsgi.input_terminated"):
            return get_response(request)
        if takes_file(request.path_info.rstrip("/")) and _has_session(request):
            request._stream = cast(BinaryIO, _ChunkedBody(meta["wsgi.input"]))
        else:
            try:
                body = meta["wsgi.input"].read(_get_limit(request) + 1)
            except (OSError, ParseException) as error:
                raise BadRequest("The body ended before its last chunk, or is not in chunks.") from error
            meta["CONTENT_LENGTH"] = str(len(body))
            request._stream = io.BytesIO(body)  # where Django keeps the body unread
        return get_response(request)

    return middleware


class _ChunkedBody:
    """A body of unknown length that is read as it arrives. Its reader counts the bytes."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        try:
            chunk: bytes = self._body.read(size if size >= 0 else None)
        except ParseException as error:
            raise UnreadablePostError(*error.args) from error
        return chunk


def limit_body(get_response: GetResponse) -> GetResponse:
    """Answer 413 before a body is read that says it is larger than its path takes.

    Django's own limit is one for all paths and leaves files out: eight log-ins of ten megabytes took gigabytes, without an account.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        limit = _get_limit(request)
        if _get_length(request) > limit:
            return error_pages.show_problem(request, build_too_large(limit, signed_in=_has_session(request)))
        return get_response(request)

    return middleware


def _read(request: HttpRequest) -> None:
    """Read the body before its bytes are held, so that a slow client keeps nobody waiting."""
    try:
        request.body  # noqa: B018 (Django keeps it)
    except UnreadablePostError as error:
        raise BadRequest("The connection ended before the body did.") from error


def _read_form(request: HttpRequest) -> int:
    """Read a form with its files, which go to the disk; return the bytes of its other fields, which stay in memory."""
    try:
        with upload_slots.take():
            request.upload_handlers = [TemporaryFileUploadHandler(request)]
            fields = request.POST
    except UnreadablePostError as error:
        raise BadRequest("The connection ended before the body did.") from error
    except MultiPartParserError as error:
        raise BadRequest(f"The form cannot be read: {str(error).rstrip('.')}.") from error
    return sum(len(value) for _, values in fields.lists() for value in values)


def limit_large_requests(get_response: GetResponse) -> GetResponse:
    """Bound how much of large emails is worked on at once. Comes after `request.user`, before a form is parsed.

    The API holds its bytes itself, once it knows the key. A form is parsed by the check of its CSRF token, so it is held here.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        large_bodies.track(request)
        try:
            if _get_length(request) > large_bodies.SMALL and not request.path_info.startswith("/api/"):
                if not request.user.is_authenticated:
                    raise build_too_large(large_bodies.SMALL, signed_in=False)
                if _is_form_with_files(request):
                    size = _read_form(request)
                else:
                    size = _get_length(request)
                    _read(request)
                large_bodies.reserve(request, size)
            return get_response(request)
        except Problem as problem:
            return error_pages.show_problem(request, problem)
        finally:
            large_bodies.release(request)

    def process_exception(request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return error_pages.show_problem(request, exception) if isinstance(exception, Problem) else None

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware
