"""A mail's life told in sentences: the same words for the pages, the admin and the commands.

`entries`, `verdict`, `badge`, `facts` and `spans` are pure: they take rows and a `now` and return values. `story`
reads the rows of one mail and calls them. The sentence of one event is `sentences`' business.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db.models.functions import Left

from mails import advice
from mails.advice import Advice
from mails.models import Attempt, Content, Event, Mail, Recipient
from mails.obstacles import NO_OBSTACLES, Obstacles, find_obstacles
from mails.sentences import HELD_WORDS, Blob, Entry, Passing, age_words, clean, clock, tell
from mails.states import DUE, DUPLICATE, FINAL, LEASED, Action, AttemptState, EventName, HoldReason, Status
from mercury.lib import durations
from mercury.lib.mail.preview import TEXT_SHOWN

EVENTS_SHOWN = 200  # a page shows the first event and the last so many, unless asked for all
EVENTS_AT_MOST = 5000
BLOB_READ = 16_384  # characters; Mercury's own blobs are shorter, a client's may go on behind it


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as an icon and a word; `help` is its meaning in one sentence."""

    word: str
    tone: str
    icon: str
    help: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure with its name and a note below it. `at` is set where the figure is a point in time."""

    label: str
    value: str
    note: str = ""
    at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """What a mail is compared with: medians of its lane over the last hour, in seconds; None where there are none."""

    wait: float | None = None  # accepted to first handed to a provider
    acceptance: float | None = None  # accepted to taken by a provider


UNKNOWN_USUAL = Usual()


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a mail's life, in seconds since it came in."""

    label: str
    start: float
    length: float
    tone: str
    goes_on: bool = False

    @property
    def words(self) -> str:
        """Its length for people."""
        return durations.words(self.length)


@dataclass(frozen=True, slots=True)
class Round:
    """Steps that belong together: what came before the first round, or one round. All but the last fold."""

    entries: list[Entry]
    folded: bool = False

    @property
    def title(self) -> str:
        """Its name and what came of it: `Round 1 · 11 events · Refused by olympus · Refused by hades`."""
        ends = [entry.title for entry in self.entries if entry.event in _ENDS]
        return " · ".join(
            [self.entries[0].new_round, f"{len(self.entries)} events", *ends[:4], *["…"][: len(ends) > 4]]
        )


@dataclass(frozen=True, slots=True)
class Story:
    """All that a page or a command tells of one mail."""

    mail: Mail
    badge: Badge
    verdict: str
    facts: list[Fact]
    spans: list[Span]
    entries: list[Entry]
    recipients: list[Recipient]
    attempts: list[Attempt]
    text: str  # its beginning
    cursor: int  # id of the last event told
    event_count: int  # events told
    left_out: bool  # older events exist that were not told
    due_in: float | None  # seconds until the next round, where one is due
    obstacles: Obstacles  # what keeps the mail while it is on its way
    advice: Advice | None = None  # why it was not sent, and what to do

    @property
    def is_final(self) -> bool:
        """Whether nothing more is expected to happen."""
        return self.mail.status in FINAL

    @property
    def rounds(self) -> list[Round]:
        """The entries in rounds."""
        return rounds(self.entries)

    @property
    def addresses(self) -> list[str]:
        """Whom it is for."""
        return [recipient.address for recipient in self.recipients]


# Reading


def story(mail: Mail, now: dt.datetime, *, everything: bool = False, usual: Usual = UNKNOWN_USUAL) -> Story:
    """Read what belongs to `mail` (ten queries at most, each by an index) and tell it; `usual` is what it is compared with.

    Tells the first event and the last EVENTS_SHOWN; with `everything` up to EVENTS_AT_MOST.
    """
    bound = EVENTS_AT_MOST if everything else EVENTS_SHOWN
    events_of = Event.objects.of(mail.pk).defer("blob").annotate(beginning=Left("blob", BLOB_READ))
    newest = list(events_of.order_by("-id")[: bound + 1])
    left_out = len(newest) > bound
    events = newest[::-1]
    if left_out:
        events = [*events_of.order_by("id")[:1], *events[1:]]
    for event in events:
        event.blob = event.beginning  # type: ignore[attr-defined]
    attempts = list(Attempt.objects.filter(mail=mail).order_by("number"))
    obstacles = find_obstacles(mail)
    recipients = list(Recipient.objects.filter(mail=mail).order_by("id"))
    return Story(
        mail=mail,
        badge=badge(mail),
        verdict=verdict(mail, now, obstacles),
        facts=facts(mail, events, attempts, now, usual=usual),
        spans=spans(mail, events, attempts, now),
        entries=entries(mail, events, now, obstacles),
        recipients=recipients,
        attempts=attempts,
        text=_beginning(mail),
        cursor=events[-1].id if events else 0,
        event_count=len(events),
        left_out=left_out,
        due_in=_due_in(mail, now),
        obstacles=obstacles,
        advice=advice.advise(mail, events, attempts, recipients),
    )


