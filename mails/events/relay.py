"""The relay of one sink: reads the outbox, publishes, and remembers how far it is. At least once, in order per email.

One process publishes to a sink at a time, by a lease in the sink's row that is longer than publishing one group takes. Where
one relay ends is known before the next begins: a process that dies or does not know whether a group arrived publishes that
group again, with the same ids.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from mails.events import cloud_events, outbox
from mails.events.cloud_events import Record
from mails.events.commit_horizon import CommitHorizon
from mails.events.outbox import OutboxEvent
from mails.events.sinks.base import MOST_REASON, Sink, SinkUnavailable
from mails.events.sinks.config import SinkConfig
from mails.models import EventSink, RejectedRecord
from mercury.lib.database import database_clock
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)

GROUP = 2000  # events that are published at once
LEASE = dt.timedelta(seconds=30)  # more than any sink may take for one group …
RENEWED = dt.timedelta(seconds=25)  # … so that a group begins with at least this much of it
RATE_OVER = dt.timedelta(minutes=1)  # what one rate is measured over, at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Result of one pass. `is_behind`: there may be more at once."""

    events: int = 0
    is_behind: bool = False
    is_failing: bool = False


class Relay:
    """Publishes the events of all emails to one sink, as long as this process is the one that does."""

    def __init__(self, config: SinkConfig, *, process: str) -> None:
        self._config = config
        self._process = process
        self._horizon = process_state.get(CommitHorizon)
        self._sink: Sink | None = None

    def run_pass(self) -> Published:
        """Publish the next group of events, if this process holds the lease. Returns at once if there is none."""
        until = self._horizon.advance()
        row = self._lease(until) if until is not None else None
        if until is None or row is None or row.paused_at is not None:
            return Published()
        events = outbox.read(row.position, until, limit=GROUP)
        if not events:
            return Published()
        records = build_records(events, self._config)
        try:
            self._sink = self._sink or self._config.open()
            rejected = self._sink.publish(records)
        except SinkUnavailable as error:
            self._note_failure(row, str(error))
            return Published(is_failing=True)
        self._advance(row, events[-1].id, rejected, len(events))
        return Published(events=len(events), is_behind=len(events) == GROUP)

    def stop(self) -> None:
        """Release the lease, so that another process may go on at once, and the sink."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        self._own().update(leased_until=None)

    def _lease(self, until: int) -> EventSink | None:
        """Return the sink's row, leased long enough for one group; None if another process holds it."""
        now = database_clock.now()
        row = EventSink.objects.filter(name=self._config.name).first()
        if row is None:
            first = EventSink(name=self._config.name, position=until, created_at=now)
            EventSink.objects.bulk_create([first], ignore_conflicts=True)
            return None
        if row.leader == self._process and row.leased_until is not None and row.leased_until > now + RENEWED:
            return row
        # A lease that ends later than any may began before the clock went back.
        over = Q(leased_until=None) | Q(leased_until__lt=now) | Q(leased_until__gt=now + 2 * LEASE)
        free = EventSink.objects.filter(Q(leader=self._process) | over, name=self._config.name)
        if not free.update(leader=self._process, leased_until=now + LEASE):
            return None
        return EventSink.objects.get(name=self._config.name)  # where the one before has stopped

    def _own(self) -> QuerySet[EventSink]:
        return EventSink.objects.filter(name=self._config.name, leader=self._process)

    def _advance(self, row: EventSink, position: int, rejected: Mapping[int, str], count: int) -> None:
        """Record that the sink has everything up to this event. If the lease was lost, the other one counts."""
        now = database_clock.now()
        with transaction.atomic():
            moved = (
                self._own()
                .filter(position=row.position)
                .update(
                    position=position,
                    published=F("published") + count - len(rejected),
                    published_at=now,
                    last_error="",
                    failing_since=None,
                    leased_until=now + LEASE,
                    **_measure_rate(row, row.published + count - len(rejected), now),
                )
            )
            if moved and rejected:
                RejectedRecord.objects.bulk_create(
                    [
                        RejectedRecord(sink_id=row.name, event_id=number, reason=reason, rejected_at=now)
                        for number, reason in rejected.items()
                    ],
                    ignore_conflicts=True,
                )
        if not moved:
            log.warning("sink_lease_lost", sink=row.name)
        for number, reason in rejected.items():
            log.error("event_rejected_by_sink", sink=row.name, event_id=number, reason=reason)
        if moved and row.last_error:
            log.info("sink_back", sink=row.name)

    def _note_failure(self, row: EventSink, error: str) -> None:
        if not row.last_error:
            log.warning("sink_away", sink=row.name, error=error)
        since = row.failing_since or database_clock.now()
        self._own().update(last_error=error[:MOST_REASON], failing_since=since)


def _measure_rate(row: EventSink, published: int, now: dt.datetime) -> dict[str, object]:
    """Return what changes once a minute: its rate, and from where the next is measured."""
    if row.rate_since is None:
        return {"rate_since": now, "rate_published": row.published}
    if now - row.rate_since < RATE_OVER:
        return {}
    rate = (published - row.rate_published) / (now - row.rate_since).total_seconds()
    return {"rate": rate, "rate_since": now, "rate_published": published}


def build_records(events: Iterable[OutboxEvent], config: SinkConfig) -> list[Record]:
    """Return the events as the sink publishes them."""
    return [cloud_events.build(event, source=get_source(), addresses=config.addresses) for event in events]


def get_source() -> str:
    """Return the `source` of this instance's events: its address, where it has one."""
    return f"{settings.MERCURY_BASE_URL}/api/v1.0/mails" if settings.MERCURY_BASE_URL else "/mercury"
