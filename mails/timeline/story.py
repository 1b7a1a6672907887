"""All that a page or a command shows of one email, read from the database."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models.functions import Left

from mails.models import Attempt, Event, Mail, Recipient
from mails.obstacles import Obstacles, find_obstacles
from mails.states import FINAL
from mails.timeline.advice import Advice, advise
from mails.timeline.entries import Round, group_by_round, list_entries, measure_wait
from mails.timeline.entry import Entry
from mails.timeline.facts import UNKNOWN_USUAL, Fact, Span, Usual, list_facts, list_spans
from mails.timeline.summary import Badge, choose_badge, summarize

EVENTS_SHOWN = 200  # a page shows the first event and the last 200, unless asked for all
EVENTS_AT_MOST = 5000
BLOB_READ = 16_384  # characters; Mercury's own blobs are shorter, a client's may be longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that a page or a command shows of one email."""

    mail: Mail
    badge: Badge
    summary: str
    facts: list[Fact]
    spans: list[Span]
    entries: list[Entry]
    recipients: list[Recipient]
    attempts: list[Attempt]
    cursor: int  # id of the last event shown
    event_count: int  # events shown
    has_older_events: bool  # older events exist that are not shown
    due_in: float | None  # seconds until the next attempt, where one is due
    obstacles: Obstacles  # what blocks the email while it is in progress
    advice: Advice | None = None  # why it was not sent, and what to do

    @property
    def is_final(self) -> bool:
        """True if nothing more is expected to happen."""
        return self.mail.status in FINAL

    @property
    def rounds(self) -> list[Round]:
        """The entries by round."""
        return group_by_round(self.entries)


def read_story(mail: Mail, now: dt.datetime, *, everything: bool = False, usual: Usual = UNKNOWN_USUAL) -> Story:
    """Read the rows of `mail` (eight queries, each by an index) and describe it; `usual` is what it is compared with.

    Shows the first event and the last EVENTS_SHOWN; with `everything` up to EVENTS_AT_MOST.
    """
    events, has_older_events = _read_events(mail, EVENTS_AT_MOST if everything else EVENTS_SHOWN)
    attempts = list(Attempt.objects.filter(mail=mail).order_by("number"))
    obstacles = find_obstacles(mail)
    recipients = list(Recipient.objects.filter(mail=mail).order_by("id"))
    return Story(
        mail=mail,
        badge=choose_badge(mail),
        summary=summarize(mail, now, obstacles),
        facts=list_facts(mail, events, attempts, now, usual=usual),
        spans=list_spans(mail, events, attempts, now),
        entries=list_entries(mail, events, now, obstacles),
        recipients=recipients,
        attempts=attempts,
        cursor=events[-1].id if events else 0,
        event_count=len(events),
        has_older_events=has_older_events,
        due_in=measure_wait(mail, now),
        obstacles=obstacles,
        advice=advise(mail, events, attempts, recipients),
    )


def _read_events(mail: Mail, limit: int) -> tuple[list[Event], bool]:
    """Return the first event and the last `limit`, and whether there are others."""
    events_of_mail = Event.objects.of(mail.pk).defer("blob").annotate(beginning=Left("blob", BLOB_READ))
    newest = list(events_of_mail.order_by("-id")[: limit + 1])
    has_older_events = len(newest) > limit
    events = newest[::-1]
    if has_older_events:
        events = [*events_of_mail.order_by("id")[:1], *events[1:]]
    for event in events:
        event.blob = event.beginning  # type: ignore[attr-defined]
    return events, has_older_events


def has_news(mail: Mail, *, after: int, status: str, obstacles: str) -> bool:
    """Return True if `mail` changed since its event `after`, its state and the mark of its `obstacles` were shown."""
    if status != mail.status or Event.objects.of(mail.pk).filter(id__gt=after).exists():
        return True
    return obstacles != find_obstacles(mail).mark
