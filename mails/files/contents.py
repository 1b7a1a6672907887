"""Contents of files: written once, shared by all files that have the same bytes, deleted when nothing uses them.

Order is what keeps them. Before bytes are written, their place is on record as unused (`UnusedFile`); the transaction that
makes them a content takes it off. A content that is about to be used is marked as such before the row that uses it is
written, and is kept for a day more: `mails.maintenance.unused_files` deletes only what was not marked for longer.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.core.files import File
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.http import UnreadablePostError

from mails.files import storage
from mails.files.storage import SourceFailed
from mails.files.types import HEAD
from mails.models import FileContent, UnusedFile, uuid7
from mercury.lib.database import database_clock

KEPT_UNUSED = dt.timedelta(days=1)  # also the longest that bytes may take to be written
_MARKED_AGAIN = dt.timedelta(hours=1)  # a content that many emails use is marked once an hour


# The time is asked for twice: the row may have been marked since it was found, and PostgreSQL looks at the row alone again.
_DELETE_UNREFERENCED = """
    DELETE FROM mails_filecontent WHERE sha256 IN (
        SELECT sha256 FROM mails_filecontent AS content
        WHERE used_at < %s
            AND NOT EXISTS (SELECT 1 FROM mails_mailfile WHERE content_id = content.sha256)
            AND NOT EXISTS (SELECT 1 FROM mails_storedfile WHERE content_id = content.sha256)
            AND NOT EXISTS (SELECT 1 FROM mails_downloadlink WHERE content_id = content.sha256)
        ORDER BY used_at LIMIT %s {lock}
    ) AND used_at < %s RETURNING location
"""


class ContentTooLarge(SourceFailed):
    """The content has more bytes than it may have."""


class ContentIncomplete(SourceFailed):
    """The connection ended before the content did."""


class WritingExpired(Exception):
    """Writing took longer than a day: the bytes were deleted."""


class MeasuredContent(File):  # type: ignore[type-arg]
    """Bytes on their way to the storage, which are hashed and counted as they pass. They can be read once.

    `read`: returns at most this number of bytes of the source, and none at its end. Raises ContentTooLarge after `limit` bytes.
    """

    def __init__(self, read: Callable[[int], bytes], *, limit: int) -> None:
        super().__init__(None)
        self.head = b""
        self._read, self._limit, self._hash, self._size = read, limit, hashlib.sha256(), 0

    @property
    def size(self) -> int:
        """Return the bytes that have passed."""
        return self._size

    @property
    def sha256(self) -> str:
        """Return the hash of the bytes that have passed."""
        return self._hash.hexdigest()

    def read(self, size: int = storage.CHUNK) -> bytes:
        """Return the next bytes."""
        try:
            chunk = self._read(size if size > 0 else storage.CHUNK)
        except UnreadablePostError as error:
            raise ContentIncomplete from error
        self._size += len(chunk)
        if self._size > self._limit:
            raise ContentTooLarge
        self._hash.update(chunk)
        if len(self.head) < HEAD:
            self.head += chunk[: HEAD - len(self.head)]
        return chunk

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes."""
        while chunk := self.read(chunk_size or storage.CHUNK):
            yield chunk

    def seekable(self) -> bool:
        """Return False: what has passed is gone."""
        return False


def write(content: "File[Any]") -> str:
    """Write bytes to a new place, and return it. It stays on record as unused until something keeps it, for a day."""
    (location,) = write_all([content])
    return location


def write_all(written: "Sequence[File[Any]]") -> list[str]:
    """Write the bytes of each to a new place, and return these, as `write` does. One statement for all."""
    locations, delete_at = [_choose_location() for _ in written], database_clock.now() + KEPT_UNUSED
    UnusedFile.objects.bulk_create(UnusedFile(location=location, delete_at=delete_at) for location in locations)
    try:
        for location, content in zip(locations, written, strict=True):
            storage.save(location, content)
    except BaseException:
        discard(locations)
        raise
    return locations


def keep(sha256: str, size: int, location: str) -> None:
    """Make what was written a content. If there is one of the same bytes, use that instead, and discard these."""
    keep_all([FileContent(sha256=sha256, size=size, location=location)])


