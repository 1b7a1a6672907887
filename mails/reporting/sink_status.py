"""How far each sink is behind: events not yet published, the age of the oldest, and why none is published."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Max

from mails.models import Event, EventSink, RejectedRecord
from mercury.lib.database import database_clock

COUNTED_AT_MOST = 100_000  # rejected records
TRIES_AGAIN = dt.timedelta(minutes=1)  # a relay that fails waits up to 30 s, longer than its lease lasts
RATE_IS_OLD = dt.timedelta(minutes=2)  # the relay measures once a minute, as long as it publishes


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """The status of one sink at one moment. `backlog`: about how many events it lacks; ids that were never used count too."""

    name: str
    state: str  # `publishing`, `paused`, `failing` or `stopped`: no process publishes to it
    backlog: int
    oldest: float | None  # age in seconds of the first event that it lacks
    published: int
    rate: float  # events published a second, over about the last minute
    published_at: dt.datetime | None
    error: str
    failing_since: dt.datetime | None
    paused_by: str
    paused_at: dt.datetime | None
    leader: str
    rejected: int  # events that it refused for good


def list_sinks(now: dt.datetime) -> list[SinkStatus]:
    """Return the status of all sinks, by name: one query if there is none, else three for each and one more."""
    rows = list(EventSink.objects.order_by("name"))
    if not rows:
        return []
    last = Event.objects.aggregate(last=Max("id"))["last"] or 0
    return [_build(row, last, now) for row in rows]


def _build(row: EventSink, last: int, now: dt.datetime) -> SinkStatus:
    first = Event.objects.filter(pk__gt=row.position).order_by("pk").values_list("created_at", flat=True).first()
    oldest = None if first is None else max(0.0, (now - database_clock.from_ns(first)).total_seconds())
    return SinkStatus(
        name=row.name,
        state=_name_state(row, now),
        backlog=0 if first is None else max(0, last - row.position),
        oldest=oldest,
        published=row.published,
        rate=_compute_rate(row, now),
        published_at=row.published_at,
        error=row.last_error,
        failing_since=row.failing_since,
        paused_by=row.paused_by,
        paused_at=row.paused_at,
        leader=row.leader,
        rejected=RejectedRecord.objects.filter(sink=row)[:COUNTED_AT_MOST].count(),
    )


def _compute_rate(row: EventSink, now: dt.datetime) -> float:
    """Return the rate that the relay measured; since it began to measure or published last, if it has no fresh one."""
    if row.rate_since is None:
        return 0.0
    elapsed = now - row.rate_since
    if row.rate and elapsed < RATE_IS_OLD:
        return row.rate
    return (row.published - row.rate_published) / max(elapsed.total_seconds(), 1.0)


def _name_state(row: EventSink, now: dt.datetime) -> str:
    if row.paused_at is not None:
        return "paused"
    silence = TRIES_AGAIN if row.last_error else dt.timedelta()
    if row.leased_until is None or row.leased_until < now - silence:
        return "stopped"
    return "failing" if row.last_error else "publishing"
