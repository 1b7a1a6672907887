"""Build the message that a provider gets from a stored email. The same email gives the same bytes at every send."""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping
from email.utils import format_datetime
from functools import lru_cache, partial
from typing import Any

from django.core.mail.message import EmailAttachment
from django.db.models import Sum
from django.db.models.functions import Left

from mails.files import storage
from mails.message.addresses import extract_address
from mails.message.download_links import add_links
from mails.message.message import AttachmentReference, Message, MessageRecipient
from mails.models import Content, FileContent, Mail, MailFile, Recipient
from mails.states import RecipientKind, Status
from mercury.lib.durations import format_size
from mercury.lib.mail import html_cleaning, preview
from providers.kinds import idempotency
from providers.kinds.capabilities import read_needs
from providers.transports import mime
from providers.transports.mime import OutgoingEmail
from providers.transports.mime_files import InlineFile

MAX_COPY_SIZE = 1_000_000  # bytes of subject and bodies that a form is filled in with


def make_message_id(mail_id: uuid.UUID, sender: str) -> str:
    """Return the Message-ID (RFC 5322 §3.6.4) of every send of this email, so that mail programs can detect a duplicate."""
    return f"<{mail_id!s}@{_find_domain(sender)}>"


@lru_cache(maxsize=1024)  # few senders send most emails
def _find_domain(sender: str) -> str:
    return extract_address(sender).rpartition("@")[2] or "mercury.invalid"


def build_message(
    mail_id: uuid.UUID,
    message: Message,
    *,
    accepted_at: dt.datetime,
    recipients: Collection[str] | None = None,
    contents: Mapping[str, bytes] | None = None,
    key_scope: str = "",
) -> OutgoingEmail:
    """Build the message for one attempt. `recipients`: the addresses that it goes to; None: all. To and Cc name all.

    `contents`: those of its attachments, by their hash. Raises KeyError if one is not among them. `key_scope`: of its
    idempotency key, as `Attempt` has it.
    """
    message = add_links(message)
    shown = called = _group_shown(message.recipients)
    if recipients is not None and len(recipients) < len(message.recipients):
        called = _group_shown(recipient for recipient in message.recipients if recipient.address in recipients)
    id_text = str(mail_id)
    built = OutgoingEmail(
        shown_to=shown[RecipientKind.TO],
        shown_cc=shown[RecipientKind.CC],
        subject=message.subject,
        body=message.text,
        from_email=message.sender,
        to=called[RecipientKind.TO],
        cc=called[RecipientKind.CC],
        bcc=called[RecipientKind.BCC],
        reply_to=[mailbox.shown for mailbox in message.reply_to],
        headers=_merge_headers(
            message.headers,
            message.unsubscribe_headers,
            {
                "Date": _format_date(int(accepted_at.timestamp())),
                "Message-ID": make_message_id(mail_id, message.sender),
                "X-Mercury-ID": id_text,
            },
        ),
    )
    _set_html(built, message)
    if message.attachments:
        found = {} if contents is None else contents
        built.attachments = [_attach(attachment, found[attachment.sha256]) for attachment in message.attachments]
    if key_scope:
        setattr(built, idempotency.ATTRIBUTE, f"{mail_id} {key_scope}")
    # anymail's own attributes: providers return the metadata with their reports.
    vars(built).update(tags=list(message.tags), metadata={**message.metadata, "mercury_id": id_text})
    return built


def _merge_headers(own: Mapping[str, str], *later: Mapping[str, str]) -> dict[str, str]:
    """Return the headers together. A later one replaces the sender's own of that name: case makes no difference in it."""
    merged = {name: text for headers in later for name, text in headers.items()}
    if not own:
        return merged
    taken = {name.lower() for name in merged}
    return {name: text for name, text in own.items() if name.lower() not in taken} | merged


@lru_cache(maxsize=1024)  # emails of one second share it, and a backlog has many of each
def _format_date(seconds: int) -> str:
    return format_datetime(dt.datetime.fromtimestamp(seconds, dt.UTC))


def _group_shown(recipients: Iterable[MessageRecipient]) -> dict[RecipientKind, list[str]]:
    grouped: dict[RecipientKind, list[str]] = {RecipientKind.TO: [], RecipientKind.CC: [], RecipientKind.BCC: []}
    for recipient in recipients:
        grouped[recipient.kind].append(recipient.shown)
    return grouped


