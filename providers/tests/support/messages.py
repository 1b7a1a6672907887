"""A message with everything that an email can have, as `mails.message.mime` builds it."""

from typing import Any

from django.core.mail import EmailAttachment

from providers.tests.support.accounts import MAIL_ID
from providers.transports.mime import HTML, OutgoingEmail
from providers.transports.mime_files import InlineFile

HERA, IRIS = "hera@olimpus.com", "iris@olimpus.com"
NAMED_HERA = '"Hera, queen" <hera@olimpus.com>'
ARES, ERIS = '"Άρης" <ares@olimpus.com>', "eris@olimpus.com"
REPLY_TO = '"Zeus" <zeus@ida.gr>'
LOGO = b"\x89PNG\r\n\x1a\nlogo"


def build_bare(**changes: Any) -> OutgoingEmail:
    """Return an email from zeus to hera with a text, and with the headers that Mercury adds."""
    fields: dict[str, Any] = {
        "to": [HERA],
        "subject": "You made my day",
        "body": "Χαῖρε, Ἥρα",
        "from_email": '"Zeus" <zeus@olimpus.com>',
        **changes,
    }
    headers = {
        "Date": "Sun, 29 Nov 2026 12:00:00 +0000",
        "Message-ID": f"<{MAIL_ID}@olimpus.com>",
        "X-Mercury-ID": MAIL_ID,
    }
    message = OutgoingEmail(
        **{
            "shown_to": fields["to"],
            "shown_cc": fields.get("cc", ()),
            **fields,
            "headers": headers | fields.get("headers", {}),
        }
    )
    vars(message).update(tags=[], metadata={"mercury_id": MAIL_ID})
    return message


def build_whole(**changes: Any) -> OutgoingEmail:
    """Return an email with each field that the features of `capabilities` name, without List-Unsubscribe."""
    message = build_bare(
        **{
            "to": [NAMED_HERA, IRIS],
            "cc": [ARES],
            "bcc": [ERIS],
            "reply_to": [REPLY_TO],
            "headers": {"X-Order": "7"},
            **changes,
        }
    )
    message.attach_alternative('<p>Χαῖρε <img src="cid:logo"></p>', HTML)
    message.attachments = [EmailAttachment("bill.pdf", b"%PDF-1.7", "application/pdf")]
    attach_logo(message)
    vars(message).update(tags=["welcome", "gods"], metadata={"order": "7", "mercury_id": MAIL_ID})
    return message


def attach_logo(message: OutgoingEmail) -> None:
    """Attach an image that the HTML shows as `cid:logo`."""
    message.attachments.append(InlineFile("logo.png", LOGO, "image/png", "logo"))
