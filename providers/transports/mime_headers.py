"""The lines of a header (RFC 5322 §2.2.3): folded at blanks, and never before the first word.

Python's older policy leaves a line with the name alone before a long word. Many programs then read the text with a blank in
front, and some take such a header for an empty one. Its newer policy reads and writes names in a way that loses blanks.
"""

import re
from base64 import b64decode
from binascii import Error
from email import base64mime, quoprimime
from email.policy import Compat32

MAX_LINE = 76  # characters of a line with an encoded word, RFC 2047 §2
_WORD = re.compile(r"[ \t]*[^ \t]+")
_ENCODED_WORD = re.compile(r"=\?utf-8\?([bq])\?([^?]*)\?=", re.IGNORECASE)


class HeaderLines(Compat32):
    """How Python's `email` writes headers whose values are ASCII: with encoded words (RFC 2047) where they need them."""

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return the header with its line ends."""
        return (self.linesep.join(fold(name, value)) + self.linesep).encode("ascii")


def fold(name: str, value: str) -> list[str]:
    """Return the lines of a header. `value`: may have been folded; what a program reads is the same."""
    lines, line = [], f"{name}: "
    room = MAX_LINE - len(line)  # of a first word, which has to stay on the first line
    for word in _WORD.findall(value.replace("\n", "").strip(" \t")):
        for piece in _split(word, room) if len(word) > room else (word,):
            if len(line) + len(piece) > MAX_LINE and line.strip() != f"{name}:":
                lines.append(line)
                line = piece
            else:
                line += piece
        room = MAX_LINE
    return [*lines, line]


def _split(word: str, room: int) -> list[str]:
    """Return an encoded word as two, the first of which has at most `room` characters; as it is if that cannot be."""
    blanks = word[: len(word) - len(word.lstrip(" \t"))]
    match = _ENCODED_WORD.fullmatch(word, len(blanks))
    if match is None:
        return [word]
    encode = base64mime.header_encode if match[1] in "bB" else quoprimime.header_encode
    try:
        text = (b64decode(match[2]) if match[1] in "bB" else _read_quoted(match[2])).decode()
    except (Error, UnicodeError):  # the sender's own, who knows why
        return [word]
    for end in range(len(text) - 1, 0, -1):
        first = blanks + encode(text[:end].encode(), "utf-8")
        if len(first) <= room:
            return [first, " " + encode(text[end:].encode(), "utf-8")]
    return [word]


def _read_quoted(text: str) -> bytes:
    return quoprimime.header_decode(text).encode("latin-1")
