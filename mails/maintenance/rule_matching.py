"""Matches emails on their way with the routing rules again after the rules changed.

A run begins when every process has the new rules, so that no email that it has passed is stored under the old ones. It goes
through all emails that wait or are being sent, by the time they expire, in batches; a call in progress is left alone, and
its email goes by the new rule in its next attempt. Emails that are held or have ended are matched when a person lets them go
on. Several processes may run it at once.
"""

import datetime as dt
import time
import uuid
from dataclasses import dataclass

import structlog
from django.db.models import Q

from mails.configuration import FRESH
from mails.dispatch.due.routes import find_routes, parse_route
from mails.models import ConfigurationVersion, Mail, PeriodicTask
from mails.queues import QueueName
from mails.routing.book import RoutingRules, get_book
from mails.routing.matching import match_again
from mails.states import DUE, LEASED
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)

TASK = "routing-rules"
BATCH = 500  # emails
LOOK = 10.0  # seconds
MOST_ROUTES = 4096
SETTLED = dt.timedelta(seconds=2.5 * FRESH)  # after a change, before a run begins


@dataclass(slots=True)
class _Run:
    """A run through the emails on their way, for the rules of one version. `after`: the last email that it has passed."""

    version: uuid.UUID
    after: tuple[dt.datetime, uuid.UUID] | None = None
    matched: int = 0
    changed: int = 0


class RuleMatching:
    """The runs of one process."""

    def __init__(self) -> None:
        self._run: _Run | None = None
        self._looked_at = float("-inf")  # monotonic clock

    def work(self, *, seconds: float) -> int:
        """Work for this time, if the rules changed since the last run, and return how many emails have another rule now."""
        version = ConfigurationVersion.objects.filter(name=RoutingRules.name).first()
        if version is None or version.changed_at > database_clock.now() - SETTLED:
            return 0
        if self._is_done(version):
            return self._match_stale()
        if self._run is None or self._run.version != version.version:
            self._run = _Run(version=version.version)
        run, before, until = self._run, self._run.changed, time.monotonic() + seconds
        while time.monotonic() < until:
            if not self._pass_batch(run):
                run.changed += match_again(list(Mail.objects.filter(status__in=LEASED).values_list("pk", flat=True)))
                PeriodicTask.objects.filter(name=TASK).update(done_until=version.changed_at)
                log.info("emails_matched_again", emails=run.matched, changed=run.changed)
                self._run = None
                break
        return run.changed - before

    def _pass_batch(self, run: _Run) -> bool:
        """Match the next emails in the order of the index of those that expire; return False where there are none."""
        waiting = Mail.objects.filter(status__in=DUE)
        if run.after is not None:
            at, last = run.after
            waiting = waiting.filter(Q(expires_at__gt=at) | Q(expires_at=at, pk__gt=last), expires_at__gte=at)
        batch = list(waiting.order_by("expires_at", "pk").values_list("expires_at", "pk")[:BATCH])
        if not batch:
            return False
        run.changed += match_again([mail_id for _, mail_id in batch])
        run.matched += len(batch)
        run.after = batch[-1]
        return True

    def _match_stale(self) -> int:
        """Match emails again whose rule is gone, whatever brought them back, and return how many have another rule now.

        They would wait for ever. One probe of an index for each route that has emails, every LOOK seconds.
        """
        if time.monotonic() - self._looked_at < LOOK:
            return 0
        self._looked_at = time.monotonic()
        policies = get_book().policies
        found = find_routes(dict.fromkeys(QueueName.values, ""), limit=MOST_ROUTES, even_paused=True)
        rules = ((route, parse_route(route.name).accounts.constraint.rule) for route in found)
        stale = [route for route, rule in rules if rule is not None and rule not in policies]
        return sum(
            match_again(
                list(Mail.objects.filter(status__in=DUE, queue=queue, route=name).values_list("pk", flat=True)[:BATCH])
            )
            for queue, name, _ in stale
        )

    @staticmethod
    def _is_done(version: ConfigurationVersion) -> bool:
        return PeriodicTask.objects.filter(name=TASK, done_until__gte=version.changed_at).exists()
