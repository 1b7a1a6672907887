"""Liveness, answered before anything that could wait."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from mercury.observability import health

GetResponse = Callable[[HttpRequest], HttpResponseBase]

LIVENESS = frozenset({"/health/live", "/health/live/"})


def answer_liveness(get_response: GetResponse) -> GetResponse:
    """Answer `/health/live` before anything that could wait for a file, a session or the database."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return health.check_live(request) if request.path_info in LIVENESS else get_response(request)

    return middleware
