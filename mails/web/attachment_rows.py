"""The files of the form: each a row that names an upload, or a file of an email that is copied, or has come with the form."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db.models import Q
from django.http import QueryDict
from django.urls import reverse

from mails.files import uploads
from mails.files.names import clean_filename
from mails.files.types import parse_type
from mails.files.uploads import Owner, UploadRefused
from mails.intake.attachment_fields import FileDelivery
from mails.models import DownloadLink, Mail, MailFile, StoredFile

FileOfMail = MailFile | DownloadLink
_OF_MAIL: Mapping[str, type[FileOfMail]] = {
    "mail": MailFile,
    "link": DownloadLink,
}  # in `mail/<id of the email>/<number>`
_DELETED = "It was deleted since that email was sent. Remove it, or add it once more."


@dataclass(slots=True, kw_only=True)
class AttachmentRow:
    """One file of the form."""

    id: str = ""  # of the upload, or the name of a file of an email; empty if it has come with the form
    filename: str
    content_type: str = ""
    size: int = 0  # bytes
    content_id: str = ""
    delivery: str = ""  # how it is sent; empty: as its size requires
    content: "UploadedFile[bytes] | None" = None  # where it has come with the form
    copied: FileOfMail | None = None  # where it is a file of an email that this person may see
    errors: list[str] = field(default_factory=list)

    @property
    def submitted(self) -> dict[str, Any]:
        """Return it as intake takes it."""
        if self.content is None:
            given: dict[str, Any] = {"file": self.id}
        else:
            given = {"filename": self.filename, "content": self.content}
            given |= {"content_type": self.content_type} if self.content_type else {}
        choices = {"content_id": self.content_id, "delivery": self.delivery}
        return given | {name: value for name, value in choices.items() if value}

    @property
    def picture_path(self) -> str:
        """Return the path of the picture that it may be."""
        if isinstance(self.copied, MailFile):
            return reverse("mail-picture", args=[self.copied.mail_id, self.copied.number])
        return reverse("draft-picture", args=[self.id])


def read_rows(typed: QueryDict, *, owner: Owner) -> list[AttachmentRow]:
    """Return the rows that the form was sent with, without those that are to be removed. At most two queries."""
    removed = set(typed.getlist("remove"))
    names = [name for name in dict.fromkeys(typed.getlist("file")) if name and name not in removed]
    found = _find_uploads(names, owner) | _find_copied(names, owner)
    return [
        replace(
            _make_row(name, found.get(name)),
            content_id=typed.get(f"content_id-{name}", "").strip(),
            delivery=typed.get(f"delivery-{name}", ""),
        )
        for name in names
    ]


def read_received(files: "Iterable[UploadedFile[bytes]]") -> list[AttachmentRow]:
    """Return rows for the files that a browser without scripts sends with the form."""
    return [
        AttachmentRow(
            filename=clean_filename(file.name or ""),
            content_type=parse_type(file.content_type or ""),
            size=file.size or 0,
            content=file,
        )
        for file in files
    ]


def list_rows(mail: Mail) -> list[AttachmentRow]:
    """Return rows for the files of an email that is copied: those attached, and those it links to. Two queries."""
    attached = [
        replace(_make_row(f"mail/{mail.pk}/{file.number}", file), content_id=file.cid)
        for file in MailFile.objects.filter(mail=mail)
    ]
    linked = [
        replace(_make_row(f"link/{mail.pk}/{file.number}", file), delivery=FileDelivery.LINK)
        for file in DownloadLink.objects.filter(mail=mail)
    ]
    return [*attached, *linked]


def adopt(rows: Iterable[AttachmentRow], *, owner: Owner) -> None:
    """Make the files of copied emails uploads of this person; their contents stay where they are."""
    for row in rows:
        if row.copied is not None and not row.errors:
            try:
                row.id = str(uploads.adopt(row.copied, owner=owner).pk)
            except UploadRefused as refused:
                row.errors.append(str(refused))


def keep_received(rows: Iterable[AttachmentRow], *, owner: Owner) -> None:
    """Make uploads of the files that came with a form which is shown again. A row says why its file cannot be kept."""
    for row in rows:
        if row.content is None:
            continue
        row.content.seek(0)
        try:
            stored = uploads.receive(
                row.content.read, filename=row.filename, declared=row.content_type, size=row.size, owner=owner
            )
        except UploadRefused as refused:
            row.errors = [f"{refused} Choose another file."]
        else:
            row.id = str(stored.pk)


def _find_uploads(names: Iterable[str], owner: Owner) -> dict[str, StoredFile | FileOfMail]:
    ids = [name for name in names if _is_id(name)]
    return {str(file.pk): file for file in uploads.list_own(owner).filter(pk__in=ids)} if ids else {}


def _find_copied(names: Iterable[str], owner: Owner) -> dict[str, StoredFile | FileOfMail]:
    """Return the files of emails that this person may see."""
    found: dict[str, StoredFile | FileOfMail] = {}
    emails = Mail.objects.visible_to(api_key=None, user=owner.user)
    for kind, model in _OF_MAIL.items():
        wanted = [copied for name in names if (copied := _parse_copied(name, kind))]
        if wanted:
            places = reduce(or_, (Q(mail=mail_id, number=number) for mail_id, number in wanted))
            files = model.objects.filter(places, mail__in=emails)
            found |= {f"{kind}/{file.mail_id}/{file.number}": file for file in files}
    return found


def _make_row(name: str, file: StoredFile | FileOfMail | None) -> AttachmentRow:
    if file is None:
        return AttachmentRow(id=name, filename="A file that is gone")
    row = AttachmentRow(id=name, filename=file.filename, content_type=file.content_type, size=file.size)
    if isinstance(file, FileOfMail):
        row.copied = file
        row.errors = [] if file.content_id else [_DELETED]
    return row


def _parse_copied(name: str, kind: str) -> tuple[uuid.UUID, int] | None:
    """Return the email and the number in the name of a file of an email; None for any other text."""
    found, _, rest = name.partition("/")
    mail_id, _, number = rest.partition("/")
    if found != kind or not _is_id(mail_id) or not (number.isascii() and number.isdecimal() and len(number) < 5):
        return None
    return uuid.UUID(mail_id), int(number)


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
