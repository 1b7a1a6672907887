"""Files on a local disk, readable by their owner alone, and safe from a power failure once they are saved."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage

from mercury.lib.runtime import private_files


class LocalStorage(FileSystemStorage):
    """Django's storage on disk, in the folder `files` of `MERCURY_DATA` unless it is given another one."""

    def __init__(self, location: str | None = None) -> None:
        super().__init__(
            location,
            base_url="",
            file_permissions_mode=private_files.FILE,
            directory_permissions_mode=private_files.FOLDER,
        )

    @property
    def base_location(self) -> Path:
        """Return the folder."""
        return Path(self._location or settings.MERCURY_DATA / "files")  # type: ignore[attr-defined]

    @property
    def location(self) -> str:
        """Return the folder as an absolute path."""
        return str(self.base_location.absolute())

    def _save(self, name: str, content: Any) -> str:
        """Write the file, and return when it is on the disk: the rows that name it are, once they are committed."""
        missing = self._list_missing_folders(Path(self.path(name)).parent)
        saved: str = super()._save(name, content)  # type: ignore[misc]
        path = Path(self.path(saved))
        for entry in (path, path.parent, *(folder.parent for folder in missing)):
            _sync(entry)
        return saved

    def _list_missing_folders(self, folder: Path) -> list[Path]:
        return [] if folder.is_dir() else [folder, *self._list_missing_folders(folder.parent)]


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
