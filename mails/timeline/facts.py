"""The five figures of an email, and where its time went."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from mails.models import Attempt, Event, Mail
from mails.states import FINAL, AttemptState, EventName, Status
from mails.timeline.entry import RunningDuration
from mails.timeline.event_payload import EventPayload
from mails.timeline.summary import choose_badge
from mercury.lib import durations
from mercury.lib.durations import format_age, format_clock, format_moment

SPANS_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure with its name and a note below it. `at` is set where the figure is a point in time."""

    label: str
    value: str
    note: str = ""
    at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """The usual durations: medians of its queue over the last hour, in seconds; None where there are none."""

    wait: float | None = None  # from submission to the first request
    acceptance: float | None = None  # from submission to a provider's acceptance


UNKNOWN_USUAL = Usual()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A period in an email's life, in seconds since submission."""

    label: str
    start: float
    length: float
    tone: str
    goes_on: bool = False

    @property
    def words(self) -> str:
        """Its length for people."""
        return durations.format_duration(self.length)


def list_facts(
    mail: Mail,
    events: Sequence[Event],
    attempts: Sequence[Attempt],
    now: dt.datetime,
    *,
    usual: Usual = UNKNOWN_USUAL,
) -> list[Fact]:
    """Return five figures: submission, queue time, provider time, attempts, and the total or elapsed time."""
    provider_time = sum(_measure_attempt(attempt, now) for attempt in attempts)
    is_waiting = mail.status == Status.QUEUED and not mail.attempt_count and not mail.is_scheduled(now)
    is_calling = any(attempt.state == AttemptState.OPEN for attempt in attempts)
    median = f", median {durations.format_duration(usual.wait)}" if usual.wait is not None else ""
    return [
        Fact(
            label="Received" if mail.status == Status.REJECTED else "Accepted",
            value=format_age((now - mail.created_at).total_seconds()),
            note=format_clock(mail.created_at),
            at=mail.created_at,
        ),
        Fact(
            label="Queue time",
            value=_format_duration(_measure_queue_time(mail, events, now), goes_on=is_waiting),
            note=f"queue {mail.queue}{median}",
        ),
        Fact(
            label="Provider time",
            value=_format_duration(provider_time, goes_on=is_calling),
            note=_note_attempts(mail, attempts),
        ),
        Fact(label="Attempts", value=str(len(attempts)), note=f"round {mail.round}"),
        _choose_total(mail, events, now, usual),
    ]


def _format_duration(seconds: float, *, goes_on: bool) -> str:
    return RunningDuration.from_seconds(seconds) if goes_on else durations.format_duration(seconds)


def _choose_total(mail: Mail, events: Sequence[Event], now: dt.datetime, usual: Usual) -> Fact:
    seconds = max(0.0, ((mail.finished_at or now) - mail.wanted_at).total_seconds())
    words = durations.format_duration(seconds)
    match mail.status:
        case Status.QUEUED if mail.is_scheduled(now):
            return Fact(
                label="Sent in",
                value=durations.format_duration((mail.wanted_at - now).total_seconds()),
                note=format_moment(mail.wanted_at, now),
            )
        case Status.DONE:
            median = (
                f"queue median {durations.format_duration(usual.acceptance)}" if usual.acceptance is not None else ""
            )
            return Fact(label="Time to send", value=words, note=median)
        case Status.REJECTED:
            return Fact(label="Response time", value=words)
        case Status.DISCARDED | Status.EXPIRED | Status.CANCELLED:
            return Fact(label="Total time", value=words, note=choose_badge(mail).word.lower())
        case Status.HELD:
            holds = [event.created_at / 1e9 for event in events if event.event == EventName.HELD]
            held_for = now.timestamp() - holds[-1] if holds else seconds
            return Fact(
                label="On hold for",
                value=RunningDuration.from_seconds(max(0.0, held_for)),
                note=f"{words} since submission",
            )
        case _:
            return Fact(label="Elapsed", value=RunningDuration.from_seconds(seconds))


