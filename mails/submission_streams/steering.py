"""What an operator does with a stream that emails are accepted from: pause, resume, give up. Each act is in the audit log."""

import structlog
from django.db import transaction

from mails.models import SubmissionStream
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)
KIND = "submission stream"  # in the audit log


@transaction.atomic
def pause(name: str, *, by: str) -> bool:
    """Accept nothing from the stream until it is resumed; return False if it was paused already. Its records wait in it."""
    running = SubmissionStream.objects.filter(name=name, paused_at=None)
    paused = running.update(paused_at=database_clock.now(), paused_by=by[:150])
    if paused:
        audit.record(Act.CHANGE, by=by, kind=KIND, name=name, detail="paused")
        log.info("submission_stream_paused", stream=name, by=by)
    return bool(paused)


@transaction.atomic
def resume(name: str, *, by: str) -> bool:
    """Accept what has waited; return False if the stream was not paused."""
    paused = SubmissionStream.objects.filter(name=name, paused_at__isnull=False)
    resumed = paused.update(paused_at=None, paused_by="")
    if resumed:
        audit.record(Act.CHANGE, by=by, kind=KIND, name=name, detail="resumed")
        log.info("submission_stream_resumed", stream=name, by=by)
    return bool(resumed)


@transaction.atomic
def forget(name: str, *, by: str) -> bool:
    """Forget its counts, and the positions of its shards if it is of Kinesis; return False if it is not known."""
    forgotten, _ = SubmissionStream.objects.filter(name=name).delete()
    if forgotten:
        audit.record(Act.DELETE, by=by, kind=KIND, name=name)
        log.info("submission_stream_forgotten", stream=name, by=by)
    return bool(forgotten)
