"""The routes of due emails: `Mail.route` as a value, and the SQL that finds those with emails on their way."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from django.db import connection

from mails.lifecycle.sql import PAUSED_QUEUES, SENDING_NOT_PAUSED
from mails.lifecycle.values import MailState
from mails.models.mail import ROUTE_LENGTH
from mercury.lib.database.recordset import as_json, as_time
from providers.kinds.capabilities import read_needs
from providers.routing.rules import ANY_ACCOUNT, NO_CONSTRAINT, NO_TRAITS, Route, RoutingConstraint

# The first email of each route, by one probe of the index `mail_due` each: a loose index scan, since neither database
# skips from one value of a column to the next by itself. It reads none of the emails behind the first.
FIND_ROUTES = """
    WITH RECURSIVE starts (queue, after) AS (VALUES {starts}), routes (queue, route, next_attempt_at) AS (
        SELECT mail.queue, mail.route, mail.next_attempt_at FROM starts JOIN mails_mail AS mail ON mail.id = (
            SELECT id FROM mails_mail
            WHERE status IN ('queued', 'waiting') AND queue = starts.queue AND route > starts.after
            ORDER BY route, next_attempt_at LIMIT 1
        )
        WHERE {is_wanted}
        UNION ALL
        SELECT mail.queue, mail.route, mail.next_attempt_at FROM routes JOIN mails_mail AS mail ON mail.id = (
            SELECT id FROM mails_mail
            WHERE status IN ('queued', 'waiting') AND queue = routes.queue AND route > routes.route
            ORDER BY route, next_attempt_at LIMIT 1
        )
    )
    SELECT queue, route, next_attempt_at FROM routes LIMIT %s
"""


class QueuedRoute(NamedTuple):
    """A route in one queue, with the time at which its first email is due."""

    queue: str
    name: str  # `Mail.route`
    due_at: dt.datetime


class MailRoute(NamedTuple):
    """The value of `Mail.route`."""

    accounts: Route  # everything that decides which accounts its emails may use
    failure_classes: tuple[str, ...] = ()  # of this round
    is_cut: bool = False  # too long to be stored whole, so that each email must be asked for its own


ANY_ROUTE = MailRoute(ANY_ACCOUNT)


@lru_cache(maxsize=4096)
def parse_route(name: str) -> MailRoute:
    """Return the value of `Mail.route`; a cut one where this version of Mercury does not understand it."""
    needs, _, rest = name.partition("\t")
    traits = read_needs(needs) if needs else NO_TRAITS
    if traits is None:
        return MailRoute(ANY_ACCOUNT, is_cut=True)
    if len(name) >= ROUTE_LENGTH:
        return MailRoute(Route(traits=traits), is_cut=True)
    constraint, tried, failure_classes, rule = rest.split("\t")
    parsed = _parse_constraint(orjson.loads(constraint or "null"), int(rule) if rule else None)
    route = Route(traits=traits, constraint=parsed, tried=_parse(tried))
    return MailRoute(ANY_ACCOUNT if route == ANY_ACCOUNT else route, _parse(failure_classes))


def read_route(name: str, constraint: Any, rule: int | None, state: MailState) -> MailRoute:
    """Return the route of an email's row. `constraint`, `rule`: the columns, for a route that is too long to tell."""
    route = parse_route(name)
    if not route.is_cut:
        return route
    own = replace(route.accounts, constraint=_parse_constraint(as_json(constraint), rule), tried=state.tried)
    return route._replace(accounts=own, failure_classes=state.failure_classes)


def _parse_constraint(blob: Mapping[str, Any] | None, rule: int | None) -> RoutingConstraint:
    constraint = RoutingConstraint.from_blob(blob) if blob else NO_CONSTRAINT
    return constraint if rule is None else replace(constraint, rule=rule)


def _parse(names: str) -> tuple[str, ...]:
    return tuple(orjson.loads(names))


def find_routes(starts: Mapping[str, str], *, limit: int, even_paused: bool = False) -> list[QueuedRoute]:
    """Return up to `limit` routes with emails on their way, in each of these queues those after a route, in their order.

    Each comes with the time of its first email, due or not. None of a paused queue, none while all sending is paused, unless
    `even_paused`.
    """
    sql = FIND_ROUTES.format(
        starts=", ".join(["(%s, %s)"] * len(starts)),
        is_wanted="true" if even_paused else f"starts.queue NOT IN {PAUSED_QUEUES} AND {SENDING_NOT_PAUSED}",
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*(value for start in starts.items() for value in start), limit])
        return [QueuedRoute(queue, name, as_time(due_at)) for queue, name, due_at in cursor.fetchall()]
