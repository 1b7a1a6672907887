"""Make a provider's words safe to store and show: without our secrets in any spelling, without control characters, and short.

One filter for all transports. A provider may repeat a secret as it was sent or as its own program wrote it: in base64 with
the user's name before it, percent-encoded in a URL, escaped in JSON or HTML, in hexadecimal digits. Replies to the log-in
are not kept at all (`smtp_replies`).
"""

import base64
import html.entities
import re
from collections.abc import Callable, Collection, Iterator

from mercury.lib.mail import printable

MAX_REASON = 2048  # bytes of a provider's words that are kept
_LOOKED_AT = 16 * 1024  # characters; what is kept is far shorter
_SHORTEST = 4  # characters of a secret; a shorter one cannot be distinguished from a word
_CUT_OFF = 6  # characters at the end of the words that may be the beginning of a secret
_MARK = "[secret]"
_ID = re.compile(r"[A-Za-z0-9.@<>_-]{0,255}")  # nothing is escaped in it
_ENTITIES = {chr(code): name for code, name in html.entities.codepoint2name.items()} | {"'": "apos"}
_IN_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=%")
# What follows these words is a secret, perhaps not ours. It has a digit or a sign, so it is not a word.
_CREDENTIALS = re.compile(r"\b(?:bearer|basic)[ :=]+(?=[\w.~+/=-]*[\d=+/])[\w.~+/=-]{8,}", re.IGNORECASE)


def build_cleaner(secrets: Collection[str]) -> Callable[[str], str]:
    """Return a function that removes these secrets from a provider's words and makes them safe to store."""
    known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
    spelled = [re.compile(_build_pattern(secret), re.IGNORECASE) for secret in known]
    signs = {sign for secret in known for sign in _list_signs(secret)}

    def clean(text: str) -> str:
        if _ID.fullmatch(text):
            lowered = text.lower()
            if not any(sign in lowered for sign in signs):
                return text  # nine tenths of the time for the id of an accepted email
        safe = text[:_LOOKED_AT]
        for pattern in spelled:
            safe = _remove(pattern, safe)
        safe = _remove_cut_off_secret(_CREDENTIALS.sub(_MARK, safe), known)
        plain = " ".join(printable.replace_unprintable(safe, by=" ", allowed="").split())
        return plain.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore")

    return clean


def _list_signs(secret: str) -> Iterator[str]:
    """Yield the texts of which one is in each `_ID` that has this secret, or its beginning at the end; in lower case."""
    octets = secret.encode()
    yield secret[:_CUT_OFF].lower()
    yield octets.hex()
    for core in _encode_base64_cores(octets):
        yield core.replace("+", "-").replace("/", "_").lower()


def _build_pattern(secret: str) -> str:
    """Return a pattern for the secret, plain or escaped, in base64 and in hexadecimal digits."""
    octets = secret.encode()
    encoded = "|".join(_build_escaped_pattern(core) for core in sorted(_encode_base64_cores(octets)))
    return f"{_build_escaped_pattern(secret)}|{octets.hex()}|(?P<base64>{encoded})"


def _remove(pattern: re.Pattern[str], text: str) -> str:
    """Return the text without what the pattern finds; of base64 the whole goes, for its ends hold parts of the secret."""
    parts, end = list[str](), 0
    for found in pattern.finditer(text):
        start, after = found.span()
        if found["base64"]:
            while start > end and text[start - 1] in _IN_BASE64:
                start -= 1
            while after < len(text) and text[after] in _IN_BASE64:
                after += 1
        if start >= end:
            parts += [text[end:start], _MARK]
        end = max(end, after)
    return "".join([*parts, text[end:]])


def _build_escaped_pattern(text: str) -> str:
    """Return a pattern for the text with each character as it is, or escaped for a URL, for JSON or for HTML.

    Runs of backslashes match possessively, so that a long row of them costs no more than any other text.
    """
    parts = re.findall(r"\\+|.", text, re.DOTALL)
    return "".join(
        _build_backslash_pattern(len(part)) if part[0] == "\\" else f"(?:{'|'.join(_list_spellings(part))})"
        for part in parts
    )


def _build_backslash_pattern(length: int) -> str:
    """Return a pattern for `length` backslashes in a row."""
    backslash = r"%(?:25)*5c|\\{1,7}+(?:u005c|x5c)|&(?:amp;)*#(?:0*92|x0*5c);"
    return rf"(?:\\{{{length},{8 * length}}}+|(?:{backslash}){{{length}}})"


def _list_spellings(character: str) -> Iterator[str]:
    code = ord(character)
    yield re.escape(character)
    yield "".join(f"%(?:25)*{octet:02x}" for octet in character.encode())
    yield rf"\\{{1,7}}+(?:u{code:04x}|x{code:02x})"
    yield "".join(rf"\\{{1,7}}+x{octet:02x}" for octet in character.encode())
    yield rf"&(?:amp;)*#(?:0*{code}|x0*{code:x});"
    if character in _ENTITIES:
        yield f"&(?:amp;)*{_ENTITIES[character]};"
    if not character.isalnum():
        yield rf"\\{{1,7}}+{re.escape(character)}"
    if character == " ":
        yield r"\+"
    if character in "+/":
        yield "-" if character == "+" else "_"  # base64 for URLs


def _encode_base64_cores(octets: bytes) -> set[str]:
    """Return the base64 of the octets at each of the three offsets, without the characters that neighbours have a part in."""
    cores = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + octets).decode()
        first, end = (offset * 8 + 5) // 6, (offset + len(octets)) * 8 // 6
        cores.add(encoded[first:end])
    return cores


def _remove_cut_off_secret(text: str, secrets: Collection[str]) -> str:
    """Return the text without the beginning of a secret at its end, where an answer was cut off."""
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(text)), _CUT_OFF - 1, -1):
            if text.endswith(secret[:length]):
                return text[:-length] + _MARK
    return text
