"""One step of a timeline, and the parts of its sentence."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from mercury.lib import durations


class BoldText(str):
    """Words of a sentence that a page prints in bold."""

    __slots__ = ()
    strong = True


class EmailText(BoldText):
    """The id of another email, which a page prints as a link to it."""

    __slots__ = ()
    is_email = True


def refer_to_email(text: str) -> BoldText:
    """Return the id of an email as a link; any other text, which a client may have recorded, in bold."""
    try:
        return EmailText(uuid.UUID(text))
    except ValueError:
        return BoldText(text or "unknown")


class RunningDuration(str):
    """A duration that a page keeps counting: the time elapsed so far or, if negative, the time left."""

    seconds: float

    @classmethod
    def from_seconds(cls, seconds: float) -> RunningDuration:
        """Return the duration in words."""
        words = cls(durations.format_duration(abs(seconds)))
        words.seconds = seconds
        return words


Sentence = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedAccount:
    """One account of a routing decision, and why it was selected or skipped."""

    account: str
    weight: str
    priority: str  # empty for the first
    note: str
    eligible: bool
    selected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One step of a timeline. `event` is the contract's name, empty for the step still in progress."""

    title: str
    event: str = ""
    id: int | None = None
    at: dt.datetime | None = None
    offset: float | None = None  # seconds since submission
    by: str = ""
    parts: Sentence = ()
    tone: str = "neutral"
    icon: str = "note"
    evaluated: tuple[EvaluatedAccount, ...] = ()
    blob: str = ""
    new_round: str = ""  # "Round 2" where a round begins with this step

    @property
    def sentence(self) -> str:
        """The sentence as plain text."""
        return "".join(self.parts)

    @property
    def offset_words(self) -> str:
        """The time since submission: `318 ms`, `1.132 s`, `3 min 4 s`; `now` for the step in progress."""
        return "now" if self.offset is None else durations.format_offset(self.offset)

    @property
    def under_way(self) -> bool:
        """True if this is what the email waits for, not something that happened."""
        return self.id is None
