"""One event of a mail told in one sentence, and the small words that every door uses.

Blobs may come from clients, so nothing in one is trusted: a value of the wrong kind is left out, and control characters
never reach a page or a terminal.
"""

from __future__ import annotations

import datetime as dt
import http
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mails.models import Event, Mail
from mails.states import Action, EventName, HoldReason, Source
from mercury.lib import durations
from mercury.lib.mail import printable
from providers.outcomes import FailureClass

_BLOB_SHOWN = 4_000  # characters; the API has all of it


class Strong(str):
    """Words of a sentence that a page prints in bold."""

    __slots__ = ()
    strong = True


class Passing(str):
    """A duration that goes on while somebody reads it: grown so far, or, below zero, still left. A page counts it on."""

    seconds: float

    @classmethod
    def of(cls, seconds: float) -> Passing:
        """The duration in words."""
        words = cls(durations.words(abs(seconds)))
        words.seconds = seconds
        return words


Sentence = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Considered:
    """One account in the draw for a mail, and why it was chosen or left out."""

    account: str
    weight: str
    note: str
    eligible: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a timeline. `event` is the contract's name, empty for the step still under way."""

    title: str
    event: str = ""
    id: int | None = None
    at: dt.datetime | None = None
    offset: float | None = None  # seconds since the mail came in
    by: str = ""
    parts: Sentence = ()
    tone: str = "neutral"
    icon: str = "note"
    considered: tuple[Considered, ...] = ()
    blob: str = ""
    new_round: str = ""  # "Round 2" where a round begins with this step

    @property
    def sentence(self) -> str:
        """The sentence as plain text."""
        return "".join(self.parts)

    @property
    def offset_words(self) -> str:
        """How long after the mail came in: `318 ms`, `1.132 s`, `3 min 4 s`; `now` for the step under way."""
        return "now" if self.offset is None else offset_words(self.offset)

    @property
    def under_way(self) -> bool:
        """Whether this is what the mail waits for, not something that happened."""
        return self.id is None


def tell(mail: Mail, event: Event, blob: Blob) -> Entry:
    """The event as a step of the timeline: title, sentence, tone, icon; whatever its name and blob are."""
    teller = _TELLERS.get(event.event)
    if teller is not None:
        return teller(mail, blob)
    if event.event in EventName.values:
        return _reported(EventName(event.event), blob)
    return Entry(clean(event.event), parts=("Noted by ", Strong(clean(event.created_by)), "."))


def _new(mail: Mail, blob: Blob) -> Entry:
    door = {
        Source.API: ("From application ", " by REST"),
        Source.FORM: ("From ", " with the form"),
        Source.COMMAND: ("From the ", ""),
    }.get(Source(mail.source), ("From ", ""))
    parts: list[str] = [door[0], Strong(blob.text("application") or "somebody"), door[1]]
    if key := blob.text("key"):
        parts += [", key ", Strong(f"{key}…")]
    size = blob.number("size")
    parts.append(f", {durations.size_words(int(size if size is not None else mail.size))}")
    return Entry("Received", parts=tuple(parts), icon="inbox")


def _bad_request(mail: Mail, blob: Blob) -> Entry:
    faults = [f"{item.text('field')}: {item.text('detail')}" for item in blob.items("errors")]
    sentence = " ".join(faults) or "It failed validation."
    return Entry("Failed validation", parts=(sentence, " It was never queued."), tone="bad", icon="ban")


def _accepted(mail: Mail, blob: Blob) -> Entry:
    count = int(blob.number("recipients") or 1)
    recipients = "1 recipient" if count == 1 else f"{count} recipients"
    answered = ". Answered 202." if mail.source == Source.API else "."
    parts = (f"{recipients}, lane ", Strong(blob.text("lane") or mail.lane), answered)
    return Entry("Valid and stored", parts=parts, tone="ok", icon="tick")


def _enqueue(mail: Mail, blob: Blob) -> Entry:
    return Entry("Queued", parts=(f"Waits for a worker in lane {blob.text('lane') or mail.lane}",), icon="lines")


