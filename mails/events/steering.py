"""What an operator does with a sink: pause, resume, give up, publish a range again."""

import structlog

from mails.models import EventSink
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)


def pause(name: str, *, by: str) -> bool:
    """Publish nothing to the sink until it is resumed; return False if it was paused already. Events wait in the outbox."""
    paused = EventSink.objects.filter(name=name, paused_at=None).update(paused_at=database_clock.now(), paused_by=by)
    if paused:
        log.info("sink_paused", sink=name, by=by)
    return bool(paused)


def resume(name: str, *, by: str) -> bool:
    """Publish what has waited; return False if the sink was not paused."""
    resumed = EventSink.objects.filter(name=name, paused_at__isnull=False).update(paused_at=None, paused_by="")
    if resumed:
        log.info("sink_resumed", sink=name, by=by)
    return bool(resumed)


def remove(name: str, *, by: str) -> bool:
    """Forget how far the sink is; return False if it is not known. If its variable is set, it begins with the events from now on."""
    removed, _ = EventSink.objects.filter(name=name).delete()
    if removed:
        log.info("sink_removed", sink=name, by=by)
    return bool(removed)
