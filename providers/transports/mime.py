"""An email as bytes (RFC 5322, RFC 2045): the same for every attempt and server, and for people who look at it.

All of it is ASCII in lines of at most 998 octets. So no server needs 8BITMIME, nothing on the way changes the bytes, and a
signature over them stays valid. They can be written to a terminal as they are.
"""

import binascii
import re
from collections.abc import Sequence
from copy import copy
from email.message import Message
from typing import Any, cast

from django.core.mail import EmailMessage

MAX_LINE = 998  # octets, RFC 5322 §2.1.1

_LINE_END = re.compile(rb"\r\n|\r|\n")  # nothing else ends a line: not U+2028, U+0085, VT or FF
_ALL_BUT_PLAIN = bytes({*range(0x20, 0x7F), 0x09, 0x0A, 0x0D})
_LONG_LINE = re.compile(rb"[^\r\n]{%d}" % (MAX_LINE + 1))
_BLANK_AT_END = re.compile(rb"[ \t]\r\n")  # some servers cut it: "-- " would be no signature any more
_BASE64_LINE = 57  # octets that make a line of 76 characters


class OutgoingEmail(EmailMessage):
    """An email whose To names all recipients, while a call may go to some of them only."""

    def __init__(self, *, shown_to: Sequence[str], **fields: Any) -> None:
        super().__init__(**fields)
        self.shown_to = list(shown_to)


def build_content(message: EmailMessage) -> bytes:
    """Return the message as it is sent. Raises ValueError, TypeError or LookupError if it cannot be written."""
    skeleton = copy(message)
    skeleton.body = ""  # Django would also split it at characters that end no line
    if isinstance(message, OutgoingEmail):
        skeleton.extra_headers = {**message.extra_headers, "To": ", ".join(message.shown_to)}
    built = cast(Message, skeleton.message())
    text = next(part for part in built.walk() if not part.is_multipart())
    encoding, payload = _encode_body(str(message.body))
    del text["Content-Transfer-Encoding"]
    text["Content-Transfer-Encoding"] = encoding
    text.set_payload(payload.decode("ascii"))
    return _LINE_END.sub(b"\r\n", built.as_bytes())


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
