"""A local file as a sink: one JSON object per line. Fit for a laptop, and for tools that ship log files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mails.events.cloud_events import Record
from mails.events.sinks.base import SinkUnavailable


class FileSink:
    """Appends to a file, and opens it again after a rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def publish(self, records: Sequence[Record]) -> Mapping[int, str]:
        """Append the records, and return once they are on the disk. Raises SinkUnavailable."""
        lines = b"".join(record.encode() + b"\n" for record in records)
        try:
            with self._path.open("ab") as file:
                if _ends_in_line(self._path):
                    lines = b"\n" + lines  # a crash has cut the last line short: keep it apart
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkUnavailable(f"{self._path}: {error.strerror}") from error
        return {}

    def close(self) -> None:
        """Do nothing: the file is closed after each group."""


def _ends_in_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"
