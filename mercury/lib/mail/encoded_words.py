"""The one reader of encoded words (RFC 2047), word by word: one that cannot be read hides none of its neighbours."""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass

# As liberal as the most liberal of mail programs: with blanks inside, and next to other text.
_WORD = re.compile(r"=\?([^?*]*)(?:\*[^?]*)?\?([bBqQ])\?(.*?)\?=", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    start: int
    end: int
    charset: str
    content: bytes
    source: str


def read(text: str) -> str:
    """Return the text with its encoded words read; one in an unknown character set stays as it is."""
    parts, end = [], 0
    for run in _split_runs(text):
        parts += [text[end : run[0].start], _decode_together(run) or "".join(map(_decode_alone, run))]
        end = run[-1].end
    return "".join(parts) + text[end:]


def list_readings(text: str) -> str:
    """Return every text that some mail program could make of the encoded words, one after the other; empty without any.

    A program may read each word alone, or the octets of neighbours together, and take octets for what it likes where
    it does not know the character set.
    """
    readings = []
    for run in _split_runs(text):
        readings += [_decode_together(run), *map(_decode_alone, run)]
        readings += [word.content.decode("latin-1") for word in run if not _is_known(word.charset)]
        readings += [word.content.decode("ascii", "ignore") for word in run]
    return "\ufffd".join(readings)


def _split_runs(text: str) -> Iterator[list[_Word]]:
    """Return the encoded words in runs of one character set that only blanks separate."""
    run: list[_Word] = []
    for word in map(_word, _WORD.finditer(text)):
        is_neighbour = bool(run) and not text[run[-1].end : word.start].strip()
        if run and not (is_neighbour and word.charset == run[-1].charset):
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _word(found: re.Match[str]) -> _Word:
    charset, encoding, payload = found.groups()
    octets = payload.encode("utf-8", "replace")
    content = _from_base64(octets) if encoding in "bB" else quopri.decodestring(octets, header=True)
    return _Word(
        start=found.start(), end=found.end(), charset=charset.strip().lower(), content=content, source=found[0]
    )


def _from_base64(octets: bytes) -> bytes:
    """Return what can be read of it: other characters do not count, nor does a padding that is missing."""
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", octets)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    try:
        return base64.b64decode(letters + b"=" * (-len(letters) % 4))
    except binascii.Error:
        return octets


def _decode_together(run: list[_Word]) -> str:
    """Return the octets of all read as one text; nothing if they are none."""
    try:
        return b"".join(word.content for word in run).decode(run[0].charset)
    except (LookupError, ValueError):
        return ""


def _decode_alone(word: _Word) -> str:
    try:
        return word.content.decode(word.charset, "replace")
    except (LookupError, ValueError):
        return word.source


def _is_known(charset: str) -> bool:
    try:
        return bool("".encode(charset) or True)
    except (LookupError, ValueError):
        return False
