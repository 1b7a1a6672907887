"""Recipients of one email at a provider that judges them together: who is at fault gets none, the others get theirs.

An API refuses a whole call because of one address. Such a refusal is surely not sent, so the call is made again without
that recipient, within the same attempt. Where the answer does not name it, the recipients are halved until it is found.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRecipients:
    """The recipients that a refusal is about: those it names, or some that it does not name. Neither: it is about more."""

    words: Mapping[str, str]  # address -> why, those named
    some: bool = False  # one or more of the recipients, and it does not say which


NONE_REJECTED = RejectedRecipients(words={})


def find_named(text: str, addresses: Sequence[str]) -> list[str]:
    """Return those of the addresses that a text names."""
    return [
        address
        for address in addresses
        if re.search(rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)", text, re.IGNORECASE)
    ]
