"""Health, and the error pages: JSON for API clients, always, and a plain page for people."""

import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist, loader
from django.views.decorators.csrf import requires_csrf_token
from django.views.decorators.http import require_safe

from mails import pauses
from mails.reporting import system_status
from mercury.lib.database import database_clock, database_errors
from mercury.lib.rest import problems
from mercury.lib.rest.problems import Problem

POLLED_WITHIN = 60.0  # seconds; a worker whose slots are all taken does not look for as long as a call may take


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Answer that the process is alive. No I/O."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 if email can be accepted: the database answers and its tables are those of this version. Else 503.

    A held house is ready, for it takes mails; `sending` says that it is held, or which queues are paused.
    """
    checks = {"database": "ok", "migrations": "ok"}
    sending = "not known"
    try:
        missing = _Migrations.missing()
        if missing:
            checks["migrations"] = f"{missing} to apply; run: python manage.py migrate"
        else:
            sending = _sending()
    except Error as error:
        if not database_errors.is_not_now(error):
            raise
        checks = {"database": "does not answer", "migrations": "not known"}
    fine = all(state == "ok" for state in checks.values())
    answer = {"status": "ok" if fine else "unavailable", "checks": checks, "sending": sending}
    response = JsonResponse(answer, status=200 if fine else 503)
    if not fine:
        response["Retry-After"] = str(problems.RETRY_AFTER_SECONDS)
    return response


@require_safe
def workers(request: HttpRequest) -> HttpResponse:
    """Answer 200 if email is being sent: a living worker has looked for due email within the last minute. Else 503."""
    now = database_clock.now()
    alive = [worker for worker in system_status.list_workers(now) if worker.alive]
    age = system_status.compute_poll_age(alive, now)
    fine = age is not None and age <= POLLED_WITHIN
    answer = {"status": "ok" if fine else "unavailable", "workers": len(alive), "last_drain_seconds": age}
    return JsonResponse(answer, status=200 if fine else 503)


def _sending() -> str:
    active = pauses.load_active()
    if active.all_sending:
        return f"paused since {active.all_sending.paused_at:%Y-%m-%dT%H:%M:%SZ}; manage.py resume --all"
    paused = ", ".join(f"{queue} since {pause.paused_at:%Y-%m-%dT%H:%M:%SZ}" for queue, pause in active.queues.items())
    return f"paused queues: {paused}; manage.py resume --queue NAME" if paused else "ok"


class _Migrations:
    """Remembers that nothing is missing: to find out costs 20 ms, and a process never un-applies a migration."""

    applied = False

    @classmethod
    def missing(cls) -> int:
        """Return how many migrations are not applied. Always queries the database, which proves that it answers."""
        if cls.applied:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            return 0
        executor = MigrationExecutor(connection)
        count = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        cls.applied = count == 0
        return count


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's page for requests that it will not touch: a host that is not ours, a form too large, a forged cookie."""
    match exception:
        case DisallowedHost():
            detail = (
                "This server is not configured for the requested host name. An operator sets them in ALLOWED_HOSTS."
            )
            return _page(request, Problem(400, "wrong_host", detail))
        case RequestDataTooBig():
            detail = f"The request is larger than {settings.MERCURY_MAX_SIZE} bytes, the limit."
            return _page(request, Problem(413, "too_large", detail), template="400.html")
    return _page(request, Problem(400, "bad_request", "The request is invalid."))


def nowhere(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer 404 for an address of Django's that Mercury does not use."""
    raise Http404


@requires_csrf_token
def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Signed in, but not allowed."""
    return _page(request, Problem(403, "permission_denied", str(exception) or "You do not have permission for this."))


@requires_csrf_token
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its CSRF token."""
    detail = "The form has expired or came from another site. Go back, reload the page and send it again."
    return _page(request, Problem(403, "csrf_failed", detail))


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """No such page, or not yours: the two look alike."""
    return _page(request, Problem(404, "not_found", "This page does not exist, or you do not have access."))


def locked_out(request: HttpRequest, _answer: HttpResponse | None, _credentials: dict[str, str] | None) -> HttpResponse:
    """Too many failed log-ins with this name from this address: what django-axes answers with."""
    wait = round(settings.AXES_COOLOFF_TIME.total_seconds())
    detail = "Too many failed sign-in attempts."
    return _page(request, Problem(429, "throttled", detail, headers={"Retry-After": str(wait)}))


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an unexpected error. Uses no database, since that may be the cause; then the answer is a 503."""
    if database_errors.is_not_now(sys.exc_info()[1]):
        return store_unavailable(request)
    detail = "Unexpected error; it has been logged with the request id. Accepted emails are not affected."
    return _page(request, Problem(500, "server_error", detail))


def store_unavailable(request: HttpRequest) -> HttpResponse:
    """Answer 503 while the database is unavailable. Uses no database."""
    return _page(request, problems.build_store_unavailable())


def problem_page(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Show a problem of a page in the words of the API."""
    return _page(request, problem, template={"busy": "busy.html", "too_large": "400.html"}.get(problem.code, ""))


def _page(request: HttpRequest, problem: Problem, *, template: str = "") -> HttpResponse:
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
