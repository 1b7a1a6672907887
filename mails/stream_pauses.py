"""Pause and resume of one stream: of one that events are published to, or of one that emails are accepted from."""

from typing import Final

import structlog
from django.db import transaction

from mails.models import EventSink, SubmissionStream
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)
Stream = type[EventSink] | type[SubmissionStream]
KIND: Final = {EventSink: "event stream", SubmissionStream: "submission stream"}  # in the audit log


@transaction.atomic
def pause(stream: Stream, name: str, *, by: str) -> bool:
    """Publish or accept nothing until it is resumed; return False if it was paused already. What comes meanwhile waits."""
    paused = stream.objects.filter(name=name, paused_at=None).update(paused_at=database_clock.now(), paused_by=by)
    if paused:
        audit.record(Act.CHANGE, by=by, kind=KIND[stream], name=name, detail="paused")
        log.info("stream_paused", kind=KIND[stream], stream=name, by=by)
    return bool(paused)


@transaction.atomic
def resume(stream: Stream, name: str, *, by: str) -> bool:
    """Publish or accept what has waited; return False if the stream was not paused."""
    resumed = stream.objects.filter(name=name, paused_at__isnull=False).update(paused_at=None, paused_by="")
    if resumed:
        audit.record(Act.CHANGE, by=by, kind=KIND[stream], name=name, detail="resumed")
        log.info("stream_resumed", kind=KIND[stream], stream=name, by=by)
    return bool(resumed)
