"""The recipients that a provider's answer rejects."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRecipients:
    """The recipients that an answer rejects. A refusal that names none and has no unnamed ones is about something else."""

    reasons: Mapping[str, str]  # by address, of those it names
    has_unnamed: bool = False  # of a refusal: it is about recipients, and does not say which


NONE_REJECTED = RejectedRecipients(reasons={})


def find_named(text: str, addresses: Sequence[str]) -> list[str]:
    """Return the addresses that a text names."""
    return [
        address
        for address in addresses
        if re.search(rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)", text, re.IGNORECASE)
    ]
