"""The files that submissions give: found among the client's uploads, or stored before their emails are."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from rest_framework.exceptions import ErrorDetail

from mails.files import contents, uploads
from mails.files.uploads import Owner
from mails.intake.attachment_fields import GivenFile, list_upload_ids
from mails.message.message import AttachmentReference
from mails.models import StoredFile

References = tuple[AttachmentReference, ...]
READ_TOGETHER = STORED_TOGETHER = MARKED_TOGETHER = (
    1000  # uploads, contents; a database has a limit on the parameters of a statement
)


class OwnFiles:
    """The uploads of one client, as the submissions of one call refer to them. All are read when the first is needed."""

    def __init__(self, owner: Owner, given: Iterable[Any] = ()) -> None:
        """`given`: the attachments of all submissions, as they were given."""
        self._owner = owner
        self._given = given
        self._found: dict[uuid.UUID, StoredFile | None] = {}

    def resolve(self, files: Sequence[GivenFile]) -> tuple[References, Any]:
        """Return the references of these files, and their errors by number. One query for a thousand new uploads."""
        wanted = {file.file_id for file in files if file.file_id is not None}
        if not wanted <= self._found.keys():
            self._load(wanted.union(*map(list_upload_ids, self._given)) - self._found.keys())
        references, errors = [], dict[str, Any]()
        for number, file in enumerate(files):
            upload = self._found[file.file_id] if file.file_id is not None else None
            if error := _find_error(file, upload):
                errors[str(number)] = {"file": [error]}
            elif upload is not None:
                references.append(_refer(file, upload))
            else:
                references.append(file.refer())
        return tuple(references), errors

    def _load(self, ids: set[uuid.UUID]) -> None:
        self._found |= dict.fromkeys(ids)
        own, listed = uploads.list_own(self._owner), sorted(ids)
        for start in range(0, len(listed), READ_TOGETHER):
            self._found |= {upload.pk: upload for upload in own.filter(pk__in=listed[start : start + READ_TOGETHER])}


def store(files: Iterable[GivenFile], hashes: Iterable[str]) -> None:
    """Store the contents that are not stored yet, each once. From here on all are kept for a day, also if no email follows."""
    given = {file.sha256: (file.content, file.size) for file in files if file.content is not None}
    listed = list(given)
    for start in range(0, len(listed), STORED_TOGETHER):
        contents.store({sha256: given[sha256] for sha256 in listed[start : start + STORED_TOGETHER]})
    uploaded = sorted(set(hashes) - given.keys())
    for start in range(0, len(uploaded), MARKED_TOGETHER):
        contents.mark_used(uploaded[start : start + MARKED_TOGETHER])


def _find_error(file: GivenFile, upload: StoredFile | None) -> ErrorDetail | None:
    if file.file_id is None:
        return None
    if upload is None:
        return ErrorDetail(f"There is no uploaded file {file.file_id}; it may have expired.", "unknown_file")
    if upload.content_id is None:
        words = f"The upload is not complete: {upload.received} of {upload.size} bytes have arrived."
        return ErrorDetail(words, "incomplete_file")
    return None


def _refer(file: GivenFile, upload: StoredFile) -> AttachmentReference:
    assert upload.content_id is not None  # noqa: S101 (the caller looked)
    return AttachmentReference(
        filename=file.filename or upload.filename,
        content_type=upload.content_type,
        size=upload.size,
        sha256=upload.content_id,
        content_id=file.content_id,
    )
