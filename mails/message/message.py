"""A message: everything that its sender wrote, as one value from submission to the provider call. Uses no database.

A field that only the call needs is declared once, here: `Content.other_fields` then stores it, and nothing but its door and
its builder (`mails.message.mime`) knows it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import orjson

from mails.states import RecipientKind
from mercury.lib.mail.name_address import extract_address
from mercury.lib.value import value
from providers.kinds.capabilities import Feature, MessageTraits

_TO_ESCAPE, _ESCAPED = re.compile(r'["\\]'), r"\\\g<0>"
_KINDS = {RecipientKind.CC: Feature.CC, RecipientKind.BCC: Feature.BCC}


@value
class Mailbox:
    """An address, and the display name that the sender gave it."""

    address: str
    name: str = ""

    @property
    def shown(self) -> str:
        """Return it as headers name it (RFC 5322 §3.4)."""
        return f'"{_TO_ESCAPE.sub(_ESCAPED, self.name)}" <{self.address}>' if self.name else self.address


@value
class MessageRecipient(Mailbox):
    """One recipient, as the sender named it."""

    kind: RecipientKind = RecipientKind.TO


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentReference:
    """An attachment, without its content."""

    filename: str
    content_type: str
    size: int  # bytes of the content
    sha256: str  # of its content, by which that is stored
    content_id: str = ""  # by which the HTML shows it


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReference:
    """A file that the email has a download link to instead of the file itself. Its link is a row of `DownloadLink`."""

    id: str  # of the link
    filename: str
    content_type: str
    size: int
    sha256: str
    expires: str  # ISO 8601, UTC
    max_downloads: int | None = None


def _declare(load: Callable[..., Any], feature: Feature | None) -> Any:
    """Declare a field that only the call needs. `load`: returns its value from JSON, its empty value without an argument.

    `feature`: what an account must be able to carry; None: it becomes a part of the bodies.
    """
    metadata = {"load": load, "feature": feature}
    empty = load()  # one for all messages, unless somebody could change it
    return field(default_factory=dict, metadata=metadata) if empty == {} else field(default=empty, metadata=metadata)


def _load_attachments(stored: Any = ()) -> tuple[AttachmentReference, ...]:
    return tuple(AttachmentReference(**attachment) for attachment in stored)


def _load_links(stored: Any = ()) -> tuple[LinkReference, ...]:
    return tuple(LinkReference(**link) for link in stored)


def _load_mailboxes(stored: Any = ()) -> tuple[Mailbox, ...]:
    return tuple(Mailbox(**mailbox) for mailbox in stored)


@value
class Message:
    """An email as its sender wrote it."""

    sender: str  # an address, with or without a display name
    recipients: tuple[MessageRecipient, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""

    reply_to: tuple[Mailbox, ...] = _declare(_load_mailboxes, Feature.REPLY_TO)
    headers: Mapping[str, str] = _declare(dict, Feature.HEADERS)
    attachments: tuple[AttachmentReference, ...] = _declare(_load_attachments, Feature.ATTACHMENTS)
    links: tuple[LinkReference, ...] = _declare(_load_links, None)
    tags: tuple[str, ...] = _declare(tuple, Feature.TAGS)
    metadata: Mapping[str, str] = _declare(dict, Feature.METADATA)
    unsubscribe_url: str = _declare(str, Feature.UNSUBSCRIBE)
    unsubscribe_mailto: str = _declare(str, Feature.UNSUBSCRIBE)  # as it follows `mailto:`

    def __repr__(self) -> str:
        """Return its size alone: the content must not get into a log."""
        return f"Message({self.size} bytes)"

    @classmethod
    def from_stored(cls, *, other_fields: Mapping[str, Any] | None, **columns: Any) -> Self:
        """Return the message that was stored. Raises ValueError for a field that this version of Mercury does not know."""
        if not other_fields:
            return cls(**columns)
        if unknown := other_fields.keys() - _LOADERS.keys():
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        return cls(**columns, **{name: _LOADERS[name](value) for name, value in other_fields.items()})

    @property
    def other_fields(self) -> dict[str, Any] | None:
        """Return the fields that only the call needs, as one JSON document; None if there are none."""
        return {name: _dump(entry) for name in _LOADERS if (entry := getattr(self, name))} or None

    @property
    def unsubscribe_headers(self) -> dict[str, str]:
        """Return the headers that say how to unsubscribe (RFC 2369); by one click too (RFC 8058) where there is a URL."""
        ways = [self.unsubscribe_url, f"mailto:{self.unsubscribe_mailto}" if self.unsubscribe_mailto else ""]
        listed = ", ".join(f"<{way}>" for way in ways if way)
        one_click = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"} if self.unsubscribe_url else {}
        return {"List-Unsubscribe": listed} | one_click if listed else {}

    @property
    def labels(self) -> list[tuple[str, str]]:
        """Return what the email is found by: the metadata, and the tags without a name."""
        return [*(("", tag) for tag in self.tags), *self.metadata.items()]

    @property
    def size(self) -> int:
        """Return its bytes in UTF-8: subject, bodies, other fields, and contents of attachments."""
        size = sum(map(count_bytes, (self.subject, self.text, self.html)))
        if others := self.other_fields:
            size += len(orjson.dumps(others)) + sum(attachment.size for attachment in self.attachments)
        return size

    @property
    def files(self) -> tuple[AttachmentReference | LinkReference, ...]:
        """Return its files, those that have a download link last."""
        return (*self.attachments, *self.links)

    @property
    def traits(self) -> MessageTraits:
        """Return what routing needs to know of it."""
        return MessageTraits(size=self.size, recipients=len(self.recipients), features=frozenset(self._list_features()))

    @property
    def columns(self) -> dict[str, Any]:
        """Return the columns of `Mail` that follow from it."""
        traits = self.traits
        return {
            "sender": self.sender,
            "recipient": ", ".join(
                recipient.address for recipient in self.recipients if recipient.kind == RecipientKind.TO
            ),
            "subject": self.subject,
            "size": traits.size,
            "needs": traits.needs,
        }

    def _list_features(self) -> list[Feature]:
        features = [feature for name, feature in _FEATURES.items() if getattr(self, name)]
        features += [_KINDS[recipient.kind] for recipient in self.recipients if recipient.kind in _KINDS]
        if self.attachments and any(attachment.content_id for attachment in self.attachments):
            features.append(Feature.INLINE)
        if len(self.reply_to) > 1:
            features.append(Feature.REPLY_TO_LIST)
        if self.headers and not all(map(str.isascii, self.headers.values())):
            features.append(Feature.HEADERS_UTF8)
        if self.headers and any(name.lower() == "list-unsubscribe" for name in self.headers):
            features.append(Feature.UNSUBSCRIBE)
        if self.list_utf8_addresses():
            features.append(Feature.SMTPUTF8)
        return features

    def list_utf8_addresses(self) -> list[str]:
        """Return the addresses with letters beyond ASCII before the @."""
        named = [*self.recipients, *self.reply_to]
        found = [mailbox.address for mailbox in named if not mailbox.address.isascii()]
        if not self.sender.isascii() and not (sender := extract_address(self.sender)).isascii():
            found.append(sender)
        return found


_LOADERS = {entry.name: entry.metadata["load"] for entry in fields(Message) if entry.metadata}
_FEATURES = {"html": Feature.HTML} | {
    entry.name: entry.metadata["feature"] for entry in fields(Message) if entry.metadata.get("feature")
}


def count_bytes(text: str) -> int:
    """Return the length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _dump(value: Any) -> Any:
    """Return the value as JSON has it; a mapping as pairs, since PostgreSQL would sort its names."""
    return orjson.loads(orjson.dumps(list(value.items()) if isinstance(value, Mapping) else value))
