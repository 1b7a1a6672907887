"""Removal of streams that emails are accepted from. `mails.stream_pauses` pauses and resumes them."""

import structlog
from django.db import transaction

from mails.models import SubmissionStream
from mails.stream_pauses import KIND
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act

log = structlog.get_logger(__name__)


@transaction.atomic
def forget(name: str, *, by: str) -> bool:
    """Forget its counts, and the positions of its shards if it is of Kinesis; return False if it is not known."""
    forgotten, _ = SubmissionStream.objects.filter(name=name).delete()
    if forgotten:
        audit.record(Act.DELETE, by=by, kind=KIND[SubmissionStream], name=name)
        log.info("submission_stream_forgotten", stream=name, by=by)
    return bool(forgotten)