def _beginning(mail: Mail) -> str:
    """Return as much of the text as a page shows, and one character more if there is more."""
    found = Content.objects.filter(mail=mail).annotate(beginning=Left("text", TEXT_SHOWN + 1))
    return found.values_list("beginning", flat=True).first() or ""


def has_news(mail: Mail, *, after: int, status: str, obstacles: str) -> bool:
    """Return True if something happened to `mail` since its event `after`, its state and the mark of its `obstacles`."""
    if status != mail.status or Event.objects.of(mail.pk).filter(id__gt=after).exists():
        return True
    return obstacles != find_obstacles(mail).mark


# The state in words


def badge(mail: Mail) -> Badge:
    """The state of `mail` as a badge."""
    plain = _plain_badge(mail)
    if not _may_have_arrived(mail):
        return plain
    return replace(plain, help=f"{plain.help} An earlier attempt's outcome is unknown: it may have arrived.")


def _plain_badge(mail: Mail) -> Badge:
    match mail.status:
        case Status.QUEUED:
            return Badge("Queued", "neutral", "clock", "It is stored and waits to be sent.")
        case Status.SENDING:
            return Badge("Sending", "active", "plane", "A worker has it; no provider has answered yet.")
        case Status.WAITING:
            return Badge(
                "Deferred", "waiting", "again", "No account could take it for now; it is tried again until it expires."
            )
        case Status.HELD:
            return _held_badge(mail.reason_code)
        case Status.DONE if mail.reason_code == DUPLICATE:
            return Badge("Sent twice", "unknown", "question", "Two providers took it: a late answer showed that.")
        case Status.DONE:
            note = " An earlier attempt's outcome is unknown: it may have arrived twice." if mail.doubtful else ""
            word = "Sent, possibly twice" if mail.doubtful else "Sent"
            return Badge(word, "ok", "tick", f"A provider took it.{note}")
        case Status.DISCARDED:
            return Badge("Discarded", "bad", "cross", "No account would take it.")
        case Status.EXPIRED:
            return Badge("Expired", "neutral", "cross", "Its time was over before an account took it.")
        case Status.CANCELLED:
            return Badge("Cancelled", "neutral", "cross", "A person or the API took it back.")
        case _:
            return Badge("Rejected", "bad", "ban", "It failed validation and was never queued.")


def _held_badge(reason: str) -> Badge:
    word = {HoldReason.UNKNOWN.value: "Outcome unknown", HoldReason.POISON.value: "Held: poison"}.get(reason, "Held")
    meaning = HELD_WORDS.get(reason, HELD_WORDS[HoldReason.OPERATOR.value])[1]
    return Badge(word, "unknown", "question", meaning)


def verdict(mail: Mail, now: dt.datetime, obstacles: Obstacles = NO_OBSTACLES) -> str:
    """Where the mail stands, and why, in one sentence; one more for each thing that keeps it while it is on its way."""
    on_its_way = mail.status in {*DUE, *LEASED}
    return " ".join([f"{_standing(mail, now, obstacles)}{_doubt(mail)}", *(obstacles.sentences if on_its_way else [])])


