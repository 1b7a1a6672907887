"""A stored mail as the message that a provider is handed. The same mail gives the same bytes at every send."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import replace
from email.utils import format_datetime

from mails.message.addresses import extract_address
from mails.models import Content, Mail
from mails.states import Status
from mercury.lib.durations import size_words
from mercury.lib.mail import preview
from mercury.lib.mail.preview import Preview
from providers.transports import mime
from providers.transports.mime import OutgoingEmail

COPIED = 100_000  # bytes of subject and text that a form is filled in with


def message_id(mail_id: uuid.UUID, sender: str) -> str:
    """The Message-ID (RFC 5322 §3.6.4) of every send of this mail, so that a reader's program can know a double."""
    domain = extract_address(sender).rpartition("@")[2] or "mercury.invalid"
    return f"<{mail_id}@{domain}>"


def build(
    mail_id: uuid.UUID,
    *,
    sender: str,
    recipients: Sequence[str],
    shown_to: Sequence[str],
    subject: str,
    text: str,
    accepted_at: dt.datetime,
) -> OutgoingEmail:
    """Return the message for one call. `recipients`: those that are still open; `shown_to`: all that `To` names."""
    message = OutgoingEmail(
        shown_to=shown_to,
        subject=subject,
        body=text,
        from_email=sender,
        to=list(recipients),
        headers={
            "Date": format_datetime(accepted_at),
            "Message-ID": message_id(mail_id, sender),
            "X-Mercury-ID": str(mail_id),
        },
    )
    # anymail's own attribute: providers return it with their reports.
    setattr(message, "metadata", {"mercury_id": str(mail_id)})  # noqa: B010 (no attribute of Django's class)
    return message


def source(mail: Mail, *, recipients: Sequence[str], text: str) -> bytes:
    """Return the mail as providers are handed it. Empty for one that never became a message or has no text any more.

    It never became one if it was refused; its text goes by retention. `recipients`: all of them.
    """
    if mail.status == Status.REJECTED or mail.text_removed_at:
        return b""
    built = build(
        mail.pk,
        sender=mail.sender,
        recipients=recipients,
        shown_to=recipients,
        subject=mail.subject,
        text=text,
        accepted_at=mail.created_at,
    )
    try:
        return mime.build_content(built)
    except (ValueError, TypeError, LookupError):  # as a channel finds it: this mail is no message
        return b""


def whole_text(mail: Mail) -> str:
    """Return the stored text; up to MERCURY_MAX_SIZE bytes."""
    return Content.objects.filter(mail=mail).values_list("text", flat=True).first() or ""


def why_no_copy(mail: Mail) -> str:
    """Why the mail's text cannot go into a new mail, in a sentence; empty if it can."""
    if mail.status not in (Status.DONE, Status.DISCARDED, Status.EXPIRED):
        return "Only an email that has ended is copied; this one has not, or was rejected or cancelled."
    if mail.text_removed_at:
        return f"A copy cannot be sent: the text of the mail was removed on {mail.text_removed_at:%Y-%m-%d}."
    if mail.size > COPIED:
        return f"It is longer than the {size_words(COPIED)} that a form is filled in with; send it again with the API."
    return ""


def shown(mail: Mail, *, recipients: Sequence[str], text: str) -> Preview:
    """The mail as a page shows it, in parts, made of the beginning of its text."""
    as_sent = source(mail, recipients=recipients, text=text[: preview.TEXT_SHOWN])
    found = preview.read(as_sent) if as_sent else Preview(b"", text=text[: preview.TEXT_SHOWN])
    return replace(found, goes_on=len(text) > preview.TEXT_SHOWN)
