"""The files of the form: each a row that names an upload, and what is to be done with it."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict

from mails.files import uploads
from mails.files.names import clean_filename
from mails.files.types import parse_type
from mails.files.uploads import Owner, UploadRefused
from mails.models import StoredFile


@dataclass(slots=True, kw_only=True)
class AttachmentRow:
    """One file of the form."""

    id: str  # of the upload
    filename: str
    content_type: str = ""
    size: int = 0  # bytes
    content_id: str = ""
    delivery: str = ""
    errors: list[str] = field(default_factory=list)

    @property
    def submitted(self) -> dict[str, Any]:
        """Return it as intake takes it."""
        choices = {"content_id": self.content_id, "delivery": self.delivery}
        return {"file": self.id} | {name: value for name, value in choices.items() if value}


def read_rows(typed: QueryDict, owner: Owner) -> list[AttachmentRow]:
    """Return the rows that the form was sent with, without those that were to be removed. One query."""
    removed = set(typed.getlist("remove"))
    ids = [file_id for file_id in typed.getlist("file") if file_id and file_id not in removed]
    files = {str(file.pk): file for file in uploads.list_own(owner).filter(pk__in=filter(_is_id, ids))}
    return [_make_row(file_id, files.get(file_id), typed) for file_id in dict.fromkeys(ids)]


def receive(files: Iterable[UploadedFile], owner: Owner) -> tuple[list[AttachmentRow], list[str]]:
    """Store the files that a browser sent with the form, and return their rows, and an error for each that is refused."""
    rows, errors = [], []
    for file in files:
        try:
            stored = uploads.receive(
                file.read,
                filename=file.name or "",
                declared=parse_type(file.content_type or ""),
                size=file.size,
                owner=owner,
            )
        except UploadRefused as refused:
            errors.append(f"{clean_filename(file.name or '')}: {refused}")
        else:
            rows.append(_make_row(str(stored.pk), stored, QueryDict()))
    return rows, errors


def _make_row(file_id: str, file: StoredFile | None, typed: QueryDict) -> AttachmentRow:
    return AttachmentRow(
        id=file_id,
        filename=file.filename if file else "A file",
        content_type=file.content_type if file else "",
        size=file.size if file else 0,
        content_id=typed.get(f"content_id-{file_id}", "").strip(),
        delivery=typed.get(f"delivery-{file_id}", ""),
    )


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
