"""Send a copy: a new email, made from a stored one. It has its own id and Message-ID, and every rule of intake applies again."""

from collections.abc import Mapping
from typing import Any

from mails.intake.attachment_fields import StoredContent
from mails.intake.submission import QUEUES, CopySource, Submission
from mails.message import mime
from mails.message.message import Mailbox, Message
from mails.models import DownloadLink, Mail, MailFile
from mails.states import RecipientKind

NAMES = {RecipientKind.TO: "recipient", RecipientKind.CC: "cc", RecipientKind.BCC: "bcc"}
_DELETED = "This email cannot be copied: its file “{}” was deleted since. Send a new email, with the file."


class NotCopyable(Exception):
    """The email cannot be copied; the text says why."""


def build_copy(
    mail: Mail, *, recipients: Mapping[str, Any] | None = None, by: str, key: str | None = None
) -> Submission:
    """Return the submission of a copy: all parts of the email, for its recipients or for others. Raises NotCopyable.

    `recipients`: as fields of a submission (`recipient`, `cc`, `bcc`), instead of all of the email's. Files are referred
    to, not read; download links are new ones, with an expiry of their own. `by`: who asks, for the event of the email.
    """
    if why := mime.explain_no_copy(mail):
        raise NotCopyable(why)
    message = mime.read_message(mail)
    fields = _list_fields(mail, message) | (dict(recipients) if recipients else _list_recipients(message))
    if files := _list_files(mail):
        fields["attachments"] = files
    return Submission(fields=fields, idempotency_key=key, copy_of=make_source(mail, by=by))


def make_source(mail: Mail, *, by: str) -> CopySource:
    """Return what a copy says of the email that it is made from."""
    return CopySource(mail_id=mail.pk, last_event_at=mail.last_event_at or 0, by=by)


def _list_fields(mail: Mail, message: Message) -> dict[str, Any]:
    fields = {
        "sender": message.sender,
        "subject": message.subject,
        "content": message.text,
        "html": message.html,
        "reply_to": [_to_json(mailbox) for mailbox in message.reply_to],
        "headers": dict(message.headers),
        "tags": list(message.tags),
        "metadata": dict(message.metadata),
        "unsubscribe_url": message.unsubscribe_url,
        "unsubscribe_mailto": message.unsubscribe_mailto,
        "delivery_guarantee": mail.delivery_guarantee,
        "queue": mail.queue if mail.queue in QUEUES else None,
    }
    return {name: value for name, value in fields.items() if value or name == "sender"}


def _list_recipients(message: Message) -> dict[str, Any]:
    return {
        name: named
        for kind, name in NAMES.items()
        if (named := [_to_json(recipient) for recipient in message.recipients if recipient.kind == kind])
    }


def _to_json(mailbox: Mailbox) -> dict[str, str]:
    return {"email": mailbox.address, "name": mailbox.name}


def _list_files(mail: Mail) -> list[dict[str, Any]]:
    """Return the files of the email as a submission gives them. Two queries."""
    attached, linked = list(MailFile.objects.filter(mail=mail)), list(DownloadLink.objects.filter(mail=mail))
    files: list[MailFile | DownloadLink] = [*attached, *linked]
    for file in files:
        if file.content_id is None:
            raise NotCopyable(_DELETED.format(file.filename))
    return [
        *(_refer(file) | {"delivery": "attachment", "content_id": file.cid or None} for file in attached),
        *(_refer(link) | {"delivery": "link"} for link in linked),
    ]


def _refer(file: MailFile | DownloadLink) -> dict[str, Any]:
    stored = StoredContent(sha256=str(file.content_id), size=file.size, content_type=file.content_type)
    return {"filename": file.filename, "content": stored}
