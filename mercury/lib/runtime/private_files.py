"""Files and folders that nobody else on the machine can read: emails and secrets lie in them."""

import os
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
OTHERS = 0o007  # a group may be given access on purpose, as by Kubernetes' fsGroup; everybody is an accident


def make_folder(path: Path) -> None:
    """Make this folder, and those above it that are missing, for their owner alone. One that exists stays as it is."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    path.mkdir(mode=FOLDER, exist_ok=True)


def write(path: Path, content: bytes) -> None:
    """Write a new file for its owner alone."""
    with open(path, "wb", opener=_make_private) as file:
        file.write(content)


def touch(path: Path) -> None:
    """Make an empty file for its owner alone; one that exists stays as it is."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE))


def is_open_to_all(path: Path) -> bool:
    """Return whether everybody on this machine has some access to `path`; False if it does not exist."""
    try:
        return bool(path.stat().st_mode & OTHERS)
    except OSError:
        return False


def _make_private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE)
