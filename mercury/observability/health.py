"""Health checks for load balancers and monitoring: `/health/live`, `/health/ready` and `/health/workers`."""

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from mails import pauses
from mails.reporting import system_status
from mercury.lib.database import database_clock, database_errors
from mercury.lib.rest import problems

MAX_POLL_AGE = 60.0  # seconds; a worker whose slots are all in use does not poll during the longest attempt


@require_safe
def check_live(request: HttpRequest) -> HttpResponse:
    """Answer that the process is alive. Does no I/O."""
    return JsonResponse({"status": "ok"})


@require_safe
def check_ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 if email can be accepted: the database answers and its tables are those of this version. Else 503.

    While sending is paused it is still ready, since it accepts email; `sending` says what is paused.
    """
    checks = {"database": "ok", "migrations": "ok"}
    sending = "not known"
    try:
        missing = _Migrations.count_missing()
        if missing:
            checks["migrations"] = f"{missing} to apply; run: python manage.py migrate"
        else:
            sending = _describe_sending()
    except Error as error:
        if not database_errors.is_temporary(error):
            raise
        checks = {"database": "does not answer", "migrations": "not known"}
    is_ok = all(state == "ok" for state in checks.values())
    answer = {"status": "ok" if is_ok else "unavailable", "checks": checks, "sending": sending}
    response = JsonResponse(answer, status=200 if is_ok else 503)
    if not is_ok:
        response["Retry-After"] = str(problems.RETRY_AFTER_SECONDS)
    return response


@require_safe
def check_workers(request: HttpRequest) -> HttpResponse:
    """Answer 200 if email is being sent: a living worker has looked for due email within the last minute. Else 503."""
    now = database_clock.now()
    alive = [worker for worker in system_status.list_workers(now) if worker.alive]
    age = system_status.compute_poll_age(alive, now)
    is_ok = age is not None and age <= MAX_POLL_AGE
    answer = {"status": "ok" if is_ok else "unavailable", "workers": len(alive), "last_poll_seconds": age}
    return JsonResponse(answer, status=200 if is_ok else 503)


def _describe_sending() -> str:
    active = pauses.load_active()
    if active.all_sending:
        return f"paused since {active.all_sending.paused_at:%Y-%m-%dT%H:%M:%SZ}; manage.py resume --all"
    paused = ", ".join(f"{queue} since {pause.paused_at:%Y-%m-%dT%H:%M:%SZ}" for queue, pause in active.queues.items())
    return f"paused queues: {paused}; manage.py resume --queue NAME" if paused else "ok"


class _Migrations:
    """The migrations that are missing. Remembers that none is: the check costs 20 ms, and no process unapplies one."""

    applied = False

    @classmethod
    def count_missing(cls) -> int:
        """Return how many migrations are not applied. Always queries the database, to prove that it answers."""
        if cls.applied:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            return 0
        executor = MigrationExecutor(connection)
        count = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        cls.applied = count == 0
        return count
