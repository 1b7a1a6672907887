"""The files that submissions give: found among the client's uploads, or stored before their emails are."""

from collections.abc import Collection, Sequence
from typing import Any

from rest_framework.exceptions import ErrorDetail

from mails.files import contents, uploads
from mails.files.uploads import Owner
from mails.intake.attachment_fields import GivenFile
from mails.message.message import AttachmentReference
from mails.models import StoredFile

References = tuple[AttachmentReference, ...]


def resolve(files: Sequence[GivenFile], *, owner: Owner) -> tuple[References, Any]:
    """Return the references of these files, and their errors by number. One query if there are uploads among them."""
    ids = {file.file_id for file in files if file.file_id is not None}
    found = {upload.pk: upload for upload in uploads.list_own(owner).filter(pk__in=ids)} if ids else {}
    references, errors = [], dict[str, Any]()
    for number, file in enumerate(files):
        upload = found.get(file.file_id) if file.file_id is not None else None
        if error := _find_error(file, upload):
            errors[str(number)] = {"file": [error]}
        elif upload is not None:
            references.append(_refer(file, upload))
        else:
            references.append(file.refer())
    return tuple(references), errors


def store(files: Sequence[GivenFile], hashes: Collection[str]) -> None:
    """Store the contents that are not stored yet. From here on all of them are kept for a day, also if no email follows."""
    uploaded = set(hashes)
    for file in files:
        if file.content is not None:
            contents.store(file.content, file.sha256, file.size)
            uploaded.discard(file.sha256)
    if uploaded:
        contents.mark_used(uploaded)


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
