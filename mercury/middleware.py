"""What every request passes through: its id, its body's length and limits, the Content-Security-Policy, a database that is away."""

import io
import re
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.contrib.admin.options import TO_FIELD_VAR
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from gunicorn.http.errors import ParseException

from mercury import views
from mercury.lib import addresses, database_bounds, database_errors, large_bodies
from mercury.lib.large_bodies import too_large
from mercury.lib.problems import Problem

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Paths that take an email. Add a path here when it does; all others take 64 KB.
_TAKE_EMAIL = frozenset({"", "/api/v1.0/mails"})
_TAKES_EVENTS = re.compile(r"/api/v1\.0/mails/[^/]+/events")
EVENT_LIMIT = 7 * large_bodies.SMALL  # a blob of 64 KB, each octet of which JSON may escape with six, and the rest

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

LIVENESS = frozenset({"/health/live", "/health/live/"})

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def request_id(get_response: GetResponse) -> GetResponse:
    """Give each request an id, the client's own if it sent a sane one: in its answer, in its errors, in each log line."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        sent = request.headers.get("X-Request-ID", "")
        found = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        request.request_id = found  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=found)
        response = get_response(request)
        response["X-Request-ID"] = found
        return response

    return middleware


def liveness(get_response: GetResponse) -> GetResponse:
    """Answer `/health/live` before anything that could wait for a file, a session or the database."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return views.live(request) if request.path_info in LIVENESS else get_response(request)

    return middleware


def bounded_waits(get_response: GetResponse) -> GetResponse:
    """Bound how long a request waits for the database, so that a locked or silent one is a 503 within 5 s."""
    bounds = database_bounds.for_requests(settings.MERCURY_DATABASE_TIMEOUT.total_seconds())

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with database_bounds.work(bounds):
            return get_response(request)

    return middleware


def client_address(get_response: GetResponse) -> GetResponse:
    """Take the client's address from X-Forwarded-For, as far as MERCURY_PROXIES says that it can be believed.

    Each proxy of ours appends the address that it was called from, so the client's is that many from the right; what
    stands before it, the client may have written. Where the header has fewer, or what is no address, the client's is not known,
    and empty: the proxy's own address is never taken for it. Without the header the client called directly.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        said = request.headers.get("X-Forwarded-For")
        if settings.MERCURY_PROXIES and said is not None:
            request.META["REMOTE_ADDR"] = _client_of(said.split(","), settings.MERCURY_PROXIES)
        return get_response(request)

    return middleware


def _client_of(said: list[str], proxies: int) -> str:
    try:
        return addresses.parse(said[-proxies])
    except (IndexError, ValueError):
        return ""


def readable_admin_queries(get_response: GetResponse) -> GetResponse:
    """Answer 400 to what Django's own admin pages would meet with an error: a NUL character for PostgreSQL, no field's name."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query and request.path_info.startswith(("/admin/auth/", "/admin/axes/")):
            raise SuspiciousOperation("The address asks for a NUL character.")
        if request.path_info.startswith("/admin/") and request.GET.get(TO_FIELD_VAR, "id") == "":
            raise SuspiciousOperation(f"The address has a blank {TO_FIELD_VAR}.")
        return get_response(request)

    return middleware


def _limit(request: HttpRequest) -> int:
    """Return how many bytes a body may have: few, unless the path takes an email from somebody who may have signed in."""
    path = request.path_info.rstrip("/")
    if path in _TAKE_EMAIL and _may_be_signed_in(request):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    else:
        limit = EVENT_LIMIT if _TAKES_EVENTS.fullmatch(path) else large_bodies.SMALL
    return min(limit, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def _may_be_signed_in(request: HttpRequest) -> bool:
    return "HTTP_AUTHORIZATION" in request.META or settings.SESSION_COOKIE_NAME in request.COOKIES


def _length(request: HttpRequest) -> int:
    length = request.META.get("CONTENT_LENGTH") or "0"
    return int(length[:20]) if length.isascii() and length.isdecimal() else 0


def chunked_body(get_response: GetResponse) -> GetResponse:
    """Give a body without Content-Length (chunked) one, for Django takes such a body for empty.

    Reads at most one byte more than the path's limit; the length then says "too large" to whoever reads the body. A body
    that breaks off, or whose chunks cannot be read, is the client's fault: 400.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if "chunked" in meta.get("HTTP_TRANSFER_ENCODING", "").lower() and meta.get("wsgi.input_terminated"):
            try:
                body = meta["wsgi.input"].read(_limit(request) + 1)
            except (OSError, ParseException) as error:
                raise BadRequest("The body ended before its last chunk, or is not in chunks.") from error
            meta["CONTENT_LENGTH"] = str(len(body))
            request._stream = io.BytesIO(body)  # where Django keeps the body unread
        return get_response(request)

    return middleware


def body_within_limit(get_response: GetResponse) -> GetResponse:
    """Answer 413 before a body is read that says it is larger than its path takes.

    Django's own limit is one for all paths and leaves files out: eight log-ins of ten megabytes took gigabytes, without an account.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        limit = _limit(request)
        if _length(request) > limit:
            return views.problem_page(request, too_large(limit, signed_in=_may_be_signed_in(request)))
        return get_response(request)

    return middleware


def _read(request: HttpRequest) -> None:
    """Read the body before its bytes are held, so that a slow client keeps nobody waiting."""
    try:
        request.body  # noqa: B018 (Django keeps it)
    except UnreadablePostError as error:
        raise BadRequest("The connection ended before the body did.") from error


def large_requests(get_response: GetResponse) -> GetResponse:
    """Bound how much of large emails is worked on at once. Comes after `request.user`, before a form is parsed.

    The API holds its bytes itself, once it knows the key. A form is parsed by the check of its CSRF token, so it is held here.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        large_bodies.watch(request)
        try:
            if _length(request) > large_bodies.SMALL and not request.path_info.startswith("/api/"):
                if not request.user.is_authenticated:
                    raise too_large(large_bodies.SMALL, signed_in=False)
                _read(request)
                large_bodies.hold(request, _length(request))
            return get_response(request)
        except Problem as problem:
            return views.problem_page(request, problem)
        finally:
            large_bodies.release(request)

    def process_exception(request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return views.problem_page(request, exception) if isinstance(exception, Problem) else None

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware


def content_security_policy(get_response: GetResponse) -> GetResponse:
    """The strict policy on every answer, unless the view has set one of its own."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "Content-Security-Policy" not in response:
            response["Content-Security-Policy"] = POLICY
        return response

    return middleware


def store_unavailable(get_response: GetResponse) -> GetResponse:
    """Answer 503 with Retry-After when a page meets a database that is away; the API's views do so themselves."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return get_response(request)

    def process_exception(request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if database_errors.is_not_now(exception):
            return views.store_unavailable(request)
        return None

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware
