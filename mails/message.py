"""A stored mail as the message that a provider is handed. The same mail gives the same headers at every send."""

import uuid
from collections.abc import Sequence

from django.core.mail import EmailMessage

from mails.submission import address_of


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
