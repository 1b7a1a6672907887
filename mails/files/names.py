"""Names of files as people and mail programs see them: one step of a path, printable, of a bounded length. Uses no database."""

import re
import unicodedata

from mercury.lib.mail import printable

MAX_BYTES = 200  # of UTF-8: what file systems take, with room for what programs add
NAMELESS = "file"
_SEPARATORS = re.compile(r"[/\\]")
_FORBIDDEN = re.compile(r'[<>:"|?*]')  # on Windows
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)")  # devices of Windows
_MAX_EXTENSION = 20  # bytes


def clean_filename(name: str) -> str:
    """Return a name that is safe to show and to save under; never empty.

    Keeps the last step of a path; drops controls, marks that turn text around, and what is drawn as nothing; replaces
    characters and names that file systems reserve; cuts the name before its extension.
    """
    name = printable.replace_unprintable(unicodedata.normalize("NFC", name), by="", allowed="")
    name = _SEPARATORS.split(name.rstrip("/\\ "))[-1]
    name = _FORBIDDEN.sub("_", " ".join(name.split())).strip(". ")
    if not name:
        return NAMELESS
    if _RESERVED.match(name):
        name = f"_{name}"
    return _shorten(name)


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > _MAX_EXTENSION:
        stem, dot, extension = name, "", ""
    room = MAX_BYTES - len(f"{dot}{extension}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + extension
