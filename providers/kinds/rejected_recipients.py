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


def find_in_words(words: str, recipients: Sequence[str], *, rejection: re.Pattern[str]) -> RejectedRecipients:
    """Return the recipients that a refusal in words is about: nobody unless `rejection` is found, else those it names."""
    if not rejection.search(words):
        return NONE_REJECTED
    return RejectedRecipients(reasons=dict.fromkeys(find_named(words, recipients), words), has_unnamed=True)
