"""Bounds a request's waits for the database, and answers when it is away."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from mercury import error_pages
from mercury.lib.database import database_bounds, database_errors

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def bound_waits(get_response: GetResponse) -> GetResponse:
    """Bound how long a request waits for the database, so that a locked or silent one is a 503 within 5 s."""
    bounds = database_bounds.get_request_bounds(settings.MERCURY_DATABASE_TIMEOUT.total_seconds())

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with database_bounds.limit_work(bounds):
            return get_response(request)

    return middleware


def answer_unavailable(get_response: GetResponse) -> GetResponse:
    """Answer 503 with Retry-After when a page meets a database that is away; the API's views do so themselves."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return get_response(request)

    def process_exception(request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if database_errors.is_temporary(exception):
            return error_pages.show_store_unavailable(request)
        return None

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware
