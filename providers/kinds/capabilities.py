"""Capabilities of a provider kind, and what a message needs of them. Pure; knows no provider."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Feature(StrEnum):
    """Part of a message that not every provider can carry. The value is stored with the email, the meaning shown to people."""

    HTML = "html"
    CC = "cc"
    BCC = "bcc"
    REPLY_TO = "reply-to"
    HEADERS = "headers"  # of the sender's own
    ATTACHMENTS = "attachments"
    INLINE = "inline"  # attachments that the HTML shows by their Content-ID
    TAGS = "tags"
    METADATA = "metadata"
    SMTPUTF8 = "smtputf8"  # letters beyond ASCII before the @, RFC 6531

    @property
    def meaning(self) -> str:
        """Return what an account without it cannot carry, as the end of a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Feature.HTML: "an HTML body",
    Feature.CC: "recipients in Cc",
    Feature.BCC: "blind copies",
    Feature.REPLY_TO: "a Reply-To address",
    Feature.HEADERS: "headers of the sender's own",
    Feature.ATTACHMENTS: "attachments",
    Feature.INLINE: "inline images",
    Feature.TAGS: "tags",
    Feature.METADATA: "metadata",
    Feature.SMTPUTF8: "addresses with letters beyond ASCII before the @",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTraits:
    """What routing needs to know of a message: its size in bytes, its number of recipients, and the features it uses."""

    size: int = 0
    recipients: int = 1
    features: frozenset[Feature] = frozenset()

    @property
    def needs(self) -> str:
        """Return the features as `Mail.needs` stores them: words in alphabetical order, separated by commas."""
        return ",".join(sorted(self.features))


def parse_needs(needs: str) -> frozenset[Feature]:
    """Return the features that `MessageTraits.needs` wrote. Raises ValueError for a word that is no feature."""
    return frozenset(map(Feature, filter(None, needs.split(","))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider kind can carry and tell. None: no limit is known."""

    features: frozenset[Feature]
    max_size: int | None = None  # bytes of a whole message
    max_recipients: int | None = None  # of one call

    def explain_missing(self, traits: MessageTraits) -> str:
        """Return why it cannot carry such a message, as a short phrase; empty if it can."""
        if missing := traits.features - self.features:
            return f"it cannot carry {_join(feature.meaning for feature in sorted(missing))}"
        if self.max_size is not None and traits.size > self.max_size:
            return f"the message has {traits.size} bytes; it carries at most {self.max_size}"
        return ""


def _join(phrases: Iterable[str]) -> str:
    *first, last = phrases
    return f"{', '.join(first)} and {last}" if first else last
