"""Error pages: JSON for API clients, always, and a plain page for people."""

import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.template import TemplateDoesNotExist, loader
from django.views.decorators.csrf import requires_csrf_token

from mercury.lib.database import database_errors
from mercury.lib.rest import problems
from mercury.lib.rest.problems import Problem


def show_bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refuses: an unknown host name, a form that is too large, a forged cookie."""
    match exception:
        case DisallowedHost():
            detail = (
                "This server is not configured for the requested host name. An operator sets them in ALLOWED_HOSTS."
            )
            return _render(request, Problem(400, "wrong_host", detail))
        case RequestDataTooBig():
            detail = f"The request is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes, the limit."
            return _render(request, Problem(413, "too_large", detail), template="400.html")
        case TooManyFieldsSent() | TooManyFilesSent():
            detail = f"The request has too many parts: at most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} files and {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} others are allowed."
            return _render(request, Problem(400, "too_many_parts", detail))
        case MultiPartParserError():
            return _render(
                request, Problem(400, "bad_request", f"The form cannot be read: {str(exception).rstrip('.')}.")
            )
        case BadRequest() if str(exception):  # Mercury's own words
            return _render(request, Problem(400, "bad_request", str(exception)))
    return _render(request, Problem(400, "bad_request", "The request is invalid."))


def raise_not_found(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer 404 for an address of Django's that Mercury does not use."""
    raise Http404


@requires_csrf_token
def show_permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer somebody who is signed in and lacks the permission."""
    return _render(request, Problem(403, "permission_denied", str(exception) or "You do not have permission for this."))


@requires_csrf_token
def show_csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its CSRF token."""
    detail = "The form has expired or came from another site. Go back, reload the page and send it again."
    return _render(request, Problem(403, "csrf_failed", detail))


@requires_csrf_token
def show_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer for a page that does not exist or is not theirs: the two look the same."""
    return _render(request, Problem(404, "not_found", "This page does not exist, or you do not have access."))


def show_locked_out(
    request: HttpRequest, _answer: HttpResponse | None, _credentials: dict[str, str] | None
) -> HttpResponse:
    """Answer for django-axes after too many failed sign-ins with this name from this address."""
    wait = round(settings.AXES_COOLOFF_TIME.total_seconds())
    detail = "Too many failed sign-in attempts."
    return _render(request, Problem(429, "throttled", detail, headers={"Retry-After": str(wait)}))


def show_server_error(request: HttpRequest) -> HttpResponse:
    """Answer an unexpected error. Uses no database, since that may be the cause; then the answer is a 503."""
    if database_errors.is_temporary(sys.exc_info()[1]):
        return show_store_unavailable(request)
    detail = "Unexpected error; it has been logged with the request id. Accepted emails are not affected."
    return _render(request, Problem(500, "server_error", detail))


def show_store_unavailable(request: HttpRequest) -> HttpResponse:
    """Answer 503 while the database is unavailable. Uses no database."""
    return _render(request, problems.build_store_unavailable())


def show_problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Answer a page's request with the problem that the API would answer with."""
    return _render(request, problem, template={"busy": "busy.html", "too_large": "400.html"}.get(problem.code, ""))


def _render(request: HttpRequest, problem: Problem, *, template: str = "") -> HttpResponse:
    """Return the problem as JSON or as a page. The page is rendered without the request, so that it loads no user."""
    if problems.wants_json(request):
        return problems.build_response(request, problem)
    context: dict[str, Any] = {
        "problem": problem,
        "detail": problem.text,
        "request_id": getattr(request, "request_id", ""),
    }
    try:
        text = loader.get_template(template or f"{problem.status_code}.html").render(context)
    except TemplateDoesNotExist:
        text = problem.text
    return HttpResponse(text, status=problem.status_code, headers=problem.headers)
