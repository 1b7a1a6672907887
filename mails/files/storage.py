"""The storage of all files: Django's storage `mercury_files`. Uses no database.

Each library has errors of its own; all of them become StorageUnavailable, or FileMissing.
"""

from collections.abc import Iterator
from typing import Any

import structlog
from django.core.files import File
from django.core.files.storage import Storage, storages

from mercury.lib.storages.errors import FileMissing, StorageUnavailable
from mercury.lib.storages.ranges import read_range

log = structlog.get_logger(__name__)

ALIAS = "mercury_files"
CHUNK = 1024 * 1024  # bytes that are read at once


class SourceFailed(Exception):
    """What is to be stored cannot be read, or is not to be stored: no fault of the storage."""


def get_storage() -> Storage:
    """Return the storage."""
    return storages[ALIAS]


def save(location: str, content: "File[Any]") -> None:
    """Write the content to this place, which must be new. The bytes are safe once this returns.

    Raises StorageUnavailable, and SourceFailed as reading the content raises it.
    """
    try:
        saved = get_storage().save(location, content)
    except SourceFailed:
        raise
    except Exception as error:
        raise _fail("file_not_written", error) from error
    if saved != location:
        delete(saved)
        raise StorageUnavailable(f"the storage wrote to {saved} instead of {location}")


def delete(location: str) -> None:
    """Delete the content, if there is one. Raises StorageUnavailable."""
    try:
        get_storage().delete(location)
    except Exception as error:
        raise _fail("file_not_deleted", error) from error


def open_content(location: str) -> "File[Any]":
    """Open a content for reading. Raises FileMissing or StorageUnavailable."""
    try:
        return get_storage().open(location, "rb")
    except FileNotFoundError as error:
        raise FileMissing(location) from error
    except Exception as error:
        raise _fail("file_not_read", error) from error


def read(location: str) -> bytes:
    """Return a content as a whole. Raises FileMissing or StorageUnavailable."""
    return b"".join(iterate(location))


def iterate(location: str) -> Iterator[bytes]:
    """Yield a content in pieces. Raises FileMissing or StorageUnavailable."""
    with open_content(location) as file:
        while chunk := _read_chunk(file):
            yield chunk


def iterate_range(location: str, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes of a content from `start` up to, without, `stop`, in pieces.

    Raises FileMissing or StorageUnavailable.
    """
    try:
        yield from read_range(get_storage(), location, start, stop)
    except FileNotFoundError as error:
        raise FileMissing(location) from error
    except Exception as error:
        raise _fail("file_not_read", error) from error


def _read_chunk(file: "File[Any]") -> bytes:
    try:
        chunk: bytes = file.read(CHUNK)
    except FileNotFoundError as error:
        raise FileMissing(file.name) from error
    except Exception as error:
        raise _fail("file_not_read", error) from error
    return chunk


def _fail(event: str, error: Exception) -> StorageUnavailable:
    """Note an error, and return what it becomes. Its text may contain a secret."""
    if not isinstance(error, StorageUnavailable):
        error = StorageUnavailable(getattr(error, "strerror", None) or type(error).__name__)
    log.warning(event, error=str(error))
    return error