def _standing(mail: Mail, now: dt.datetime, obstacles: Obstacles) -> str:
    provider = clean(mail.provider)
    took = durations.words(max(0.0, ((mail.finished_at or now) - mail.created_at).total_seconds()))
    reason = clean(mail.reason_code)
    match mail.status:
        case Status.QUEUED:
            return "Stored." if obstacles.sentences else f"Stored; waits for a worker in queue {mail.lane}."
        case Status.SENDING:
            wish = _WISHES.get(Blob(mail.wish).text("action"), "")
            return f"Handed to {provider or 'a provider'}, which has not answered yet.{wish}"
        case Status.WAITING:
            because = f"; the last fault was {reason}" if reason else ""
            return f"{_next_try(mail)}. No account could take it for now{because}."
        case Status.HELD:
            return _plain_badge(mail).help + (f" Last at {provider}." if provider else "")
        case Status.DONE:
            return f"Taken by {provider or 'a provider'} {took} after it was accepted."
        case Status.DISCARDED:
            return f"No account accepted it: {reason or 'no reason is on record'}. Given up after {took}."
        case Status.EXPIRED:
            return f"No account accepted it in time: it expired after {took}."
        case Status.CANCELLED:
            return f"Taken back {took} after it was accepted."
        case _:
            return "It failed validation and was never queued."


def _next_try(mail: Mail) -> str:
    at = mail.next_attempt_at
    if at is None:
        return "Deferred"
    return f"Deferred, expires at {clock(at)}" if at >= mail.expires_at else f"Deferred, next try at {clock(at)}"


def _doubt(mail: Mail) -> str:
    if mail.reason_code == DUPLICATE:
        return " Another account took it too: it was sent twice."
    if mail.doubtful and mail.status == Status.DONE:
        return " It may have arrived twice: an earlier attempt gave no answer."
    return " It may have arrived already: an earlier attempt gave no answer." if _may_have_arrived(mail) else ""


def _may_have_arrived(mail: Mail) -> bool:
    """Whether a mail that is not sent may have been, and its state alone does not say so."""
    told = mail.status == Status.DONE or (mail.status == Status.HELD and mail.reason_code == HoldReason.UNKNOWN)
    return mail.doubtful and not told


_WISHES = {
    Action.CANCEL.value: " Unless that takes it, it is cancelled then.",
    Action.HOLD.value: " Unless that takes it, it is held then.",
    Action.SENT.value: " An earlier attempt was taken, so no other follows.",
}


# The figures


def facts(
    mail: Mail,
    events: Sequence[Event],
    attempts: Sequence[Attempt],
    now: dt.datetime,
    *,
    usual: Usual = UNKNOWN_USUAL,
) -> list[Fact]:
    """Five figures: accepted, waited in queue, at providers, attempts, and the total or the time so far."""
    at_providers = sum(_attempt_seconds(attempt, now) for attempt in attempts)
    waiting = mail.status == Status.QUEUED and not mail.attempt_count
    calling = any(attempt.state == AttemptState.OPEN for attempt in attempts)
    return [
        Fact(
            "Received" if mail.status == Status.REJECTED else "Accepted",
            age_words((now - mail.created_at).total_seconds()),
            clock(mail.created_at),
            mail.created_at,
        ),
        Fact(
            "Waited in queue",
            _duration(_waited(mail, events, now), goes_on=waiting),
            f"lane {mail.lane}" + (f", median {durations.words(usual.wait)}" if usual.wait is not None else ""),
        ),
        Fact("At providers", _duration(at_providers, goes_on=calling), _provider_note(mail, attempts)),
        Fact("Attempts", str(len(attempts)), f"round {mail.round}"),
        _total(mail, events, now, usual),
    ]


def _duration(seconds: float, *, goes_on: bool) -> str:
    return Passing.of(seconds) if goes_on else durations.words(seconds)


def _total(mail: Mail, events: Sequence[Event], now: dt.datetime, usual: Usual) -> Fact:
    seconds = max(0.0, ((mail.finished_at or now) - mail.created_at).total_seconds())
    words = durations.words(seconds)
    match mail.status:
        case Status.DONE:
            median = f"lane median {durations.words(usual.acceptance)}" if usual.acceptance is not None else ""
            return Fact("Accepted to sent", words, median)
        case Status.REJECTED:
            return Fact("Answered in", words)
        case Status.DISCARDED | Status.EXPIRED | Status.CANCELLED:
            return Fact("Accepted to the end", words, badge(mail).word.lower())
        case Status.HELD:
            held = [event.created_at / 1e9 for event in events if event.event == EventName.HELD]
            since = now.timestamp() - held[-1] if held else seconds
            return Fact("Held for", Passing.of(max(0.0, since)), f"{words} since it was accepted")
        case _:
            return Fact("So far", Passing.of(seconds))


