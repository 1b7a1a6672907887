"""The storage of all files: Django's storage `mercury_files`. Uses no database.

It raises whatever its library raises; `ReadError` is a file that cannot be read, whatever the library.
"""

from collections.abc import Iterator
from typing import Any

from django.core.files import File
from django.core.files.storage import Storage, storages

from mercury.lib.storages.ranges import read_range

ALIAS = "mercury_files"
CHUNK = 1024 * 1024  # bytes that are read at once


class FileNotReadable(Exception):
    """The storage cannot give the content now."""


class FileMissing(FileNotReadable):
    """The storage has no such content."""


def get_storage() -> Storage:
    """Return the storage."""
    return storages[ALIAS]


def save(location: str, content: "File[Any]") -> None:
    """Write the content to this place, which must be new. The bytes are safe once this returns."""
    saved = get_storage().save(location, content)
    if saved != location:
        get_storage().delete(saved)
        raise OSError(f"the storage wrote to {saved} instead of {location}")


def delete(location: str) -> None:
    """Delete the content, if there is one."""
    get_storage().delete(location)


def open_content(location: str) -> "File[Any]":
    """Open a content for reading. Raises FileNotReadable."""
    try:
        return get_storage().open(location, "rb")
    except FileNotFoundError as error:
        raise FileMissing(f"{location} is missing") from error
    except Exception as error:  # each library has its own
        raise FileNotReadable(f"{location} cannot be read: {type(error).__name__}") from error


def read(location: str) -> bytes:
    """Return a content as a whole. Raises FileNotReadable."""
    with open_content(location) as file:
        try:
            content: bytes = file.read()
        except Exception as error:
            raise FileNotReadable(f"{location} cannot be read: {type(error).__name__}") from error
    return content


def iterate(location: str) -> Iterator[bytes]:
    """Yield a content in pieces. Raises FileNotReadable."""
    with open_content(location) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def iterate_range(location: str, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes of a content from `start` up to, without, `stop`, in pieces. Raises FileNotReadable."""
    try:
        yield from read_range(get_storage(), location, start, stop)
    except FileNotFoundError as error:
        raise FileMissing(f"{location} is missing") from error
    except OSError as error:
        raise FileNotReadable(f"{location} cannot be read: {error}") from error
