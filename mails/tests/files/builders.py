"""Uploads and download links for the tests: zeus sends hera a crown."""

import datetime as dt
import hashlib
import io
from typing import Any

from mails.files import contents, uploads
from mails.files.uploads import Owner
from mails.models import DownloadLink, StoredFile
from mails.tests.builders import a_mail
from mercury.lib.database import database_clock

CROWN = bytes(range(256)) * 40  # 10,240 bytes


def a_link(content: bytes = CROWN, **changes: Any) -> DownloadLink:
    """A download link, as an email of zeus has it."""
    sha256 = hashlib.sha256(content).hexdigest()
    contents.store({sha256: (content, len(content))})
    columns = {
        "mail": changes.pop("mail", None) or a_mail(),
        "number": 1,
        "filename": "crown.png",
        "content_type": "image/png",
        "size": len(content),
        "content_id": sha256,
        "sha256": sha256,
        "expires_at": database_clock.now() + dt.timedelta(days=30),
    }
    return DownloadLink.objects.create(**columns | changes)


def an_upload(content: bytes = CROWN, *, filename: str = "crown.png", owner: Owner | None = None) -> StoredFile:
    """An uploaded file; without an owner, that of the command line."""
    read = io.BytesIO(content).read
    return uploads.receive(read, filename=filename, declared="", size=len(content), owner=owner or Owner())