def _provider_note(mail: Mail, attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return "not called" if mail.status in FINAL else "not called yet"
    if len(attempts) == 1 and attempts[0].state == AttemptState.ACCEPTED:
        return attempts[0].account
    words = []
    for attempt in attempts[-3:]:
        took = f"{durations.words(attempt.latency_ms / 1000)} " if attempt.latency_ms is not None else ""
        state = "" if attempt.state == AttemptState.ACCEPTED else _STATE_WORDS[AttemptState(attempt.state)]
        words.append(f"{took}{state}".strip())
    return ("… + " if len(attempts) > 3 else "") + " + ".join(words)


_STATE_WORDS = {
    AttemptState.OPEN: "no answer yet",
    AttemptState.ACCEPTED: "accepted",
    AttemptState.REFUSED: "refused",
    AttemptState.UNKNOWN: "unknown",
}


def _waited(mail: Mail, events: Sequence[Event], now: dt.datetime) -> float:
    waits = [Blob(event.blob).number("waited_ms") or 0.0 for event in events if event.event == EventName.DEQUEUE]
    if waits or mail.status in FINAL or mail.attempt_count:
        return max(0.0, sum(waits) / 1000)
    return max(0.0, (now - mail.created_at).total_seconds())


def _attempt_seconds(attempt: Attempt, now: dt.datetime) -> float:
    if attempt.latency_ms is not None:
        return attempt.latency_ms / 1000
    return max(0.0, ((attempt.closed_at or now) - attempt.opened_at).total_seconds())


def spans(mail: Mail, events: Sequence[Event], attempts: Sequence[Attempt], now: dt.datetime) -> list[Span]:
    """Where the time went: storing, waiting in the queue, and each call. Stretches under a tenth of 1 ms count too."""
    start = _start(mail, events)
    found: list[Span] = []
    stored: float | None = None
    waited_from = 0.0
    for event in events:
        offset = _offset(event, start)
        if event.event == EventName.ACCEPTED and stored is None:
            stored = waited_from = offset
            found.append(Span("Validate and store", 0.0, offset, "neutral"))
        elif event.event == EventName.DEQUEUE:
            found.append(Span(f"Queue ({mail.lane})", waited_from, max(0.0, offset - waited_from), "waiting"))
        elif event.event in _LEFT_THE_WORKER:
            waited_from = offset
    found += [_call(attempt, start, now) for attempt in attempts]
    if mail.status in (Status.QUEUED, Status.WAITING) and events:
        lasted = max(0.0, now.timestamp() - start - waited_from)
        found.append(Span("Waiting now", waited_from, lasted, "waiting", goes_on=True))
    return sorted(found, key=lambda span: span.start)[:40]


def _call(attempt: Attempt, start: float, now: dt.datetime) -> Span:
    return Span(
        f"{attempt.account}: {_attempt_answer(attempt)}",
        max(0.0, attempt.opened_at.timestamp() - start),
        _attempt_seconds(attempt, now),
        _ATTEMPT_TONES[AttemptState(attempt.state)],
        goes_on=attempt.state == AttemptState.OPEN,
    )


_LEFT_THE_WORKER = frozenset({EventName.RETRY, EventName.POSTPONED, EventName.RELEASED, EventName.REPROCESS})
_ATTEMPT_TONES = {
    AttemptState.OPEN: "active",
    AttemptState.ACCEPTED: "ok",
    AttemptState.REFUSED: "bad",
    AttemptState.UNKNOWN: "unknown",
}


def _attempt_answer(attempt: Attempt) -> str:
    if attempt.state == AttemptState.OPEN:
        return "no answer yet"
    if attempt.status_code:
        return str(attempt.status_code)
    return attempt.reason_code or _STATE_WORDS[AttemptState(attempt.state)]


# The timeline


def entries(mail: Mail, events: Sequence[Event], now: dt.datetime, obstacles: Obstacles = NO_OBSTACLES) -> list[Entry]:
    """One entry an event, in their order, and a last one for what is under way. `events` starts with the first."""
    start = _start(mail, events)
    told: list[Entry] = []
    round_before: float | None = None
    for event in events:
        blob = Blob(event.blob)
        entry = replace(
            tell(mail, event, blob),
            id=event.id,
            event=clean(event.event),
            at=dt.datetime.fromtimestamp(event.created_at / 1e9, tz=dt.UTC),
            offset=_offset(event, start),
            by=clean(event.created_by),
            blob=blob.pretty(),
        )
        round_now = blob.number("round") if event.event in _ROUND_BEGINS else None
        if round_now is not None and round_now != round_before:
            entry = replace(entry, new_round=f"Round {round_now:.0f}")
            round_before = round_now
        told.append(entry)
    under_way = _under_way(mail, events, now, obstacles)
    return [*told, under_way] if under_way else told


_ROUND_BEGINS = frozenset({EventName.DEQUEUE, EventName.READY_TO_SEND})


def _start(mail: Mail, events: Sequence[Event]) -> float:
    """When the mail came in, as seconds since 1970."""
    return min(mail.created_at.timestamp(), events[0].created_at / 1e9) if events else mail.created_at.timestamp()


def _offset(event: Event, start: float) -> float:
    return max(0.0, event.created_at / 1e9 - start)


def _under_way(mail: Mail, events: Sequence[Event], now: dt.datetime, obstacles: Obstacles) -> Entry | None:
    """What the mail waits for, or None at the end of its life."""
    match mail.status:
        case Status.QUEUED:
            return Entry(_awaited(obstacles), parts=(_awaited_why(mail, obstacles),), icon="clock")
        case Status.SENDING:
            return _answer_awaited(mail, events, now)
        case Status.WAITING:
            at, left = mail.next_attempt_at, _due_in(mail, now)
            parts = ("In ", Passing.of(-left)) if at and left is not None else ()
            return Entry(_next_try(mail), parts=parts, tone="waiting", icon="clock")
        case Status.HELD:
            return Entry(
                "Waiting for evidence" if mail.reason_code == HoldReason.UNKNOWN else "Waiting for an operator",
                parts=("It is not tried elsewhere until a person or the provider says what happened.",)
                if mail.reason_code == HoldReason.UNKNOWN
                else ("It stays here until somebody releases it.",),
                tone="unknown",
                icon="clock",
            )
        case _:
            return None


def _awaited(obstacles: Obstacles) -> str:
    if obstacles.sending_pause:
        return "Waiting until sending is resumed"
    if obstacles.queue_pause:
        return "Waiting until the queue is resumed"
    return "Waiting for an account" if obstacles.accounts else "Waiting for a worker"


def _awaited_why(mail: Mail, obstacles: Obstacles) -> str:
    if obstacles.sending_pause or obstacles.queue_pause or not obstacles.sentences:
        return f"Queue {mail.lane}"
    return " ".join(obstacles.sentences)


def _answer_awaited(mail: Mail, events: Sequence[Event], now: dt.datetime) -> Entry:
    sends = [event for event in events if event.event == EventName.SEND]
    parts: list[str] = []
    if sends:
        waited = max(0.0, now.timestamp() - sends[-1].created_at / 1e9)
        parts.append(Passing.of(waited))
        limit = Blob(sends[-1].blob).number("deadline_s")
        final = Blob(sends[-1].blob).number("final_reply_s")
        if limit is not None and final is not None and waited > limit:
            limit += final  # it waits for the reply to the final dot, which has a time of its own
        parts += [f" of {durations.words(limit)}"] if limit is not None else []
    provider = clean(mail.provider) or "the provider"
    return Entry(f"Waiting for {provider} to answer", parts=tuple(parts), tone="active", icon="clock")


def _due_in(mail: Mail, now: dt.datetime) -> float | None:
    """Seconds until the next round of a mail that waits for one."""
    if mail.status != Status.WAITING or mail.next_attempt_at is None:
        return None
    return max(0.0, (mail.next_attempt_at - now).total_seconds())


def rounds(told: Sequence[Entry]) -> list[Round]:
    """The steps in rounds; all rounds but the last are folded, so that a mail that was tried often stays readable."""
    found: list[Round] = []
    for entry in told:
        if entry.new_round or not found:
            found.append(Round([]))
        found[-1].entries.append(entry)
    return [replace(one, folded=bool(one.entries[0].new_round)) for one in found[:-1]] + found[-1:]


_ENDS = frozenset(
    {EventName.FAILURE, EventName.UNKNOWN, EventName.POSTPONED, EventName.DISCARDED, EventName.HELD, EventName.EXPIRED}
)
