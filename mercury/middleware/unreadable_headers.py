"""Headers that Django cannot read: an answer that names them, instead of an error."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponseBase
from django.utils.http import parse_header_parameters

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_WITH_PARAMETERS = ("Content-Disposition",)


class LenientRequest(WSGIRequest):
    """A request that can be made, and so be answered, also if its Content-Type cannot be read.

    Django reads it before any middleware, and fails at a parameter in a character set that does not exist.
    """

    is_type_unreadable = False

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]
        except ValueError:
            self.is_type_unreadable = True
            self.content_type, self.content_params = "", {}


def refuse_unreadable_headers(get_response: GetResponse) -> GetResponse:
    """Answer 400 to headers whose parameters cannot be read."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        unreadable = [name for name in _WITH_PARAMETERS if not _is_readable(request.headers.get(name, ""))]
        if getattr(request, "is_type_unreadable", False):
            unreadable.append("Content-Type")
        if unreadable:
            raise BadRequest(f"The parameters of {unreadable[0]} cannot be read; write them in UTF-8 (RFC 8187).")
        return get_response(request)

    return middleware


def _is_readable(header: str) -> bool:
    try:
        parse_header_parameters(header)
    except ValueError:
        return False
    return True
