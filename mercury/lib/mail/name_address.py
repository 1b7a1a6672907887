"""The text of one mailbox with a display name (RFC 5322 §3.4), read the same way where it comes in and where it goes out."""

import re

# The time grows with the text only, for it may be any: blanks before the bracket are cut off afterwards, and what was read
# is never given back (`*+`).
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_NAME_AND_ADDRESS = re.compile(rf'(.*?)<((?:{_QUOTED}|[^<>"])*+)>', re.DOTALL)


def split_name(text: str) -> tuple[str, str] | None:
    """Return display name and address of a text such as `Mercury <mercury@olimpus.com>`; None for another one.

    Brackets within quotes belong to the address or the name.
    """
    found = _NAME_AND_ADDRESS.fullmatch(text.strip())
    return (found[1].rstrip(), found[2].strip()) if found else None


def extract_address(text: str) -> str:
    """Return the address of a text that is one, with or without a display name."""
    found = split_name(text) if text.endswith(">") else None
    return found[1] if found else text
