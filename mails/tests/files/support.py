"""Contents and places of files, for the tests."""

from pathlib import Path

from django.conf import settings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
PDF = b"%PDF-1.7\n" + b"crown " * 20
TEXT = b"You made my day\r\n"
FILES = "/api/v1.0/files/"


def list_stored() -> list[Path]:
    """The files that the storage has."""
    return sorted(path for path in Path(settings.MERCURY_DATA, "files").rglob("*") if path.is_file())


def upload(client, content: bytes = PNG, *, filename: str = "crown.png", content_type: str = "image/png", **headers):
    return client.generic(
        "POST", f"{FILES}?filename={filename}" if filename else FILES, content, content_type=content_type, **headers
    )
