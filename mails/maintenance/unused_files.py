"""Deletes files that nothing uses: expired uploads, contents without an email, upload or link, and what dead processes wrote.

`mails.files.contents` says in which order, so that none is deleted that is used, and none is forgotten.
"""

import time

from django.db.models import QuerySet

from mails.files import contents, uploads
from mails.models import StoredFile
from mercury.lib.database import database_clock

TASK = "unused-files"
BATCH = 100  # uploads, contents or places in the storage at a time


def remove(*, seconds: float) -> int:
    """Delete them for about so long, and return how many places in the storage are free again. Several processes may do it."""
    until = time.monotonic() + seconds
    for upload in _list_expired()[:BATCH]:
        uploads.delete(upload)
    while contents.delete_unreferenced(BATCH) == BATCH and time.monotonic() < until:
        pass
    freed = 0
    while time.monotonic() < until and (deleted := contents.delete_unused(10)):
        freed += deleted
    return freed


def _list_expired() -> QuerySet[StoredFile]:
    """Return the uploads that expired a day ago: until then an answer says so to their client."""
    return StoredFile.objects.filter(expires_at__lt=database_clock.now() - contents.KEPT_UNUSED).order_by("expires_at")
