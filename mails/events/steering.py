"""Replay and removal of event sinks by an operator. `mails.stream_pauses` pauses and resumes them."""

import structlog
from django.db import transaction

from mails.models import EventSink, RejectedRecord
from mails.stream_pauses import KIND
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act

log = structlog.get_logger(__name__)


@transaction.atomic
def replay(name: str, *, after: int, by: str) -> bool:
    """Publish the events behind this id once more, and then those that follow; return False if the sink has none of them.

    The relay goes on from there, wherever it is: what it publishes at this moment is published again, too.
    """
    moved = EventSink.objects.filter(name=name, position__gt=after).update(position=after)
    if moved:
        audit.record(Act.CHANGE, by=by, kind=KIND[EventSink], name=name, detail=f"replayed from event {after + 1} on")
        log.info("sink_replayed", sink=name, after=after, by=by)
    return bool(moved)


@transaction.atomic
def note_replay(name: str, *, events: int, first: int, by: str) -> None:
    """Record that a command published these events once more."""
    audit.record(
        Act.CHANGE, by=by, kind=KIND[EventSink], name=name, detail=f"replayed {events:,} events from event {first} on"
    )
    log.info("sink_replayed", sink=name, after=first - 1, by=by)


@transaction.atomic
def remove(name: str, *, by: str) -> bool:
    """Forget how far the sink is; return False if it is not known. If its variable is set, it begins with the events from now on."""
    removed, _ = EventSink.objects.filter(name=name).delete()
    if removed:
        audit.record(Act.DELETE, by=by, kind=KIND[EventSink], name=name)
        log.info("sink_removed", sink=name, by=by)
    return bool(removed)


@transaction.atomic
def forget_rejected(name: str, *, by: str) -> int:
    """Delete the list of events that the sink refused for good; return how many they were."""
    forgotten, _ = RejectedRecord.objects.filter(sink_id=name).delete()
    if forgotten:
        audit.record(Act.CHANGE, by=by, kind=KIND[EventSink], name=name, detail=f"forgot {forgotten:,} refused events")
    return forgotten