def _dequeue(mail: Mail, blob: Blob) -> Entry:
    parts: list[str] = []
    if (waited := blob.number("waited_ms")) is not None:
        parts += ["Waited ", Strong(durations.words(waited / 1000)), ". "]
    if worker := blob.text("worker"):
        parts += ["Drain ", Strong(worker)]
    if until := blob.moment("lease_until"):
        parts.append(f"{', l' if worker else 'L'}ease until {clock(until)}")
    return Entry("Taken by a worker", parts=tuple(parts), tone="active", icon="clock")


def _ready_to_send(mail: Mail, blob: Blob) -> Entry:
    considered = tuple(_considered(item) for item in blob.items("considered"))
    service = blob.text("service")
    eligible = sum(item.eligible for item in considered)
    why = _sentence_case(blob.text("why")) or f"Weighted draw among {eligible} eligible accounts"
    return Entry(f"Chose {service or 'a provider'}", parts=(why,), tone="active", icon="choose", considered=considered)


def _considered(item: Blob) -> Considered:
    chosen, eligible = item.flag("chosen"), item.flag("eligible")
    note = item.text("note")
    if chosen or eligible:
        note = note or ("chosen" if chosen else "")
        words = f"eligible: {note}" if note else "eligible"
    else:
        words = f"left out: {note or 'no reason is on record'}"
    weight = item.number("weight")
    return Considered(
        account=item.text("account") or "?",
        weight="" if weight is None else f"{weight:g}",
        note=words,
        eligible=eligible or chosen,
        chosen=chosen,
    )


def _send(mail: Mail, blob: Blob) -> Entry:
    words = []
    if (attempt := blob.number("attempt")) is not None:
        words.append(f"Attempt {attempt:.0f}")
    if (deadline := blob.number("deadline_s")) is not None:
        final = blob.number("final_reply_s")
        more = f", and {durations.words(final)} for the reply to its end" if final is not None else ""
        words.append(f"time limit {durations.words(deadline)}{more}")
    to = blob.strings("to")
    if len(to) > 1:
        words.append(f"{len(to)} recipients in one call")
    title = f"Handed to {blob.text('service') or 'the provider'}"
    return Entry(title, parts=(", ".join(words),), tone="active", icon="plane")


def _done(mail: Mail, blob: Blob) -> Entry:
    service, code = blob.text("service") or "the provider", blob.number("status_code")
    if code is None and blob.number("attempt") is None:  # no call ended here: somebody's word, or the rest was given up
        title, parts = "Closed as sent", ["Sent by ", Strong(service), "."]
    else:
        title, parts = (
            f"Accepted by {service}",
            [Strong("Taken" if code is None else f"{code:.0f}"), *_after(blob), "."],
        )
    if message_id := blob.text("provider_message_id"):
        parts += [" Provider’s id ", Strong(message_id), "."]
    refused = blob.items("refused")
    if refused:
        named = "; ".join(f"{item.text('address')} ({item.text('reason')})" for item in refused[:10])
        parts += [" Not taken: ", Strong(named), "."]
    if too_late := _TOO_LATE.get(_inner(blob, "too_late").text("action")):
        parts.append(too_late)
    if blob.flag("possibly_twice"):
        parts.append(" An earlier attempt gave no answer, so it may have arrived twice.")
    return Entry(title, parts=tuple(parts), tone="ok", icon="tick")


_TOO_LATE = {
    Action.CANCEL.value: " The wish to cancel it came too late.",
    Action.HOLD.value: " The wish to hold it came too late.",
}


def _inner(blob: Blob, key: str) -> Blob:
    value = blob.values.get(key)
    return Blob.of(value) if isinstance(value, dict) else Blob("")


def _failure(mail: Mail, blob: Blob) -> Entry:
    parts: list[str] = [Strong(_answer(blob)), *_after(blob), ". ", _FAULT_WORDS.get(blob.text("fault"), "")]
    if reason := blob.text("reason"):
        parts.append(f" It said: “{_cut(reason, 300)}”")
    if (wait := blob.number("retry_after")) is not None:
        parts.append(f" It asks for a pause of {durations.words(wait)}.")
    title = f"Refused by {blob.text('service') or 'the provider'}"
    return Entry(title, parts=tuple(parts), tone="bad", icon="cross")


