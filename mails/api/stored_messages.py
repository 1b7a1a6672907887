"""Stored messages as answers show them: whole, or without bodies where an answer has no room for them."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.db.models import Case, F, TextField, Value, When

from mails.message import mime
from mails.message.message import Message
from mails.models import Content, DownloadLink, Mail, MailFile, MailLabel
from providers.kinds.capabilities import Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMessage:
    """A stored message. `is_cut`: the answer has no room for its bodies."""

    message: Message
    is_cut: bool = False
    files: Sequence[MailFile] = ()
    links: Sequence[DownloadLink] = ()


def read_messages(mails: Sequence[Mail], *, room: int) -> dict[uuid.UUID, ShownMessage]:
    """Return the messages of these emails, whose recipients were loaded; `room`: bytes of bodies, those of the first first.

    One query, another one if retention removed a body: tags and metadata stay, one if an email has files, and one if it
    has, or may have had, download links.
    """
    fitting = _choose_fitting(mails, room)
    rows = Content.objects.filter(mail__in=mails).values_list(
        "mail", _read_if("text", fitting), _read_if("html", fitting), "other_fields"
    )
    contents = {pk: (text, html, other_fields) for pk, text, html, other_fields in rows}
    labels = _read_labels([mail.pk for mail in mails if mail.text_removed_at])
    files = _read_files([mail.pk for mail in mails if Feature.ATTACHMENTS.value in mail.needs])
    shown = {}
    for mail in mails:
        text, html, other_fields = contents.get(mail.pk, ("", "", None))
        message = mime.build_stored(mail, mail.recipients.all(), text=text, html=html, other_fields=other_fields)
        if mail.pk in labels:
            message = replace(
                message,
                tags=tuple(value for name, value in labels[mail.pk] if not name),
                metadata={name: value for name, value in labels[mail.pk] if name},
            )
        shown[mail.pk] = ShownMessage(message=message, is_cut=mail.pk not in fitting, files=files.get(mail.pk, ()))
    links = _read_links([mail.pk for mail in mails if mail.text_removed_at or shown[mail.pk].message.links])
    return shown | {mail_id: replace(shown[mail_id], links=found) for mail_id, found in links.items()}


def _choose_fitting(mails: Iterable[Mail], room: int) -> set[uuid.UUID]:
    fitting = set()
    for mail in mails:
        if mail.size <= room:
            fitting.add(mail.pk)
            room -= mail.size
    return fitting


def _read_if(name: str, fitting: set[uuid.UUID]) -> Case:
    return Case(When(pk__in=fitting, then=F(name)), default=Value(""), output_field=TextField())


def _read_labels(mail_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[tuple[str, str]]]:
    labels: dict[uuid.UUID, list[tuple[str, str]]] = {}
    if mail_ids:
        for mail_id, name, value in MailLabel.objects.filter(mail__in=mail_ids).values_list("mail", "name", "value"):
            labels.setdefault(mail_id, []).append((name, value))
    return labels


def _read_files(mail_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[MailFile]]:
    files: dict[uuid.UUID, list[MailFile]] = {}
    if mail_ids:
        for file in MailFile.objects.filter(mail__in=mail_ids).order_by("mail", "number"):
            files.setdefault(file.mail_id, []).append(file)
    return files


def _read_links(mail_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[DownloadLink]]:
    links: dict[uuid.UUID, list[DownloadLink]] = {}
    if mail_ids:
        for link in DownloadLink.objects.filter(mail__in=mail_ids).order_by("mail", "number"):
            links.setdefault(link.mail_id, []).append(link)
    return links
