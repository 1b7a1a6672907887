"""Capabilities of a provider kind, and what a message needs of them. Pure; knows no provider."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from mercury.lib.durations import format_duration, format_size


class Feature(StrEnum):
    """Part of a message that not every provider can carry. The value is stored with the email, the meaning shown to people."""

    HTML = "html"
    CC = "cc"
    BCC = "bcc"
    REPLY_TO = "reply-to"
    REPLY_TO_LIST = "reply-to-list"  # more than one address
    HEADERS = "headers"  # of the sender's own
    HEADERS_UTF8 = "headers-utf8"  # whose values have letters beyond ASCII
    UNSUBSCRIBE = "unsubscribe"  # List-Unsubscribe, RFC 2369 and 8058
    ATTACHMENTS = "attachments"
    INLINE = "inline"  # attachments that the HTML shows by their Content-ID
    TAGS = "tags"
    METADATA = "metadata"
    SMTPUTF8 = "smtputf8"  # letters beyond ASCII before the @, RFC 6531

    @property
    def meaning(self) -> str:
        """Return what an account without it cannot carry, as the end of a sentence."""
        return _MEANINGS[self]

    @property
    def is_required(self) -> bool:
        """Return False if an account without it may be used: recipients miss nothing, and Mercury keeps it."""
        return self not in (Feature.TAGS, Feature.METADATA)


_MEANINGS = {
    Feature.HTML: "HTML",
    Feature.CC: "Cc",
    Feature.BCC: "Bcc",
    Feature.REPLY_TO: "Reply-To",
    Feature.REPLY_TO_LIST: "several addresses to reply to",
    Feature.HEADERS: "custom headers",
    Feature.HEADERS_UTF8: "non-ASCII header values",
    Feature.UNSUBSCRIBE: "List-Unsubscribe",
    Feature.ATTACHMENTS: "attachments",
    Feature.INLINE: "inline images",
    Feature.TAGS: "tags",
    Feature.METADATA: "metadata",
    Feature.SMTPUTF8: "addresses with letters beyond ASCII before the @",
}
IN_MIME = frozenset(Feature) - {
    Feature.TAGS,
    Feature.METADATA,
    Feature.SMTPUTF8,
}  # what the messages that Mercury writes have


# Sizes that routing tells apart, in megabytes: limits of providers. A message counts as large as the next of them, so that
# sizes make few routes; one of at most the first is small, and every provider carries it.
SIZES = (2, 10, 15, 20, 25, 30, 40, 50, 100)
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTraits:
    """What routing needs to know of a message: its size in bytes, its number of recipients, and the features it uses."""

    size: int = 0  # attachments as they are, not in base64
    recipients: int = 1
    features: frozenset[Feature] = frozenset()

    @property
    def needs(self) -> str:
        """Return the required features as `Mail.needs` stores them, in alphabetical order, and the size of a large message."""
        size = self._round_size()
        words = sorted(feature for feature in self.features if feature.is_required) if self.features else []
        return ",".join([*words, f"{size}MB"] if size else words)

    @classmethod
    def from_needs(cls, needs: str) -> "MessageTraits":
        """Return the traits that `needs` tells of. Raises ValueError for a word that is neither a feature nor a size."""
        words = needs.split(",") if needs else []
        size = max((int(word.removesuffix("MB")) * MEGABYTE for word in words if word.endswith("MB")), default=0)
        features = frozenset(Feature(word) for word in words if not word.endswith("MB"))
        return cls(size=size * 57 // 78 if Feature.ATTACHMENTS in features else size, features=features)

    @property
    def sent_size(self) -> int:
        """Return about how many bytes are sent: base64 makes 78 of 57."""
        return self.size * 78 // 57 if Feature.ATTACHMENTS in self.features else self.size

    def _round_size(self) -> int:
        """Return the megabytes that it counts as; 0 for a small message."""
        if self.sent_size <= SIZES[0] * MEGABYTE:
            return 0
        return next((size for size in SIZES if self.sent_size <= size * MEGABYTE), -(-self.sent_size // MEGABYTE))


def read_needs(needs: str) -> MessageTraits | None:
    """Return the traits that `Mail.needs` tells of; None where another version of Mercury wrote it."""
    try:
        return MessageTraits.from_needs(needs)
    except ValueError:
        return None


def _declare(meaning: str, **default: bool) -> Any:
    """Declare a capability. `meaning` completes both "can …" and "cannot …". Without a default each kind has to state it."""
    return field(**default, metadata={"meaning": meaning})  # type: ignore[call-overload]  # `default` or nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider kind can carry and tell. None: no limit is known.

    It is about the requests that Mercury makes, not about all that the provider offers. `can` and `cannot` say the same to
    people: a field with a default is mentioned only by the kinds that differ from it.
    """

    features: frozenset[Feature]
    max_size: int | None = None  # bytes of a whole message, as the provider counts them
    max_recipients: int | None = None  # of one request; an email to more is sent in several
    never_empty: frozenset[str] = frozenset()  # "subject", "body": a space is sent instead of nothing
    idempotency_hours: float | None = (
        None  # how long it remembers the key of a call, and sends no second copy; None: not
    )

    keeps_message_id: bool = _declare("keep the Message-ID")
    sends_exact_bytes: bool = _declare("send exactly the bytes that Mercury shows")
    shows_all_recipients: bool = _declare("name all recipients in To, also in a request for some of them")
    answers_per_recipient: bool = _declare("answer for each recipient")
    reports_delivery: bool = _declare("report delivery by webhook")
    sends_text_alone: bool = _declare("send a text without an HTML version of it", default=True)
    delivers: bool = _declare("deliver email", default=True)
    keeps_emails: bool = _declare("keep every email for you to read", default=False)
    simulates_failures: bool = _declare("simulate slow, refused, missing, alternating and lost answers", default=False)

    @property
    def can(self) -> tuple[str, ...]:
        """Return what the kind can do, as ends of a sentence that begins with "It can"."""
        return tuple(self._list_abilities())

    @property
    def cannot(self) -> tuple[str, ...]:
        """Return what it cannot do, as ends of a sentence that begins with "It cannot"."""
        return tuple(self._list_inabilities())

    def explain_missing(self, traits: MessageTraits) -> str:
        """Return why it cannot carry such a message, as a short phrase; empty if it can."""
        if missing := {feature for feature in traits.features - self.features if feature.is_required}:
            return f"it cannot carry {join_meanings(missing, 'and')}"
        if self.max_size is not None and traits.sent_size > self.max_size:
            return f"it carries at most {self.max_size:,} bytes"
        return ""

    def _list_abilities(self) -> Iterator[str]:
        yield f"carry {join_meanings(self.features, 'and')}"
        if self.max_size is not None:
            yield f"carry up to {format_size(self.max_size)}"
        if self.max_recipients is not None:
            yield f"send to {self.max_recipients:,} recipients in a request"
        if self.idempotency_hours is not None:
            remembered = format_duration(self.idempotency_hours * 3600)
            yield f"recognize a repeated request for {remembered}, and send no second copy"
        yield from self._list_meanings(value=True)

    def _list_inabilities(self) -> Iterator[str]:
        if missing := frozenset(Feature) - self.features:
            yield f"carry {join_meanings(missing, 'or')}"
        if self.never_empty:
            yield f"send an empty {' or '.join(sorted(self.never_empty, reverse=True))} (a space is sent)"
        yield from self._list_meanings(value=False)

    def _list_meanings(self, *, value: bool) -> Iterator[str]:
        for entry in fields(self):
            if "meaning" in entry.metadata and getattr(self, entry.name) is value and entry.default is not value:
                yield entry.metadata["meaning"]


def join_meanings(features: Iterable[Feature], word: str) -> str:
    """Return the meanings of the features as a list in words, in the order of their declaration."""
    wanted = set(features)
    *first, last = [feature.meaning for feature in Feature if feature in wanted]
    return f"{', '.join(first)} {word} {last}" if first else last