_FAULT_WORDS = {
    FailureClass.MESSAGE.value: "A fault of the message, surely not sent.",
    FailureClass.ACCOUNT.value: "A fault of the account, surely not sent: another account may take it.",
    FailureClass.RECIPIENT.value: "The recipient's mailbox takes nothing for now, surely not sent: it is tried again later.",
    FailureClass.RATE.value: "Its rate limit, surely not sent: another account may take it now.",
    FailureClass.PROVIDER.value: "Provider fault, surely not sent: safe to try elsewhere.",
    FailureClass.LOCAL.value: "Trouble of Mercury's own machine, surely not sent: it says nothing about the account.",
}


def _unknown(mail: Mail, blob: Blob) -> Entry:
    service = blob.text("service") or "the provider"
    code = blob.text("reason_code")
    silent = "timeout" in code or "time-out" in code or "lost" in code
    parts: list[str] = [
        _answer(blob),
        *_after(blob),
        ". The request went out, so the mail ",
        Strong("may have been sent"),
        ".",
    ]
    if (reason := blob.text("reason")) and reason != code:
        parts.append(f" {_cut(reason, 300).rstrip('.')}.")
    if blob.text("policy") or blob.text("next"):
        policy, what_next = blob.text("policy") or mail.policy, blob.text("next")
        parts += [" Policy ", Strong(policy), f": {what_next}." if what_next else "."]
    title = f"No answer from {service}" if silent else f"Outcome unknown at {service}"
    return Entry(title, parts=tuple(parts), tone="unknown", icon="question")


def _retry(mail: Mail, blob: Blob) -> Entry:
    service = blob.text("service")
    if blob.text("when") != "later":
        parts = (f"{service} is out for this round",) if service else ("Another account is asked",)
        return Entry("Next provider at once", parts=parts, tone="waiting", icon="again")
    at, wait = blob.moment("next_attempt_at"), blob.number("wait_s")
    words = "No account can take it for now"
    if at:
        words += f"; next try at {clock(at)}"
    if wait is not None:
        words += f", after {durations.words(wait)}"
    return Entry("Deferred", parts=(words,), tone="waiting", icon="again")


def _discarded(mail: Mail, blob: Blob) -> Entry:
    parts = [blob.text("info") or "No account would take it."]
    if tried := blob.strings("tried"):
        parts += [" Tried: ", Strong(", ".join(tried)), "."]
    if bounds := _bounds(blob):
        parts.append(f" It was to go {bounds}.")
    return Entry("Discarded", parts=tuple(parts), tone="bad", icon="cross")


def _held(mail: Mail, blob: Blob) -> Entry:
    reason, info = blob.text("reason"), blob.text("info")
    title, meaning = HELD_WORDS.get(reason, HELD_WORDS[HoldReason.OPERATOR.value])
    return Entry(title, parts=(info or meaning, *_why(blob)), tone="unknown", icon="question")


HELD_WORDS = {
    HoldReason.UNKNOWN.value: ("Held for evidence", "It may have been sent and must not be sent twice."),
    HoldReason.POISON.value: ("Held as poison", "Two workers died while they had it."),
    HoldReason.OPERATOR.value: ("Held", "It is kept back until it is released."),
}


def _why(blob: Blob) -> list[str]:
    note = blob.text("note")
    return [f" Why: “{_cut(note, 500)}”"] if note else []


def _released(mail: Mail, blob: Blob) -> Entry:
    title = "To be tried now" if blob.text("action") == Action.RETRY else "Released"
    return Entry(title, parts=("It is due at once.", *_why(blob)), tone="active", icon="again")


def _reprocess(mail: Mail, blob: Blob) -> Entry:
    words = f"It begins again, {bounds}." if (bounds := _bounds(blob)) else "It begins again, through all accounts."
    return Entry("To be sent anew", parts=(words, *_why(blob)), tone="active", icon="again")


