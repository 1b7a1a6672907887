"""Uploads: files that a client sends once and refers to in its emails.

A client sees its own uploads only. What it has uploaded, or announced, has at most MERCURY_FILE_QUOTA bytes at a time.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet, Sum

from mails.files import contents
from mails.files.contents import ContentTooLarge, MeasuredContent
from mails.files.names import clean_filename
from mails.files.types import choose_type, find_mismatch
from mails.models import ApiKey, DownloadLink, FilePiece, MailFile, StoredFile
from mails.models.querysets import StoredFileQuerySet
from mercury.lib.database import database_clock
from mercury.lib.durations import format_size

UNFINISHED_KEPT = dt.timedelta(days=1)  # for an upload to be resumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The client that a file belongs to: a key, a user, or the command line (neither)."""

    api_key: ApiKey | None = None
    user: Any = None

    @property
    def columns(self) -> dict[str, Any]:
        """Return the columns of `StoredFile` that name it."""
        return {"api_key": self.api_key, "user": None if self.api_key else self.user}


class UploadRefused(Exception):
    """An upload that is not taken. `code` is stable and short; the text says what is wrong and what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class QuotaExceeded(UploadRefused):
    """The client has no room left."""


class FileTooLarge(UploadRefused):
    """The file is larger than a file may be."""


class UploadGone(UploadRefused):
    """The upload was deleted while its bytes arrived."""


def receive(
    read: Callable[[int], bytes], *, filename: str, declared: str, size: int | None, owner: Owner
) -> StoredFile:
    """Store a file while it arrives, and return it. `size`: as announced; None: unknown. Raises UploadRefused.

    Its place in the quota is taken before its first byte, so that uploads at the same time cannot exceed it together.
    """
    file = begin(filename=filename, declared=declared, size=size, owner=owner)
    try:
        content = MeasuredContent(read, limit=file.size)
        location = contents.write(content)
        if size is not None and content.size < size:
            contents.discard([location])
            raise UploadRefused("body_incomplete", "The connection ended before the body did.")
        return finish(file, content, location)
    except BaseException as error:
        delete(file)
        if isinstance(error, ContentTooLarge):
            raise build_too_large() from None
        raise


def begin(*, filename: str, declared: str, size: int | None, owner: Owner) -> StoredFile:
    """Return a new upload, of which nothing is received. Raises UploadRefused."""
    if size == 0:
        raise _build_empty()
    if size is not None and size > settings.MERCURY_MAX_FILE_SIZE:
        raise build_too_large()
    now = database_clock.now()
    file = StoredFile(
        **owner.columns,
        filename=clean_filename(filename),
        content_type=declared,
        size=settings.MERCURY_MAX_FILE_SIZE if size is None else size,
        created_at=now,
        expires_at=now + UNFINISHED_KEPT,
    )
    _save_within_quota(file, owner)
    return file


def finish(file: StoredFile, content: MeasuredContent, location: str) -> StoredFile:
    """Give an upload its content, which is written to this place. Raises UploadRefused if the content is not what it claims."""
    content_type = choose_type(file.content_type, file.filename, content.head)
    try:
        if not content.size:
            raise _build_empty()
        if found := find_mismatch(content_type, content.head):
            raise build_mismatch(content_type, found)
    except UploadRefused:
        contents.discard([location])
        raise
    contents.keep(content.sha256, content.size, location)
    changes = {
        "content_id": content.sha256,
        "content_type": content_type,
        "size": content.size,
        "received": content.size,
        "expires_at": database_clock.now() + settings.MERCURY_FILE_RETENTION,
    }
    if not StoredFile.objects.filter(pk=file.pk).update(**changes):
        raise UploadGone("upload_deleted", "The upload was deleted before it was complete.")
    for name, value in changes.items():
        setattr(file, name, value)
    return file


def adopt(file: MailFile | DownloadLink, *, owner: Owner) -> StoredFile:
    """Return an upload of the client with the content of a file of an email. Raises UploadRefused.

    No byte is copied. The same file gives the same upload, as long as that is kept.
    """
    same = list_own(owner).filter(content=file.content_id, filename=file.filename, content_type=file.content_type)
    if found := same.first():
        return found
    if file.content_id is None or not contents.mark_used([file.content_id]):
        raise UploadGone("file_gone", "The file was deleted.")
    now = database_clock.now()
    upload = StoredFile(
        **owner.columns,
        filename=file.filename,
        content_type=file.content_type,
        size=file.size,
        received=file.size,
        content_id=file.content_id,
        created_at=now,
        expires_at=now + settings.MERCURY_FILE_RETENTION,
    )
    _save_within_quota(upload, owner)
    return upload


def list_own(owner: Owner) -> StoredFileQuerySet:
    """Return the client's uploads that have not expired."""
    unexpired = StoredFile.objects.filter(expires_at__gt=database_clock.now())
    return unexpired.owned_by(api_key=owner.api_key, user=owner.user)


def delete(file: StoredFile) -> None:
    """Delete an upload. Emails that use it keep its content."""
    with transaction.atomic():
        release_pieces(file)
        StoredFile.objects.filter(pk=file.pk).delete()


def release_pieces(file: StoredFile) -> None:
    """Have the pieces of an upload deleted."""
    with transaction.atomic():
        pieces = list(FilePiece.objects.filter(file=file).values_list("pk", "location"))
        contents.put_on_record([location for _, location in pieces])
        FilePiece.objects.filter(pk__in=[pk for pk, _ in pieces]).delete()


def build_mismatch(declared: str, found: str) -> UploadRefused:
    """Return the error of a content that is not of its type."""
    return UploadRefused("wrong_content_type", f"It is declared as {declared}, but its content is {found}.")


def build_too_large() -> FileTooLarge:
    """Return the error of a file that is too large for an upload."""
    most = format_size(settings.MERCURY_MAX_FILE_SIZE)
    return FileTooLarge("too_large", f"The file is larger than {most}, the limit (`MERCURY_MAX_FILE_SIZE`).")


def _build_empty() -> UploadRefused:
    return UploadRefused("empty_file", "The file is empty; send at least one byte.")


def _save_within_quota(file: StoredFile, owner: Owner) -> None:
    """Store the row of an upload. Raises QuotaExceeded if the client's files would have too many bytes together with it.

    Two of one client wait for each other: so neither is refused for the sake of one that is refused as well.
    """
    with transaction.atomic():
        _lock(owner)
        used = list_own(owner).aggregate(size=Sum("size", default=0))["size"] + file.size
        if used <= settings.MERCURY_FILE_QUOTA:
            file.save(force_insert=True)
            return
    most = format_size(settings.MERCURY_FILE_QUOTA)
    raise QuotaExceeded(
        "quota_exceeded",
        f"With this file your uploads would have {format_size(used)}; at most {most} are allowed (`MERCURY_FILE_QUOTA`). "
        "Delete some, or wait until they expire.",
    )


def _lock(owner: Owner) -> None:
    """Let others of this client wait until the transaction ends; those who submit email do not."""
    clients: QuerySet[Any] = ApiKey.objects.all() if owner.api_key else get_user_model()._default_manager.all()
    client = owner.api_key or owner.user
    if client is not None:
        list(clients.select_for_update(no_key=True).filter(pk=client.pk).values_list("pk", flat=True))
