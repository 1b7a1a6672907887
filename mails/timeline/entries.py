"""The steps of a timeline in their order, and the one still in progress."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mails.models import Event, Mail
from mails.obstacles import NO_OBSTACLES, Obstacles
from mails.states import EventName, HoldReason, Status
from mails.timeline.entry import Entry, RunningDuration
from mails.timeline.event_payload import EventPayload
from mails.timeline.event_text import describe_event
from mails.timeline.facts import find_start, measure_offset
from mails.timeline.summary import describe_next_attempt, describe_schedule
from mercury.lib import durations
from mercury.lib.durations import format_moment
from mercury.lib.mail.printable import replace_unprintable


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Steps that belong together: those before the first retry round, or one round. All but the last fold."""

    entries: list[Entry]
    folded: bool = False

    @property
    def title(self) -> str:
        """Its name and result: `Round 1 · 11 events · Refused by olympus · Refused by hades`."""
        ends = [entry.title for entry in self.entries if entry.event in _ENDS]
        return " · ".join(
            [self.entries[0].new_round, f"{len(self.entries)} events", *ends[:4], *["…"][: len(ends) > 4]]
        )


def list_entries(
    mail: Mail, events: Sequence[Event], now: dt.datetime, obstacles: Obstacles = NO_OBSTACLES
) -> list[Entry]:
    """Return one entry an event, and a last one for what is in progress. `events` begin with the email's first."""
    start = find_start(mail, events)
    entries: list[Entry] = []
    last_round: float | None = None
    for event in events:
        payload = EventPayload(raw=event.blob)
        entry = _complete_entry(describe_event(mail, event, payload), event, payload, start)
        number = payload.get_number("round") if event.event in _ROUND_BEGINS else None
        if number is not None and number != last_round:
            entry = replace(entry, new_round=f"Round {number:.0f}")
            last_round = number
        entries.append(entry)
    current = _describe_current_step(mail, events, now, obstacles)
    return [*entries, current] if current else entries


def _complete_entry(entry: Entry, event: Event, payload: EventPayload, start: float) -> Entry:
    return replace(
        entry,
        id=event.id,
        event=replace_unprintable(event.event),
        at=dt.datetime.fromtimestamp(event.created_at / 1e9, tz=dt.UTC),
        offset=measure_offset(event, start),
        by=replace_unprintable(event.created_by),
        blob=payload.format(),
    )


def group_by_round(entries: Sequence[Entry]) -> list[Round]:
    """Return the steps by round; all rounds but the last are folded, so that an email with many attempts stays readable."""
    rounds: list[Round] = []
    for entry in entries:
        if entry.new_round or not rounds:
            rounds.append(Round(entries=[]))
        rounds[-1].entries.append(entry)
    earlier = [replace(round_, folded=bool(round_.entries[0].new_round)) for round_ in rounds[:-1]]
    return [*earlier, *rounds[-1:]]


def measure_wait(mail: Mail, now: dt.datetime) -> float | None:
    """Return the seconds until the next attempt of an email that waits for one, or is scheduled; None for any other."""
    if mail.next_attempt_at is None or not (mail.status == Status.WAITING or mail.is_scheduled(now)):
        return None
    return max(0.0, (mail.next_attempt_at - now).total_seconds())


def _describe_current_step(mail: Mail, events: Sequence[Event], now: dt.datetime, obstacles: Obstacles) -> Entry | None:
    """Return what the email waits for; None if nothing more happens to it."""
    match mail.status:
        case Status.QUEUED if mail.is_scheduled(now):
            length = RunningDuration.from_seconds(-(measure_wait(mail, now) or 0.0))
            return Entry(title=describe_schedule(mail, now), parts=("In ", length), icon="clock")
        case Status.QUEUED:
            return Entry(
                title=_choose_obstacle_title(mail, obstacles),
                parts=(_describe_obstacle(mail, obstacles),),
                icon="clock",
            )
        case Status.SENDING:
            return _describe_request_in_progress(mail, events, now)
        case Status.WAITING:
            wait = measure_wait(mail, now)
            parts = ("In ", RunningDuration.from_seconds(-wait)) if wait is not None else ()
            return Entry(title=describe_next_attempt(mail, now), parts=parts, tone="waiting", icon="clock")
        case Status.HELD if mail.reason_code == HoldReason.UNKNOWN:
            sentence = "It will not be retried until someone confirms what happened."
            return Entry(title="Waiting for confirmation", parts=(sentence,), tone="unknown", icon="clock")
        case Status.HELD:
            sentence = f"On hold until released, or until it expires at {format_moment(mail.expires_at, now)}."
            return Entry(title="Waiting for an operator", parts=(sentence,), tone="unknown", icon="clock")
        case _:
            return None


def _choose_obstacle_title(mail: Mail, obstacles: Obstacles) -> str:
    if obstacles.sending_pause:
        return "Waiting: sending is paused"
    if obstacles.queue_pause:
        return f"Waiting: queue {mail.queue} is paused"
    return "Waiting for an account" if obstacles.accounts else "Waiting for a worker"


def _describe_obstacle(mail: Mail, obstacles: Obstacles) -> str:
    if obstacles.sending_pause or obstacles.queue_pause or not obstacles.sentences:
        return f"Queue {mail.queue}"
    return " ".join(obstacles.sentences)


def _describe_request_in_progress(mail: Mail, events: Sequence[Event], now: dt.datetime) -> Entry:
    sends = [event for event in events if event.event == EventName.SEND]
    parts: list[str] = []
    if sends:
        waited = max(0.0, now.timestamp() - sends[-1].created_at / 1e9)
        parts.append(RunningDuration.from_seconds(waited))
        payload = EventPayload(raw=sends[-1].blob)
        limit, final = payload.get_number("deadline_s"), payload.get_number("final_reply_s")
        if limit is not None and final is not None and waited > limit:
            limit += final  # it waits for the reply to the final dot, which has a timeout of its own
        parts += [f" of {durations.format_duration(limit)}"] if limit is not None else []
    provider = replace_unprintable(mail.provider) or "the provider"
    return Entry(title=f"Waiting for {provider} to reply", parts=tuple(parts), tone="active", icon="clock")


_ROUND_BEGINS = frozenset({EventName.DEQUEUE, EventName.READY_TO_SEND})
_ENDS = frozenset(
    {EventName.FAILURE, EventName.UNKNOWN, EventName.POSTPONED, EventName.DISCARDED, EventName.HELD, EventName.EXPIRED}
)
