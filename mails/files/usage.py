"""Which emails use an upload, and the removal of uploads that none uses."""

import uuid
from collections.abc import Collection

from django.db.models import Exists, OuterRef, Q

from mails.files import uploads
from mails.models import DownloadLink, MailFile, StoredFile
from mails.models.querysets import StoredFileQuerySet

SHOWN = 20  # emails that use an upload


class FileInUse(Exception):
    """Emails use the content of the upload, so that its removal would free nothing."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__(
            f"{file.filename} is used by emails. It is deleted by itself: the upload when it expires, the content with the "
            "last email that has it."
        )


def annotate(files: StoredFileQuerySet) -> StoredFileQuerySet:
    """Return these uploads with `is_used`: an email, or a download link, has the content."""
    same = {"content": OuterRef("content_id")}
    used = Q(Exists(MailFile.objects.filter(**same))) | Q(Exists(DownloadLink.objects.filter(**same)))
    return files.annotate(is_used=Q(content__isnull=False) & used)


def list_emails(file: StoredFile) -> list[uuid.UUID]:
    """Return the emails that have the content of an upload, the newest first, at most SHOWN."""
    if file.content_id is None:
        return []
    found = {
        mail_id
        for model in (MailFile, DownloadLink)
        for mail_id in model.objects.filter(content=file.content_id)
        .order_by("-mail")
        .values_list("mail", flat=True)[:SHOWN]
    }
    return sorted(found, reverse=True)[:SHOWN]


def remove(file_ids: Collection[uuid.UUID]) -> int:
    """Remove these uploads, and return how many there were. Raises FileInUse before any is removed.

    An email that is accepted at the same moment keeps the content: it is deleted a day after the last use.
    """
    files = list(annotate(StoredFile.objects.filter(pk__in=file_ids)))
    for file in files:
        if file.is_used:  # type: ignore[attr-defined]  # annotated
            raise FileInUse(file)
    for file in files:
        uploads.delete(file)
    return len(files)
