"""The id of each request: in its answer, its errors and each log line."""

import re
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def set_request_id(get_response: GetResponse) -> GetResponse:
    """Give each request an id, the client's own if it sent a sane one: in its answer, in its errors, in each log line."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        # META: for `request.headers`, Django copies all headers under other names.
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        found = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        request.request_id = found  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=found)
        response = get_response(request)
        response["X-Request-ID"] = found
        return response

    return middleware
