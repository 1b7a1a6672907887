"""The one list of marks that must not be shown as they are: they drive a terminal, break a line, turn text around or hide.

Every door uses it: names and subjects are checked with `find_unprintable`, what is shown goes through `replace_unprintable`.
"""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LINES = "\t\n"  # what text of several lines may have
IMPLICIT_MARKS = "\u061c\u200e\u200f"  # ALM, LRM, RLM: they turn nothing around before or after them
INVISIBLE = (
    "\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\ufff9\ufffa\ufffb"  # drawn as nothing, and harmless otherwise
)
# Controls (C0, DEL, C1), surrogates, line and paragraph separators, bidi marks, and what is drawn as nothing. The two
# joiners (U+200C, U+200D) are not among them, for Persian words and emoji need them, nor is the soft hyphen.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def find_unprintable(text: str, *, allowed: str = "") -> str:
    """Return the first mark of `text` that must not be shown as it is, apart from those allowed; empty if there is none."""
    return next((found[0] for found in _UNPRINTABLE.finditer(text) if found[0] not in allowed), "")


def replace_unprintable(text: str, *, by: str = REPLACEMENT, allowed: str = LINES) -> str:
    """Return `text` with each such mark replaced, apart from those allowed."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in allowed else by, text)


def escape_in_json(document: str) -> str:
    """Return a JSON document with each such mark as an escape: it means the same and drives no terminal."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def name_mark(mark: str) -> str:
    """Return the mark as an error may name it: `U+001B`."""
    return f"U+{ord(mark):04X}"
