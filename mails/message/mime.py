"""Build the message that a provider gets from a stored email. The same email gives the same bytes at every send."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import replace
from email.utils import format_datetime

from mails.message.addresses import extract_address
from mails.models import Content, Mail
from mails.states import Status
from mercury.lib.durations import format_size
from mercury.lib.mail import preview
from mercury.lib.mail.preview import MailPreview
from providers.transports import mime
from providers.transports.mime import OutgoingEmail

MAX_COPY_SIZE = 100_000  # bytes of subject and body that a form is filled in with


def make_message_id(mail_id: uuid.UUID, sender: str) -> str:
    """Return the Message-ID (RFC 5322 §3.6.4) of every send of this email, so that mail programs can detect a duplicate."""
    domain = extract_address(sender).rpartition("@")[2] or "mercury.invalid"
    return f"<{mail_id}@{domain}>"


def build_message(
    mail_id: uuid.UUID,
    *,
    sender: str,
    recipients: Sequence[str],
    shown_to: Sequence[str],
    subject: str,
    text: str,
    accepted_at: dt.datetime,
) -> OutgoingEmail:
    """Build the message for one attempt. `recipients` are those still pending, `shown_to` all that `To` names."""
    message = OutgoingEmail(
        shown_to=shown_to,
        subject=subject,
        body=text,
        from_email=sender,
        to=list(recipients),
        headers={
            "Date": format_datetime(accepted_at),
            "Message-ID": make_message_id(mail_id, sender),
            "X-Mercury-ID": str(mail_id),
        },
    )
    # anymail's own attribute: providers return it with their reports.
    setattr(message, "metadata", {"mercury_id": str(mail_id)})  # noqa: B010 (no attribute of Django's class)
    return message


def render_source(mail: Mail, *, recipients: Sequence[str], text: str) -> bytes:
    """Return the email as providers get it, as bytes. Empty if it was rejected, or if retention removed its body.

    `recipients`: all of them.
    """
    if mail.status == Status.REJECTED or mail.text_removed_at:
        return b""
    built = build_message(
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


def read_body(mail: Mail) -> str:
    """Return the stored body, up to MERCURY_MAX_SIZE bytes."""
    return Content.objects.filter(mail=mail).values_list("text", flat=True).first() or ""


def explain_not_copyable(mail: Mail) -> str:
    """Return the reason why the email cannot be copied into a new one, as a sentence; empty if it can."""
    if mail.status not in (Status.DONE, Status.DISCARDED, Status.EXPIRED):
        return "Only an email that was sent, discarded or expired can be copied."
    if mail.text_removed_at:
        return f"This email cannot be copied: its body was removed on {mail.text_removed_at:%Y-%m-%d}."
    if mail.size > MAX_COPY_SIZE:
        return f"This email is larger than {format_size(MAX_COPY_SIZE)}, too large for the form; send it again with the API."
    return ""


def build_preview(mail: Mail, *, recipients: Sequence[str], text: str) -> MailPreview:
    """Return the preview of the email for a page, made from the beginning of its body."""
    raw = render_source(mail, recipients=recipients, text=text[: preview.TEXT_SHOWN])
    parsed = preview.read(raw) if raw else MailPreview(b"", text=text[: preview.TEXT_SHOWN])
    return replace(parsed, goes_on=len(text) > preview.TEXT_SHOWN)
