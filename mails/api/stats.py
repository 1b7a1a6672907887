"""The figures of the house over the API: how it stands now, and what happened over a period."""

import datetime as dt
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.api import stats_schema
from mails.reporting import alerts, statistics, system_status
from mails.reporting.statistics import Figures, PeriodTooLong
from mails.states import Level
from mercury.lib import durations
from mercury.lib.database import database_clock
from mercury.lib.json_values import plain
from mercury.lib.rest.problems import Fault, Problem
from mercury.lib.rest.resource import ApiView

DEFAULT_PERIOD = dt.timedelta(hours=1)


class _Stats(ApiView):
    required_scopes = {"GET": Scope.STATS_READ}


class _OfPeriod(_Stats):
    query_parameters = {"GET": ("since", "until", "per")}


class Now(_Stats):
    """How the house stands now."""

    @stats_schema.now
    def get(self, request: Request) -> Response:
        """The state in one sentence, alerts, what waits, workers, accounts."""
        found = system_status.read()
        listed = alerts.of(found)
        return Response({"verdict": alerts.verdict(found, listed), "alerts": plain(listed), **plain(found)})


class Lanes(_OfPeriod):
    """What became of mails, by lane."""

    @stats_schema.lanes
    def get(self, request: Request) -> Response:
        """Counts, rates and times of all mails, and of each lane."""
        figures = _figures(request)
        return _told(figures, house=statistics.house(figures), lanes=statistics.lanes(figures))


class Applications(_OfPeriod):
    """What became of mails, by application."""

    @stats_schema.applications
    def get(self, request: Request) -> Response:
        """Counts, rates and times of the mails of each application, the one that sent most first."""
        figures = _figures(request)
        return _told(figures, applications=statistics.applications(figures, statistics.application_names()))


class Providers(_OfPeriod):
    """How the calls of provider accounts ended."""

    @stats_schema.providers
    def get(self, request: Request) -> Response:
        """Calls, failures by kind, share of mail and latency of each account."""
        figures = _figures(request)
        return _told(figures, providers=statistics.providers(figures))


class Series(_OfPeriod):
    """The period stretch by stretch, for charts."""

    @stats_schema.series
    def get(self, request: Request) -> Response:
        """Arrivals, ends and times of each minute, ten minutes, hour or day."""
        figures = _figures(request)
        return _told(figures, points=statistics.series(figures))


class Breakers(_Stats):
    """The history of provider accounts."""

    query_parameters = {"GET": ("since", "until")}

    @stats_schema.breakers
    def get(self, request: Request) -> Response:
        """What breakers did and people set, newest first, the last 200."""
        since, until = _period(request)
        changes = [
            {"account": one.account_name, "at": one.created_at, "by": one.by, "what": one.what, "state": one.state}
            for one in statistics.breaker_history(since, until)
        ]
        return Response(plain({"since": since, "until": until, "changes": changes}))


def _told(figures: Figures, **parts: Any) -> Response:
    return Response(plain({"since": figures.since, "until": figures.until, "per": figures.level, **parts}))


def _figures(request: Request) -> Figures:
    since, until = _period(request)
    per = request.query_params.get("per", "")
    if per and per not in statistics.LEVELS:
        raise _wrong("per", f"'{per}' is no stretch of time. Known: {', '.join(statistics.LEVELS)}.")
    try:
        return statistics.load(since, until, Level(per) if per else None)
    except PeriodTooLong as error:
        raise _wrong("per", str(error)) from None


def _period(request: Request) -> tuple[dt.datetime, dt.datetime]:
    now = database_clock.now()
    since = _moment(request, "since", now - DEFAULT_PERIOD, now)
    until = _moment(request, "until", now, now)
    if since >= until:
        raise _wrong("since", "The period ends before it begins: 'since' has to be earlier than 'until'.")
    return since, until


def _moment(request: Request, name: str, default: dt.datetime, now: dt.datetime) -> dt.datetime:
    value = request.query_params.get(name, "")
    if not value:
        return default
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        try:
            return now - durations.parse(value)
        except (ValueError, OverflowError):
            raise _wrong(name, f"'{value[:40]}' is neither an age (15m, 1h, 7d) nor a time in ISO 8601.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _wrong(parameter: str, detail: str) -> Problem:
    return Problem(400, "invalid_period", detail, errors=[Fault(detail, "invalid_period", parameter=parameter)])