def _bounds(blob: Blob) -> str:
    """Which accounts it was to go through, as the end of a sentence; empty where it was all."""
    if via := blob.text("via"):
        return f"through {via} only"
    left_out = blob.strings("left_out")
    return f"only through accounts not tried yet: without {', '.join(left_out)}" if left_out else ""


def _cancelled(mail: Mail, blob: Blob) -> Entry:
    words = "It is not sent any more."
    if blob.flag("possibly_sent"):
        words = "It is not sent again, but an earlier attempt gave no answer: it may have been sent."
    return Entry("Cancelled", parts=(words, *_why(blob)), icon="cross")


def _settled(mail: Mail, blob: Blob) -> Entry:
    sent = blob.text("outcome") == Action.SENT
    title = "Settled as sent" if sent else "Settled as not sent"
    words = "It ends as sent; nothing leaves any more." if sent else "It is safe to send it by another account."
    return Entry(title, parts=(words, *_why(blob)), tone="ok" if sent else "waiting", icon="tick" if sent else "again")


def _asked(mail: Mail, blob: Blob) -> Entry:
    title, words = _ASKED_WORDS.get(blob.text("action"), ("Asked for something", ""))
    return Entry(title, parts=(words, *_why(blob)), tone="waiting", icon="clock")


_ASKED_WORDS = {
    Action.CANCEL.value: ("Asked to cancel it", "A call is under way; unless that takes the mail, it is cancelled."),
    Action.HOLD.value: ("Asked to hold it", "A call is under way; unless that takes the mail, it is held."),
    Action.RELEASE.value: ("Took the wish back", "The mail goes on as if nothing had been asked for."),
    Action.SENT.value: ("An earlier attempt was taken", "A call is under way; no other follows it."),
}


def _duplicate(mail: Mail, blob: Blob) -> Entry:
    parts = (Strong(blob.text("service") or "Another account"), " took it too, so it was sent twice.")
    return Entry("Sent twice", parts=parts, tone="unknown", icon="question")


def _postponed(mail: Mail, blob: Blob) -> Entry:
    until = blob.moment("until")
    words = f"No account can take it before {clock(until)}" if until else "No account can take it now"
    info = blob.text("info")
    considered = tuple(_considered(item) for item in blob.items("considered"))
    return Entry(
        "Postponed",
        parts=(words, f": {info}" if info else "", ". No attempt is used up."),
        tone="waiting",
        icon="clock",
        considered=considered,
    )


def _expired(mail: Mail, blob: Blob) -> Entry:
    return Entry("Expired", parts=(blob.text("info") or "Its time was over.",), icon="cross")


def _late_result(mail: Mail, blob: Blob) -> Entry:
    service = blob.text("service") or "A provider"
    outcome = blob.text("outcome") or "something"
    parts = (f"A worker that had lost its lease reports: {outcome}, {_answer(blob)}. Kept as evidence.",)
    return Entry(f"Late result from {service}", parts=parts, tone="unknown", icon="note")


def _reported(name: EventName, blob: Blob) -> Entry:
    """An event without a sentence of its own: what a person or a provider's report says."""
    words = [text for key in ("info", "note", "reason", "by", "service") if (text := blob.text(key))]
    return Entry(name.label, parts=(". ".join(words),), tone=_REPORT_TONES.get(name, "neutral"), icon="note")


_REPORT_TONES = {
    EventName.DELIVERED: "ok",
    EventName.BOUNCED: "bad",
    EventName.COMPLAINED: "bad",
    EventName.DEFERRED: "waiting",
}
_TELLERS: dict[str, Callable[[Mail, Blob], Entry]] = {
    EventName.NEW: _new,
    EventName.BAD_REQUEST: _bad_request,
    EventName.ACCEPTED: _accepted,
    EventName.ENQUEUE: _enqueue,
    EventName.DEQUEUE: _dequeue,
    EventName.READY_TO_SEND: _ready_to_send,
    EventName.SEND: _send,
    EventName.DONE: _done,
    EventName.FAILURE: _failure,
    EventName.RETRY: _retry,
    EventName.DISCARDED: _discarded,
    EventName.UNKNOWN: _unknown,
    EventName.HELD: _held,
    EventName.RELEASED: _released,
    EventName.REPROCESS: _reprocess,
    EventName.CANCELLED: _cancelled,
    EventName.SETTLED: _settled,
    EventName.ASKED: _asked,
    EventName.DUPLICATE: _duplicate,
    EventName.POSTPONED: _postponed,
    EventName.EXPIRED: _expired,
    EventName.LATE_RESULT: _late_result,
}


