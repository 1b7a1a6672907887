"""A stored mail as the message that a provider is handed. The same mail gives the same headers at every send."""

import uuid
from collections.abc import Sequence
from email.utils import format_datetime

from django.core.mail import BadHeaderError, EmailMessage

from mails.models import Mail
from mails.states import Status
from mails.submission import address_of
from mercury.lib import preview
from mercury.lib.preview import Preview


def message_id(mail_id: uuid.UUID, sender: str) -> str:
    """The Message-ID (RFC 5322 §3.6.4) of every send of this mail, so that a reader's program can know a double."""
    domain = address_of(sender).rpartition("@")[2] or "mercury.invalid"
    return f"<{mail_id}@{domain}>"


def build(mail_id: uuid.UUID, *, sender: str, recipients: Sequence[str], subject: str, text: str) -> EmailMessage:
    """The message for one call. `recipients`: those that are still open."""
    message = EmailMessage(
        subject=subject,
        body=text,
        from_email=sender,
        to=list(recipients),
        headers={"Message-ID": message_id(mail_id, sender), "X-Mercury-ID": str(mail_id)},
    )
    # anymail's own attribute: providers return it with their reports.
    setattr(message, "metadata", {"mercury_id": str(mail_id)})  # noqa: B010 (no attribute of Django's class)
    return message


def source(mail: Mail, *, recipients: Sequence[str], text: str) -> bytes:
    """The mail as providers are handed it, dated when it came in. Empty for one that never became a message or has no text any more.

    It never became one if it was refused; its text goes by retention.
    """
    if mail.status == Status.REJECTED or mail.text_removed_at:
        return b""
    built = build(mail.pk, sender=mail.sender, recipients=recipients, subject=mail.subject, text=text)
    built.extra_headers["Date"] = format_datetime(mail.created_at)
    try:
        return built.message().as_bytes()
    except BadHeaderError:
        return b""


def why_no_copy(mail: Mail) -> str:
    """Why the mail's text cannot go into a new mail, in a sentence; empty if it can."""
    if mail.status != Status.DONE:
        return "Only a mail that was sent is copied; this one was not, or not yet."
    if mail.text_removed_at:
        return f"A copy cannot be sent: the text of the mail was removed on {mail.text_removed_at:%Y-%m-%d}."
    return ""


def shown(mail: Mail, *, recipients: Sequence[str], text: str) -> Preview:
    """The mail as a page shows it, in parts."""
    as_sent = source(mail, recipients=recipients, text=text)
    return preview.read(as_sent) if as_sent else Preview(b"", text=text)