def _note_attempts(mail: Mail, attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return "no request" if mail.status in FINAL else "no request yet"
    if len(attempts) == 1 and attempts[0].state == AttemptState.ACCEPTED:
        return attempts[0].account
    words = []
    for attempt in attempts[-3:]:
        latency = f"{durations.format_duration(attempt.latency_ms / 1000)} " if attempt.latency_ms is not None else ""
        outcome = "" if attempt.state == AttemptState.ACCEPTED else _OUTCOME_WORDS[AttemptState(attempt.state)]
        words.append(f"{latency}{outcome}".strip())
    return ("… + " if len(attempts) > 3 else "") + " + ".join(words)


_OUTCOME_WORDS = {
    AttemptState.OPEN: "no reply yet",
    AttemptState.ACCEPTED: "accepted",
    AttemptState.REFUSED: "refused",
    AttemptState.UNKNOWN: "unknown",
}


def _measure_queue_time(mail: Mail, events: Sequence[Event], now: dt.datetime) -> float:
    claims = [EventPayload(raw=event.blob) for event in events if event.event == EventName.DEQUEUE]
    waits = [claim.get_number("waited_ms") or 0.0 for claim in claims]
    if waits or mail.status in FINAL or mail.attempt_count:
        return max(0.0, sum(waits) / 1000)
    return max(0.0, (now - mail.wanted_at).total_seconds())


def _measure_attempt(attempt: Attempt, now: dt.datetime) -> float:
    if attempt.latency_ms is not None:
        return attempt.latency_ms / 1000
    return max(0.0, ((attempt.closed_at or now) - attempt.opened_at).total_seconds())


def list_spans(mail: Mail, events: Sequence[Event], attempts: Sequence[Attempt], now: dt.datetime) -> list[Span]:
    """Return where the time went: storing, waiting in the queue, and each request."""
    start = find_start(mail, events)
    spans: list[Span] = []
    stored: float | None = None
    waited_from = 0.0
    wanted = mail.wanted_at.timestamp() - start
    for event in events:
        offset = measure_offset(event, start)
        if event.event == EventName.ACCEPTED and stored is None:
            stored = waited_from = offset
            spans.append(Span(label="Validate and store", start=0.0, length=offset, tone="neutral"))
        elif event.event == EventName.DEQUEUE:
            if waited_from < wanted <= offset:
                spans.append(Span(label="Scheduled", start=waited_from, length=wanted - waited_from, tone="neutral"))
                waited_from = wanted
            spans.append(
                Span(
                    label=f"Queue ({mail.queue})",
                    start=waited_from,
                    length=max(0.0, offset - waited_from),
                    tone="waiting",
                )
            )
        elif event.event in _BACK_IN_THE_QUEUE:
            waited_from = offset
    spans += [_make_attempt_span(attempt, start, now) for attempt in attempts]
    if mail.status in (Status.QUEUED, Status.WAITING) and events:
        length = max(0.0, now.timestamp() - start - waited_from)
        label, tone = ("Scheduled", "neutral") if mail.is_scheduled(now) else ("Waiting now", "waiting")
        spans.append(Span(label=label, start=waited_from, length=length, tone=tone, goes_on=True))
    return sorted(spans, key=lambda span: span.start)[:SPANS_SHOWN]


def find_start(mail: Mail, events: Sequence[Event]) -> float:
    """Return when the email was submitted, in seconds since 1970."""
    return min(mail.created_at.timestamp(), events[0].created_at / 1e9) if events else mail.created_at.timestamp()


def measure_offset(event: Event, start: float) -> float:
    """Return the seconds from `start` to the event."""
    return max(0.0, event.created_at / 1e9 - start)


def _make_attempt_span(attempt: Attempt, start: float, now: dt.datetime) -> Span:
    return Span(
        label=f"{attempt.account}: {_describe_outcome(attempt)}",
        start=max(0.0, attempt.opened_at.timestamp() - start),
        length=_measure_attempt(attempt, now),
        tone=_ATTEMPT_TONES[AttemptState(attempt.state)],
        goes_on=attempt.state == AttemptState.OPEN,
    )


def _describe_outcome(attempt: Attempt) -> str:
    if attempt.state == AttemptState.OPEN:
        return _OUTCOME_WORDS[AttemptState.OPEN]
    if attempt.status_code:
        return str(attempt.status_code)
    return attempt.reason_code or _OUTCOME_WORDS[AttemptState(attempt.state)]


_BACK_IN_THE_QUEUE = frozenset(
    {EventName.RETRY, EventName.POSTPONED, EventName.RELEASED, EventName.RESCHEDULED, EventName.REPROCESS}
)
_ATTEMPT_TONES = {
    AttemptState.OPEN: "active",
    AttemptState.ACCEPTED: "ok",
    AttemptState.REFUSED: "bad",
    AttemptState.UNKNOWN: "unknown",
}
