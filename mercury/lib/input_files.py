"""Files that are named on a command line: opened without waiting for ever, and read up to a limit."""

import errno
import io
import os
import stat
import sys
from typing import IO, BinaryIO

from mercury.lib.durations import format_size

STDIN = "-"


def open_file(name: str) -> BinaryIO:
    """Open a file, or a pipe such as the shell's `<(…)`; `-` is standard input. Raises OSError.

    A device is refused: it may have no end. A pipe that nobody writes to is empty, instead of waiting for somebody.
    """
    if name == STDIN:
        return getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode())
    opened = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(opened).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise OSError(errno.EINVAL, "It is a device or a socket, not a file", name)
        os.set_blocking(opened, True)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def is_regular(file: IO[bytes]) -> bool:
    """Return True if the file can be read again, and says how large it is."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def read(name: str, *, at_most: int) -> bytes:
    """Return the content of a file. Raises OSError, also if it has more than `at_most` bytes."""
    with open_file(name) as file:
        return read_all(file, at_most=at_most)


def read_all(file: IO[bytes], *, at_most: int) -> bytes:
    """Return the rest of an open file. Raises OSError if it has more than `at_most` bytes."""
    content = file.read(at_most + 1)
    if len(content) > at_most:
        raise build_too_large(at_most)
    return content


def build_too_large(limit: int) -> OSError:
    """Return the error for a file of more than so many bytes."""
    return OSError(errno.EFBIG, f"It has more than {format_size(limit)}")
