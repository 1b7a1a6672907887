"""Answers to HEAD, which monitors like to ask with: the head of the answer to GET, and no body."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def leave_out_bodies(get_response: GetResponse) -> GetResponse:
    """Leave out the body of an answer to HEAD, and keep its length (RFC 9110 §9.3.2).

    Django leaves this to the server, and gunicorn logs a warning for each body that it has to drop.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if request.method == "HEAD":
            if isinstance(response, StreamingHttpResponse):
                response.streaming_content = ()
            elif isinstance(response, HttpResponse):
                response.headers.setdefault("Content-Length", str(len(response.content)))
                response.content = b""
        return response

    return middleware