def _set_html(built: OutgoingEmail, message: Message) -> None:
    if message.html and message.text:
        built.attach_alternative(message.html, mime.HTML)
    elif message.html:
        built.body, built.content_subtype = message.html, "html"


def _attach(attachment: AttachmentReference, content: bytes) -> EmailAttachment | InlineFile:
    """Return the attachment as Django has it. Not by `EmailMessage.attach`, which decodes text."""
    if attachment.content_id:
        return InlineFile(attachment.filename, content, attachment.content_type, attachment.content_id)
    return EmailAttachment(attachment.filename, content, attachment.content_type)


def render_source(mail: Mail, message: Message, *, contents: Mapping[str, bytes] | None = None) -> bytes:
    """Return the email as providers get it, as bytes. Empty if it was rejected, or if retention removed its body.

    `contents`: those of its attachments, by their hash; None: as they are stored. Raises StorageUnavailable for these.
    """
    if mail.status == Status.REJECTED or mail.text_removed_at:
        return b""
    contents = _read_contents(message) if contents is None else contents
    try:
        return mime.build_content(build_message(mail.pk, message, accepted_at=mail.created_at, contents=contents))
    except (ValueError, TypeError, LookupError):  # as a channel finds it: this mail is no message
        return b""


def _read_contents(message: Message) -> Mapping[str, bytes]:
    hashes = {attachment.sha256 for attachment in message.attachments}
    if not hashes:
        return {}
    locations = FileContent.objects.filter(pk__in=hashes).values_list("pk", "location")
    return {sha256: storage.read(location) for sha256, location in locations}


def read_message(mail: Mail) -> Message:
    """Return the stored message for people to read, up to MERCURY_MAX_SIZE bytes; without bodies if retention removed them.

    Two queries. Fields that another version of Mercury stored, and this one does not know, are left out.
    """
    contents = Content.objects.filter(mail=mail).values_list("text", "html", "other_fields")
    text, html, other_fields = contents.first() or ("", "", None)
    return build_stored(mail, mail.recipients.order_by("id"), text=text, html=html, other_fields=other_fields)


def build_stored(
    mail: Mail, recipients: Iterable[Recipient], *, text: str, html: str, other_fields: Mapping[str, Any] | None
) -> Message:
    """Return the message of a stored email. What another version stored, and this one does not know, is left out."""
    build = partial(
        Message.from_stored,
        sender=mail.sender,
        recipients=tuple(
            MessageRecipient(kind=RecipientKind(recipient.kind), name=recipient.name, address=recipient.address)
            for recipient in recipients
        ),
        subject=mail.subject,
        text=text,
        html=html,
    )
    try:
        return build(other_fields=other_fields)
    except (ValueError, TypeError, LookupError, AttributeError):  # `dispatch.contents` holds it; a page shows the rest
        return build(other_fields=None)


def explain_no_copy(mail: Mail) -> str:
    """Return the reason why no new email can be made from this one, as a sentence; empty if one can."""
    if mail.status not in (Status.DONE, Status.DISCARDED, Status.EXPIRED, Status.CANCELLED):
        return "Only an email that was sent, discarded or cancelled, or that has expired, can be copied."
    if mail.text_removed_at:
        return f"This email cannot be copied: its body was removed on {mail.text_removed_at:%Y-%m-%d}."
    if read_needs(mail.needs) is None:
        return "Another version of Mercury stored this email; this one does not know all that is in it."
    return ""


def explain_not_copyable(mail: Mail) -> str:
    """Return the reason why the email cannot be copied into the form, as a sentence; empty if it can."""
    if why := explain_no_copy(mail):
        return why
    if mail.size > MAX_COPY_SIZE and mail.size - _count_file_bytes(mail) > MAX_COPY_SIZE:
        return f"This email is larger than {format_size(MAX_COPY_SIZE)}, too large for the form; send it again with the API."
    return ""


def _count_file_bytes(mail: Mail) -> int:
    return MailFile.objects.filter(mail=mail).aggregate(size=Sum("size"))["size"] or 0


def read_beginning(mail: Mail, *, recipients: Iterable[Recipient]) -> Message:
    """Return the stored message with the beginnings of its bodies, a little more than a page shows. One query."""
    beginnings = {"text": Left("text", preview.TEXT_SHOWN + 1), "html": Left("html", html_cleaning.AT_MOST + 1)}
    contents = Content.objects.filter(mail=mail).values_list(*beginnings.values(), "other_fields")
    text, html, other_fields = contents.first() or ("", "", None)
    return build_stored(mail, recipients, text=text, html=html, other_fields=other_fields)