def keep_all(written: Iterable[FileContent]) -> None:
    """Make all that were written contents, as `keep` does. The same few statements for any number of them."""
    with transaction.atomic():
        by_hash = {content.sha256: content for content in written}
        known = mark_used(by_hash)
        new = sorted(by_hash.keys() - known)  # in one order: two writers never wait for each other in turn
        FileContent.objects.bulk_create([by_hash[sha256] for sha256 in new], ignore_conflicts=True)
        stored = set(FileContent.objects.filter(pk__in=new).values_list("location", flat=True))
        kept = [content.location for content in by_hash.values() if content.location in stored]
        take_off_record(kept)
        if others := {content.location for content in by_hash.values()}.difference(kept):
            discard(others)


def store(given: Mapping[str, tuple["bytes | File[Any]", int]]) -> None:
    """Store contents, with their sizes, by their hashes; one that is stored already is marked as used."""
    known = mark_used(given)
    new = {sha256: content for sha256, content in given.items() if sha256 not in known}
    if not new:
        return
    files = [ContentFile(content) if isinstance(content, bytes) else content for content, _ in new.values()]
    places = zip(new.items(), write_all(files), strict=True)
    keep_all(FileContent(sha256=sha256, size=size, location=location) for (sha256, (_, size)), location in places)


def mark_used(hashes: Collection[str]) -> set[str]:
    """Mark contents as about to be used, and return the hashes of those that exist: for a day nothing deletes them.

    Usually one query that changes nothing. In a transaction the mark counts once that is committed.
    """
    now = database_clock.now()
    used_at = dict(FileContent.objects.filter(pk__in=hashes).values_list("pk", "used_at"))
    recent = {sha256 for sha256, moment in used_at.items() if moment > now - _MARKED_AGAIN}
    return recent | {sha256 for sha256 in sorted(used_at.keys() - recent) if _mark(sha256, now)}


def _mark(sha256: str, now: dt.datetime) -> bool:
    return FileContent.objects.filter(pk=sha256).update(used_at=now) > 0


def take_off_record(locations: Collection[str]) -> None:
    """Take places off the record of unused ones, in the transaction that keeps them. Raises WritingExpired."""
    kept, _ = UnusedFile.objects.filter(location__in=locations, is_deleting=False).delete()
    if kept < len(locations):
        raise WritingExpired


def put_on_record(locations: Collection[str]) -> None:
    """Put places that nothing uses any more on the record of unused ones, in the transaction that gives them up."""
    now = database_clock.now()
    places = [UnusedFile(location=location, delete_at=now) for location in locations]
    UnusedFile.objects.bulk_create(places, ignore_conflicts=True)


def discard(locations: Collection[str]) -> None:
    """Have the bytes in these places, which are on record as unused, deleted soon."""
    UnusedFile.objects.filter(location__in=locations).update(delete_at=database_clock.now())


def delete_unused(limit: int) -> int:
    """Delete the bytes of up to `limit` places that are unused, and return how many. Several processes may do it at once.

    A place whose bytes cannot be deleted now is tried again after those that came later.
    """
    now = database_clock.now()
    due = UnusedFile.objects.filter(delete_at__lte=now).order_by("delete_at").values_list("location", flat=True)
    locations = list(due[:limit])
    # From here on no writer can keep them: it would find its place being deleted, and give up.
    UnusedFile.objects.filter(location__in=locations, delete_at__lte=now).update(
        is_deleting=True, delete_at=now + dt.timedelta(minutes=10)
    )
    deleting = UnusedFile.objects.filter(location__in=locations, is_deleting=True)
    deleted = 0
    for location in deleting.values_list("location", flat=True):
        storage.delete(location)
        deleted += UnusedFile.objects.filter(location=location).delete()[0]
    return deleted


def delete_unreferenced(limit: int) -> int:
    """Give up contents that no email, no upload and no download link uses, and that were not marked for a day. Return how many.

    One statement: a content that is marked, or used, while it runs is looked at again, and stays.
    """
    cutoff = connection.ops.adapt_datetimefield_value(database_clock.now() - KEPT_UNUSED)
    statement = _DELETE_UNREFERENCED.format(lock="FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else "")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statement, [cutoff, limit, cutoff])
            locations = [location for (location,) in cursor.fetchall()]
        put_on_record(locations)
    return len(locations)


def _choose_location() -> str:
    """Return a new name: contents share their bytes, but a name is used once, so that no late deletion meets new bytes."""
    name = uuid7().hex
    return f"{name[-2:]}/{name}"
