"""The figures of this instance over the API: its status now, and what happened over a period."""

import datetime as dt
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.api.fields import parse_time_or_age
from mails.api.serializers import stats as shown
from mails.reporting import alerts, statistics, system_status
from mails.reporting.statistics import PeriodTooLong, Statistics
from mails.states import Level
from mercury.lib.database import database_clock
from mercury.lib.rest.problems import FieldError, Problem
from mercury.lib.rest.resource import ApiViewSet

DEFAULT_PERIOD = dt.timedelta(hours=1)


class StatsViewSet(ApiViewSet):
    """The figures of this instance."""

    tag, noun = "Statistics", "stats"
    required_scopes = {"GET": Scope.STATS_READ}
    query_parameters = {
        "breakers": ("since", "until"),
        **dict.fromkeys(("queues", "applications", "providers", "series"), ("since", "until", "per")),
    }
    pagination_class = None

    @action(detail=False, serializer_class=shown.CurrentStatusSerializer)
    def now(self, request: Request) -> Response:
        """Read the system status.

        The status in one sentence, alerts, what waits, workers, accounts.
        """
        found = system_status.read_system_status()
        listed = alerts.find_alerts(found)
        return self._respond({"summary": alerts.summarize(found, listed), "alerts": listed, "status": found})

    @extend_schema(parameters=[shown.IntervalsQuerySerializer])
    @action(detail=False, serializer_class=shown.QueueStatsSerializer)
    def queues(self, request: Request) -> Response:
        """Read figures by queue.

        Counts, rates and times of all emails, and of each queue.
        """
        figures = _load_figures(request)
        return self._respond(
            _show_period(figures)
            | {"total": statistics.summarize_all(figures), "queues": statistics.summarize_queues(figures)}
        )

    @extend_schema(parameters=[shown.IntervalsQuerySerializer])
    @action(detail=False, serializer_class=shown.ApplicationStatsSerializer)
    def applications(self, request: Request) -> Response:
        """Read figures by application.

        Counts, rates and times of the emails of each application, most emails first.
        """
        figures = _load_figures(request)
        listed = statistics.summarize_applications(figures, statistics.load_application_names())
        return self._respond(_show_period(figures) | {"applications": listed})

    @extend_schema(parameters=[shown.IntervalsQuerySerializer])
    @action(detail=False, serializer_class=shown.ProviderStatsSerializer)
    def providers(self, request: Request) -> Response:
        """Read figures by provider account.

        Attempts, failures by class, share of email and latency of each account.
        """
        figures = _load_figures(request)
        return self._respond(_show_period(figures) | {"providers": statistics.summarize_accounts(figures)})

    @extend_schema(parameters=[shown.IntervalsQuerySerializer])
    @action(detail=False, serializer_class=shown.SeriesStatsSerializer)
    def series(self, request: Request) -> Response:
        """Read figures as a series.

        Arrivals, results and times of each minute, ten minutes, hour or day.
        """
        figures = _load_figures(request)
        return self._respond(_show_period(figures) | {"points": statistics.build_series(figures)})

    @extend_schema(parameters=[shown.PeriodQuerySerializer])
    @action(detail=False, serializer_class=shown.BreakerStatsSerializer)
    def breakers(self, request: Request) -> Response:
        """Read the history of breakers.

        What breakers did and people set, newest first, the last 200.
        """
        since, until = _parse_period(request)
        return self._respond({"since": since, "until": until, "changes": statistics.load_breaker_history(since, until)})

    def _respond(self, figures: dict[str, Any]) -> Response:
        return Response(self.get_serializer(figures).data)


def _show_period(figures: Statistics) -> dict[str, Any]:
    return {"since": figures.since, "until": figures.until, "per": figures.level}


def _load_figures(request: Request) -> Statistics:
    since, until = _parse_period(request)
    per = request.query_params.get("per", "")
    if per and per not in statistics.LEVELS:
        raise _build_problem("per", f"'{per}' is not an interval. Known: {', '.join(statistics.LEVELS)}.")
    try:
        return statistics.load_statistics(since, until, Level(per) if per else None)
    except PeriodTooLong as error:
        raise _build_problem("per", str(error)) from None


def _parse_period(request: Request) -> tuple[dt.datetime, dt.datetime]:
    now = database_clock.now()
    since = _parse_time(request, "since", now - DEFAULT_PERIOD, now)
    until = _parse_time(request, "until", now, now)
    if since >= until:
        raise _build_problem("since", "The period ends before it begins: 'since' has to be earlier than 'until'.")
    return since, until


def _parse_time(request: Request, name: str, default: dt.datetime, now: dt.datetime) -> dt.datetime:
    value = request.query_params.get(name, "")
    if not value:
        return default
    try:
        return parse_time_or_age(value, now)
    except ValueError as error:
        raise _build_problem(name, str(error)) from None


def _build_problem(parameter: str, detail: str) -> Problem:
    return Problem(
        400, "invalid_period", detail, errors=[FieldError(detail=detail, code="invalid_period", parameter=parameter)]
    )