# Words


def _answer(blob: Blob) -> str:
    """The provider's answer: `503 Service Unavailable`, `550`, or the reason's code."""
    code, reason_code = blob.number("status_code"), blob.text("reason_code")
    if code is None:
        return reason_code.replace("-", " ").capitalize() or "No answer"
    if reason_code.startswith("smtp"):
        return f"{code:.0f}"
    try:
        return f"{code:.0f} {http.HTTPStatus(int(code)).phrase}"
    except ValueError:
        return f"{code:.0f}"


def _after(blob: Blob) -> list[str]:
    latency = blob.number("latency_ms")
    return [] if latency is None else [f" after {durations.words(latency / 1000)}"]


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def offset_words(seconds: float) -> str:
    """A distance on a timeline: `318 ms`, `1.132 s`, `3 min 4 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.3f} s" if seconds < 60 else durations.words(seconds)


def age_words(seconds: float) -> str:
    """An age: `now`, `12 s ago`, `3 min ago`, `2 d ago`."""
    if seconds < 1:
        return "now"
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 86_400:
        return f"{int(seconds // 60)} min ago" if seconds < 3600 else f"{int(seconds // 3600)} h ago"
    return f"{int(seconds // 86_400)} d ago"


def clock(moment: dt.datetime) -> str:
    """A time of day with its zone: `10:14:03 UTC`."""
    return f"{moment.astimezone(dt.UTC):%H:%M:%S} UTC"


def clean(text: str) -> str:
    """`text` as it may be shown, see `printable`."""
    return printable.replace_unprintable(text)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob read with suspicion: whatever is not of the kind asked for is as good as missing."""

    raw: str
    values: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        try:
            loaded = json.loads(self.raw) if self.raw.lstrip().startswith("{") else {}
        except (ValueError, RecursionError):
            loaded = {}
        object.__setattr__(self, "values", loaded if isinstance(loaded, dict) else {})

    @classmethod
    def of(cls, values: dict[str, object]) -> Blob:
        """A blob inside a blob."""
        blob = cls("")
        blob.values.update(values)
        return blob

    def text(self, key: str) -> str:
        """The text at `key`, cleaned and cut; empty where there is none."""
        value = self.values.get(key)
        return _cut(clean(value), 2000) if isinstance(value, str) else ""

    def number(self, key: str) -> float | None:
        """The number at `key`, if it is one that can be counted with."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) < 1e12 and math.isfinite(value) and value >= 0 else None

    def flag(self, key: str) -> bool:
        """Whether the value at `key` is true."""
        return self.values.get(key) is True

    def moment(self, key: str) -> dt.datetime | None:
        """The point in time at `key`, if it is ISO 8601 with a zone."""
        try:
            moment = dt.datetime.fromisoformat(self.text(key))
            return moment.astimezone(dt.UTC) if moment.tzinfo else None
        except (ValueError, OverflowError):
            return None

    def items(self, key: str) -> list[Blob]:
        """The objects in the list at `key`, at most 100."""
        return [Blob.of(value) for value in self._list(key) if isinstance(value, dict)]

    def strings(self, key: str) -> list[str]:
        """The texts in the list at `key`, at most 100."""
        return [clean(value) for value in self._list(key) if isinstance(value, str)]

    def _list(self, key: str) -> Iterable[object]:
        value = self.values.get(key)
        return value[:100] if isinstance(value, list) else []

    def pretty(self) -> str:
        """The blob as recorded, indented where it is JSON."""
        text = self.raw
        if self.values:
            try:
                text = json.dumps(self.values, indent=2, ensure_ascii=False)
            except (ValueError, RecursionError):
                text = self.raw
        return _cut(clean(text), _BLOB_SHOWN)
