"""An email as bytes (RFC 5322, RFC 2045): the same for every attempt and server, and for people who look at it.

All of it is ASCII in lines of at most 998 octets. So no server needs 8BITMIME, nothing on the way changes the bytes, and a
signature over them stays valid. They can be written to a terminal as they are. Only addresses with letters beyond ASCII before
the @ have them in UTF-8 (RFC 6532), since nothing else can name them.
"""

import binascii
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from email.generator import BytesGenerator
from email.message import Message
from typing import Any, cast

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.message import EmailAlternative

from mercury.lib.mail.name_address import extract_address
from providers.transports import mime_files
from providers.transports.mime_headers import HeaderLines

MAX_LINE = 998  # octets, RFC 5322 §2.1.1
HTML = "text/html"

_LINE_END = re.compile(rb"\r\n|\r|\n")  # nothing else ends a line: not U+2028, U+0085, VT or FF
_ALL_BUT_PLAIN = bytes({*range(0x20, 0x7F), 0x09, 0x0A, 0x0D})
_HEADER_NAME = re.compile("[!-9;-~]+")  # RFC 5322 §2.2
_BLANKS_AT_END = (b" \r\n", b"\t\r\n")  # some servers cut them: "-- " would be no signature any more
_BASE64_LINE = 57  # octets that make a line of 76 characters
_QP_PART = 64 * 1024  # octets that are encoded in one call, which no other thread can interrupt
_NOBODY = "undisclosed-recipients:;"  # an empty group (RFC 5322 §3.4): some servers refuse an email without To
_HEADER_LINES = HeaderLines()
_PLACEHOLDER = "-"  # Django leaves an empty text out of an email with alternatives


class OutgoingEmail(EmailMultiAlternatives):
    """An email whose To and Cc name all recipients, while a call may go to some of them only.

    The call goes to `to`, `cc` and `bcc`: addresses, with or without a display name.
    """

    def __init__(self, *, shown_to: Sequence[str], shown_cc: Sequence[str] = (), **fields: Any) -> None:
        super().__init__(**fields)
        to = shown_to or ([] if shown_cc else [_NOBODY])
        self.shown = {"To": ", ".join(to), "Cc": ", ".join(shown_cc)}
        named = (self.from_email, *to, *shown_cc, *self.reply_to)
        found = {*list_addresses(name for name in named if not name.isascii())}
        # With letters beyond ASCII before the @, the longest first: one may end like another.
        beyond_ascii = (address for address in found if not address.rpartition("@")[0].isascii())
        self.utf8_addresses = sorted(beyond_ascii, key=len, reverse=True)

    def build_source(self) -> bytes:
        """Return the email as it is sent, for a provider that takes its bytes. Raises what `build_content` raises."""
        return build_content(self)


def list_addresses(recipients: Iterable[str]) -> list[str]:
    """Return the addresses of recipients, without display names."""
    return [extract_address(recipient) for recipient in recipients]


def measure(message: EmailMessage) -> int:
    """Return the characters of its bodies and the bytes of its files: about what it costs to build it."""
    alternatives = message.alternatives if isinstance(message, OutgoingEmail) else ()
    bodies = len(message.body) + sum(len(str(content)) for content, _ in alternatives)
    return bodies + (mime_files.count_bytes(message.attachments) if message.attachments else 0)


def narrow(message: EmailMessage, addresses: Iterable[str]) -> EmailMessage:
    """Return a copy that goes to these of its recipients.

    At least one is in `to`, which HTTP providers require. Blind copies without any other recipient belong in one copy
    each, since all of a copy see its To.
    """
    part, wanted = copy(message), frozenset(addresses)
    part.to, part.cc, part.bcc = (
        [recipient for recipient in recipients if extract_address(recipient) in wanted]
        for recipients in (message.to, message.cc, message.bcc)
    )
    if not part.to:
        part.to, part.cc = part.cc, []
    if not part.to:
        part.to, part.bcc = part.bcc, []
    return part


