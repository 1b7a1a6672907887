"""Resumable uploads: pieces that are stored as they arrive, and put together at the end. Any process may go on with one.

A piece counts once its row is committed: a process that dies loses the piece that it was reading, and nothing else.
"""

from collections.abc import Callable, Iterator

from django.core.files.base import ContentFile
from django.db import transaction
from django.http import UnreadablePostError

from mails.files import contents, storage, uploads
from mails.files.contents import ContentIncomplete, MeasuredContent
from mails.files.uploads import UploadRefused
from mails.models import FilePiece, StoredFile

PIECE = 4 * 1024 * 1024  # bytes; what one upload needs in memory


class OffsetMismatch(UploadRefused):
    """The bytes do not begin where the upload ends."""


def append(file: StoredFile, start: int, read: Callable[[int], bytes]) -> StoredFile:
    """Store the bytes that arrive, from `start` on, and return the upload; complete it with the last ones.

    Raises UploadRefused; what arrived before is stored. Of two that append at once, one has a mismatch.
    """
    if start != file.received:
        raise _build_mismatch(file.received)
    while file.received < file.size:
        piece, is_broken = _read_piece(read, min(PIECE, file.size - file.received))
        if piece:
            _store_piece(file, piece)
        if is_broken:
            raise ContentIncomplete
        if not piece:
            break
    return complete(file) if file.received == file.size else file


def complete(file: StoredFile) -> StoredFile:
    """Put an upload together whose bytes have all arrived, unless that is done. Raises UploadRefused, and deletes it then."""
    if file.content_id is not None:
        return file
    content = MeasuredContent(_Pieces(file).read, limit=file.size)
    location = contents.write(content)
    try:
        done = uploads.finish(file, content, location)
    except UploadRefused:
        uploads.delete(file)
        raise
    uploads.release_pieces(file)
    return done


def _read_piece(read: Callable[[int], bytes], size: int) -> tuple[bytes, bool]:
    """Return up to `size` bytes, and True if the connection broke."""
    piece = bytearray()
    try:
        while len(piece) < size and (chunk := read(size - len(piece))):
            piece += chunk
    except UnreadablePostError:
        return bytes(piece), True
    return bytes(piece), False


def _store_piece(file: StoredFile, piece: bytes) -> None:
    location = contents.write(ContentFile(piece))
    start, end = file.received, file.received + len(piece)
    with transaction.atomic():
        is_next = StoredFile.objects.filter(pk=file.pk, received=start, content=None).update(received=end)
        if is_next:
            FilePiece.objects.create(file=file, start=start, size=len(piece), location=location)
            contents.take_off_record([location])
    if not is_next:
        contents.discard([location])
        raise _build_mismatch(StoredFile.objects.filter(pk=file.pk).values_list("received", flat=True).first() or 0)
    file.received = end


def _build_mismatch(received: int) -> OffsetMismatch:
    return OffsetMismatch("offset_mismatch", f"The upload has {received} bytes; go on there. HEAD says where.")


class _Pieces:
    """The pieces of an upload as one stream."""

    def __init__(self, file: StoredFile) -> None:
        self._chunks = self._iterate(list(file.pieces.order_by("start").values_list("location", flat=True)))

    def read(self, size: int) -> bytes:
        """Return the next bytes, at least one until the end."""
        return next(self._chunks, b"")

    def _iterate(self, locations: list[str]) -> Iterator[bytes]:
        for location in locations:
            yield from storage.iterate(location)
