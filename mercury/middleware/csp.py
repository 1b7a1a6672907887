"""The Content-Security-Policy of every answer."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def add_security_policy(get_response: GetResponse) -> GetResponse:
    """Set the strict policy on every response, unless the view has set one of its own."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "Content-Security-Policy" not in response:
            response["Content-Security-Policy"] = POLICY
        return response

    return middleware