def build_content(message: EmailMessage) -> bytes:
    """Return the message as it is sent. Raises ValueError, TypeError or LookupError if it cannot be written.

    Python's `email` writes a message without its bodies: with them, it takes ten times as long.
    """
    bodies = [str(message.body)]
    skeleton = copy(message)
    skeleton.attachments = []
    skeleton.body = ""  # Django would also split it at characters that end no line
    if isinstance(message, OutgoingEmail):
        skeleton.extra_headers = message.extra_headers | {name: value for name, value in message.shown.items() if value}
        bodies += _empty_alternatives(cast(OutgoingEmail, skeleton))
    if not all(map(_HEADER_NAME.fullmatch, skeleton.extra_headers)):  # Django looks at their values only
        raise ValueError("a header's name has a character that ends it")
    stand_ins = _replace_utf8(cast(OutgoingEmail, skeleton)) if isinstance(message, OutgoingEmail) else {}
    built = cast(Message, skeleton.message())
    encoded = [_encode_body(body) for _, body in zip(_list_leaves(built), bodies, strict=False)]
    digest = hashlib.sha256(b"\0".join(payload for _, payload in encoded)).hexdigest()[:40]
    payloads = {}
    for number, (part, (encoding, payload)) in enumerate(zip(_list_leaves(built), encoded, strict=False)):
        payloads[_set_placeholder(part, encoding, f"=_body_{number}_{digest}")] = payload
    for number, part in enumerate(part for part in built.walk() if part.is_multipart()):
        # A line that is in none of the parts (RFC 2046 §5.1.1), the same each time that this email is built: encoded parts
        # cannot contain `=_`, and no plain one the hash of itself.
        part.set_boundary(f"=_{number}_{digest}")
    content = _LINE_END.sub(b"\r\n", _write(built))
    for stand_in, address in stand_ins.items():
        content = content.replace(stand_in.encode(), address.encode())
    if _has_long_line(content.partition(b"\r\n\r\n")[0]):
        raise ValueError("a header has a word that is longer than a line may be")
    return mime_files.enclose(_fill(content, payloads), message.attachments, mark=digest)


def _replace_utf8(message: OutgoingEmail) -> dict[str, str]:
    """Replace addresses that Python's `email` cannot write by others, and return what each stands for."""
    stand_ins = {
        f"utf8-{number}-{_mark(address)}@utf8.invalid": address for number, address in enumerate(message.utf8_addresses)
    }
    for stand_in, address in stand_ins.items():
        message.from_email = message.from_email.replace(address, stand_in)
        message.reply_to = [mailbox.replace(address, stand_in) for mailbox in message.reply_to]
        message.extra_headers = {
            name: value.replace(address, stand_in) if name in message.shown else value
            for name, value in message.extra_headers.items()
        }
    return stand_ins


def _mark(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:20]


def _empty_alternatives(message: OutgoingEmail) -> list[str]:
    """Replace the alternatives of the text by empty ones, and return them."""
    contents = [str(content) for content, _ in message.alternatives]
    message.alternatives = [EmailAlternative("", kind) for _, kind in message.alternatives]
    if contents:
        message.body = _PLACEHOLDER
    return contents


def _write(message: Message) -> bytes:
    """Return headers and placeholders as Python's `email` writes them."""
    written = io.BytesIO()
    BytesGenerator(written, mangle_from_=False, policy=_HEADER_LINES).flatten(message)
    return written.getvalue()


def _list_leaves(message: Message) -> Iterable[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _set_placeholder(part: Message, encoding: str, placeholder: str) -> bytes:
    """Write a line into the part that stands for its body, and return how it will look in the message.

    No header can have it: a line of a header begins with its name or a blank.
    """
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = encoding
    part.set_payload(f"{placeholder}\r\n")
    return f"\r\n{placeholder}\r\n".encode()


def _fill(skeleton: bytes, payloads: Mapping[bytes, bytes]) -> bytes:
    """Return the message with its bodies in their places."""
    parts = []
    for placeholder, payload in payloads.items():
        before, _, skeleton = skeleton.partition(placeholder)
        parts += [before, b"\r\n", payload]
    return b"".join([*parts, skeleton])


def _has_long_line(content: bytes) -> bool:
    """Return True if a line is longer than `MAX_LINE`. Jumps from one line end to the last that is near enough."""
    start = 0
    while len(content) - start > MAX_LINE:
        end = content.rfind(b"\r\n", start, start + MAX_LINE + 2)
        if end < 0:
            return True
        start = end + 2
    return False


def _encode_body(text: str) -> tuple[str, bytes]:
    """Return the name of a transfer encoding, and the text in it, with a line end at its end."""
    content = text.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    others = len(content.translate(None, _ALL_BUT_PLAIN))
    if not others and not any(blank in content for blank in _BLANKS_AT_END) and not _has_long_line(content):
        return "7bit", content
    if others * 6 > len(content):  # three octets for one make it longer than base64 does
        lines = (content[start : start + _BASE64_LINE] for start in range(0, len(content), _BASE64_LINE))
        return "base64", b"".join(binascii.b2a_base64(line, newline=False) + b"\r\n" for line in lines)
    return "quoted-printable", b"".join(map(binascii.b2a_qp, _split_at_lines(content, _QP_PART)))


def _split_at_lines(content: bytes, size: int) -> Iterator[bytes]:
    """Split content that ends with a line end into parts of whole lines, of about `size` octets."""
    start = 0
    while start < len(content):
        end = content.find(b"\r\n", start + size) + 2
        if end < 2:
            end = len(content)
        yield content[start:end]
        start = end
