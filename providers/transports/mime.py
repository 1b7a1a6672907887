"""An email as bytes (RFC 5322, RFC 2045): the same for every attempt and server, and for people who look at it.

All of it is ASCII in lines of at most 998 octets. So no server needs 8BITMIME, nothing on the way changes the bytes, and a
signature over them stays valid. They can be written to a terminal as they are.
"""

import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from copy import copy
from email.message import Message
from typing import Any, cast

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.message import EmailAlternative

from mercury.lib.mail import name_address

MAX_LINE = 998  # octets, RFC 5322 §2.1.1
HTML = "text/html"

_LINE_END = re.compile(rb"\r\n|\r|\n")  # nothing else ends a line: not U+2028, U+0085, VT or FF
_ALL_BUT_PLAIN = bytes({*range(0x20, 0x7F), 0x09, 0x0A, 0x0D})
_HEADER_NAME = re.compile("[!-9;-~]+")  # RFC 5322 §2.2
_LONG_LINE = re.compile(rb"^[^\r\n]{%d}" % (MAX_LINE + 1), re.MULTILINE)  # from the start: seconds for 10 MB, else
_BLANK_AT_END = re.compile(rb"[ \t]\r\n")  # some servers cut it: "-- " would be no signature any more
_BASE64_LINE = 57  # octets that make a line of 76 characters
_PLACEHOLDER = "-"  # Django leaves an empty text out of an email with alternatives


class OutgoingEmail(EmailMultiAlternatives):
    """An email whose To and Cc name all recipients, while a call may go to some of them only.

    The call goes to `to`, `cc` and `bcc`: addresses, with or without a display name.
    """

    def __init__(self, *, shown_to: Sequence[str], shown_cc: Sequence[str] = (), **fields: Any) -> None:
        super().__init__(**fields)
        self.shown = {"To": ", ".join(shown_to), "Cc": ", ".join(shown_cc)}


def list_addresses(recipients: Iterable[str]) -> list[str]:
    """Return the addresses of recipients, without display names."""
    return [_extract_address(recipient) for recipient in recipients]


def narrow(message: EmailMessage, addresses: Iterable[str]) -> EmailMessage:
    """Return a copy that goes to these of its recipients.

    At least one is in `to`, which HTTP providers require. Blind copies without any other recipient belong in one copy
    each, since all of a copy see its To.
    """
    part, wanted = copy(message), frozenset(addresses)
    part.to, part.cc, part.bcc = (
        [recipient for recipient in recipients if _extract_address(recipient) in wanted]
        for recipients in (message.to, message.cc, message.bcc)
    )
    if not part.to:
        part.to, part.cc = part.cc, []
    if not part.to:
        part.to, part.bcc = part.bcc, []
    return part


def build_content(message: EmailMessage) -> bytes:
    """Return the message as it is sent. Raises ValueError, TypeError or LookupError if it cannot be written."""
    bodies = [str(message.body)]
    skeleton = copy(message)
    skeleton.body = ""  # Django would also split it at characters that end no line
    if isinstance(message, OutgoingEmail):
        skeleton.extra_headers = message.extra_headers | {name: value for name, value in message.shown.items() if value}
        bodies += _empty_alternatives(cast(OutgoingEmail, skeleton))
    if not all(map(_HEADER_NAME.fullmatch, skeleton.extra_headers)):  # Django looks at their values only
        raise ValueError("a header's name has a character that ends it")
    built = cast(Message, skeleton.message())
    payloads = [_fill(part, body) for part, body in zip(_list_leaves(built), bodies, strict=False)]
    for number, part in enumerate(part for part in built.walk() if part.is_multipart()):
        part.set_boundary(_make_boundary(number, payloads))
    content = _LINE_END.sub(b"\r\n", built.as_bytes())
    if _LONG_LINE.search(content.partition(b"\r\n\r\n")[0]):
        raise ValueError("a header has a word that is longer than a line may be")
    return content


def _extract_address(recipient: str) -> str:
    found = name_address.split_name(recipient) if recipient.endswith(">") else None
    return found[1] if found else recipient


def _empty_alternatives(message: OutgoingEmail) -> list[str]:
    """Replace the alternatives of the text by empty ones, and return them."""
    contents = [str(content) for content, _ in message.alternatives]
    message.alternatives = [EmailAlternative("", kind) for _, kind in message.alternatives]
    if contents:
        message.body = _PLACEHOLDER
    return contents


def _list_leaves(message: Message) -> Iterable[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _fill(part: Message, body: str) -> bytes:
    """Write the body into the part, and return it as it was written."""
    encoding, payload = _encode_body(body)
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = encoding
    part.set_payload(payload.decode("ascii"))
    return payload


def _make_boundary(number: int, payloads: Iterable[bytes]) -> str:
    """Return a line that is in none of the parts (RFC 2046 §5.1.1), the same each time that this email is built.

    Encoded parts cannot contain `=_`, and no plain one the hash of itself.
    """
    digest = hashlib.sha256(b"\0".join(payloads)).hexdigest()
    return f"=_{number}_{digest[:40]}"


def _encode_body(text: str) -> tuple[str, bytes]:
    """Return the name of a transfer encoding, and the text in it, with a line end at its end."""
    content = _LINE_END.sub(b"\r\n", text.encode())
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    others = len(content.translate(None, _ALL_BUT_PLAIN))
    if not others and not _LONG_LINE.search(content) and not _BLANK_AT_END.search(content):
        return "7bit", content
    if others * 6 > len(content):  # three octets for one make it longer than base64 does
        lines = (content[start : start + _BASE64_LINE] for start in range(0, len(content), _BASE64_LINE))
        return "base64", b"".join(binascii.b2a_base64(line, newline=False) + b"\r\n" for line in lines)
    return "quoted-printable", binascii.b2a_qp(content)
