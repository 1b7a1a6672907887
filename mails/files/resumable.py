"""Resumable uploads: pieces that are stored as they arrive, and put together at the end. Any process may go on with one.

A piece counts once its row is committed: a process that dies loses the piece that it was reading, and nothing else.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from django.core.files.base import ContentFile
from django.db import transaction
from django.http import UnreadablePostError

from mails.files import contents, storage, uploads
from mails.files.contents import ContentIncomplete, MeasuredContent
from mails.files.uploads import FileTooLarge, UploadRefused
from mails.models import FilePiece, StoredFile

PIECE = 4 * 1024 * 1024  # bytes; what one upload needs in memory


ALGORITHMS = ("sha256", "sha1", "md5")  # of checksums: against accidents, so the weak ones do


class OffsetMismatch(UploadRefused):
    """The bytes do not begin where the upload ends."""


class ChecksumMismatch(UploadRefused):
    """The bytes are not those that the client sent."""


class Checksum(NamedTuple):
    """The hash of the bytes of one request, as the client computed it."""

    algorithm: str  # of ALGORITHMS
    digest: bytes


class _Piece(NamedTuple):
    start: int
    size: int
    location: str


def append(
    file: StoredFile, start: int, read: Callable[[int], bytes], *, checksum: Checksum | None = None
) -> StoredFile:
    """Store the bytes that arrive, from `start` on, and return the upload; complete it with the last ones.

    Raises UploadRefused or ContentIncomplete; what arrived before is stored, with a checksum only all of it together. Of
    two that append at once, one has a mismatch.
    """
    if start != file.received:
        raise _build_mismatch(file.received)
    if checksum is None:
        for piece in _write_pieces(file, read):
            _keep_pieces(file, [piece])
    else:
        _append_checked(file, read, checksum)
    return complete(file) if file.received == file.size else file


def _append_checked(file: StoredFile, read: Callable[[int], bytes], checksum: Checksum) -> None:
    hashed, pieces = hashlib.new(checksum.algorithm, usedforsecurity=False), list[_Piece]()

    def read_hashed(size: int) -> bytes:
        chunk = read(size)
        hashed.update(chunk)
        return chunk

    try:
        pieces.extend(_write_pieces(file, read_hashed))
        if hashed.digest() != checksum.digest:
            words = f"The bytes do not have this {checksum.algorithm}; none of them were stored. Send them again."
            raise ChecksumMismatch("checksum_mismatch", words)
    except BaseException:
        contents.discard([piece.location for piece in pieces])
        raise
    _keep_pieces(file, pieces)


def _write_pieces(file: StoredFile, read: Callable[[int], bytes]) -> Iterator[_Piece]:
    """Write the bytes that arrive for an upload, and yield where they are, each at most PIECE. Raises UploadRefused.

    A piece that nobody keeps is deleted a day later. ContentIncomplete follows what arrived before the connection broke.
    """
    start, is_broken = file.received, False
    while not is_broken:
        piece, is_broken = _read_piece(read, min(PIECE, file.size - start + 1))
        if len(piece) > file.size - start:
            raise FileTooLarge("too_large", f"The upload was announced with {file.size} bytes.")
        if not piece:
            break
        yield _Piece(start, len(piece), contents.write(ContentFile(piece)))
        start += len(piece)
    if is_broken:
        raise ContentIncomplete


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


def _keep_pieces(file: StoredFile, pieces: list[_Piece]) -> None:
    """Let pieces that are written count, all or none. Raises OffsetMismatch if others came first."""
    end = file.received + sum(piece.size for piece in pieces)
    locations = [piece.location for piece in pieces]
    with transaction.atomic():
        is_next = StoredFile.objects.filter(pk=file.pk, received=file.received, content=None).update(received=end)
        if is_next:
            FilePiece.objects.bulk_create(FilePiece(file=file, **piece._asdict()) for piece in pieces)
            contents.take_off_record(locations)
    if not is_next:
        contents.discard(locations)
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
