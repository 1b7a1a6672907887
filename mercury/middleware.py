"""What every request passes through: its id, its body's length and limit, the Content-Security-Policy, a database that is away."""

import io
import re
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from gunicorn.http.errors import ParseException

from mercury import views
from mercury.lib import addresses, database_bounds, database_errors

GetResponse = Callable[[HttpRequest], HttpResponseBase]

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


def no_nul_in_admin_queries(get_response: GetResponse) -> GetResponse:
    """Answer 400 where other apps' admin pages would ask PostgreSQL for a NUL character, which it refuses with an error."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query and request.path_info.startswith(("/admin/auth/", "/admin/axes/")):
            raise SuspiciousOperation("The address asks for a NUL character.")
        return get_response(request)

    return middleware


def chunked_body(get_response: GetResponse) -> GetResponse:
    """Give a body without Content-Length (chunked) one, for Django takes such a body for empty.

    Reads at most one byte more than the limit; the length then says "too large" to whoever reads the body. A body that
    breaks off, or whose chunks cannot be read, is the client's fault: 400.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if "chunked" in meta.get("HTTP_TRANSFER_ENCODING", "").lower() and meta.get("wsgi.input_terminated"):
            try:
                body = meta["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            except (OSError, ParseException) as error:
                raise BadRequest("The body ended before its last chunk, or is not in chunks.") from error
            meta["CONTENT_LENGTH"] = str(len(body))
            request._stream = io.BytesIO(body)  # where Django keeps the body unread
        return get_response(request)

    return middleware


def body_within_limit(get_response: GetResponse) -> GetResponse:
    """Answer 413 before a body is read that says it is larger than any may be.

    Django's own limit leaves files out, and no form of ours takes one: whoever had no log-in could fill the disk.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig("The body is larger than any request may be.")
        return get_response(request)

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
