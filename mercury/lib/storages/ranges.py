"""Read a stored file from any byte on, without the bytes before it and never whole in memory.

Django's `Storage.open` leaves open how a file is read. The libraries of remote storages fetch a whole file before its
first byte can be read, so each storage of Mercury also has `read_range`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, Protocol, runtime_checkable

from django.core.files.base import File
from django.core.files.storage import Storage

from mercury.lib.storages.errors import StorageUnavailable

CHUNK = 256 * 1024  # bytes that are read, and sent, at once


@runtime_checkable
class ReadsRanges(Protocol):
    """A storage that fetches a part of a file."""

    def read_range(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, without, `stop`. Raises FileNotFoundError, or StorageUnavailable."""


def read_range(storage: Storage, name: str, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes of a stored file from `start` up to, without, `stop`, in pieces.

    Raises FileNotFoundError, or another OSError if the storage fails or the file is shorter; both also after the first
    pieces, but a file that is missing from the beginning is found out before any.
    """
    pieces = (
        storage.read_range(name, start, stop) if isinstance(storage, ReadsRanges) else _read(storage, name, start, stop)
    )
    missing = stop - start
    for piece in pieces:
        missing -= len(piece)
        yield piece
    if missing:
        raise StorageUnavailable(f"The stored file {name} ended {missing} bytes too early.")


def _read(storage: Storage, name: str, start: int, stop: int) -> Iterator[bytes]:
    with storage.open(name) as file:
        file.seek(start)
        missing = stop - start
        while missing and (piece := file.read(min(CHUNK, missing))):
            missing -= len(piece)
            yield piece


def read_pieces(content: File[bytes], size: int) -> Iterator[bytes]:
    """Yield a content in pieces of this size, the last one of the rest; one empty piece if it is empty.

    It is read once, from where it is, and may give less than it is asked for at any time.
    """
    piece, is_first = bytearray(), True
    while chunk := content.read(size - len(piece)):
        piece += chunk
        if len(piece) == size:
            yield bytes(piece)
            piece.clear()
            is_first = False
    if piece or is_first:
        yield bytes(piece)


class RemoteFile(io.RawIOBase):
    """A stored file that is fetched while it is read, from where it is read."""

    def __init__(self, storage: ReadsRanges, name: str, size: int) -> None:
        super().__init__()
        self._storage, self._name, self._size = storage, name, size
        self._position = 0
        self._pieces: Iterator[bytes] | None = None
        self._rest = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Read from there on; bytes that were fetched ahead are lost."""
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if position < 0:
            raise ValueError(f"negative seek position {position}")
        if position != self._position:
            self._position, self._pieces, self._rest = position, None, b""
        return position

    def readinto(self, buffer: Any, /) -> int:
        """Read into the buffer, at most one piece, and return how many bytes."""
        if self._position >= self._size:
            return 0
        if self._pieces is None:
            self._pieces = iter(self._storage.read_range(self._name, self._position, self._size))
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                raise StorageUnavailable(f"The stored file {self._name} ended too early.")
            self._rest = piece
        taken = min(len(buffer), len(self._rest))
        buffer[:taken], self._rest = self._rest[:taken], self._rest[taken:]
        self._position += taken
        return taken


def open_remote(storage: ReadsRanges, name: str, size: int) -> File[bytes]:
    """Return a stored file as Django's `Storage.open` does."""
    reader: IO[bytes] = io.BufferedReader(RemoteFile(storage, name, size), CHUNK)
    file: File[bytes] = File(reader, name)
    file.size = size
    return file
