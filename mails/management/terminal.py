"""How a mail and its timeline look in a terminal, and what --json says of them. Shared by the commands."""

import datetime as dt
import json
from collections.abc import Collection

from django.conf import settings
from django.urls import reverse

from mails import house, pauses, timeline
from mails.lanes import Lane
from mails.models import Event, Mail
from mails.sentences import Entry
from mercury.lib import durations
from mercury.lib.commands import Output


def mail_url(mail: Mail) -> str:
    """The mail's page; without its host where MERCURY_BASE_URL does not name one."""
    return str(settings.MERCURY_BASE_URL) + reverse("mail", args=[mail.pk])


def place(path: str) -> str:
    """A page as people are told of it: its address, or its path where MERCURY_BASE_URL names no host."""
    base = str(settings.MERCURY_BASE_URL)
    return base + path if base else f"{path} of your Mercury"


def mail_page(mail: Mail) -> str:
    """The mail's page as people are told of it."""
    return place(reverse("mail", args=[mail.pk]))


def show_hold(out: Output, *, lanes: Collection[str] = Lane.values) -> bool:
    """A warning line while all sending is paused, and one for each of the lanes that is paused; whether there was one."""
    hold = house.hold()
    if hold is not None:
        since = f"since {hold.held_at:%Y-%m-%d %H:%M} UTC by {hold.who}"
        out.say(f"Sending is paused {since}: nothing is sent until manage.py release --all.", tone="waiting")
    paused = {lane: pause for lane, pause in pauses.standing().items() if lane in lanes}
    for lane, pause in paused.items():
        since = f"since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}"
        out.say(f"Queue {lane} is paused {since}: its emails wait for manage.py lanes resume {lane}.", tone="waiting")
    return hold is not None or bool(paused)


def mail_as_json(mail: Mail) -> dict[str, object]:
    """What a program is told of a mail; durations in seconds."""
    took = (mail.finished_at - mail.created_at).total_seconds() if mail.finished_at else None
    return {
        "id": str(mail.pk),
        "url": mail_url(mail),
        "sender": mail.sender,
        "recipient": mail.recipient,
        "subject": mail.subject,
        "status": mail.status,
        "reason_code": mail.reason_code,
        "fault": mail.fault,
        "provider": mail.provider,
        "lane": mail.lane,
        "policy": mail.policy,
        "round": mail.round,
        "attempts": mail.attempt_count,
        "possibly_twice": mail.doubtful,
        "wish": json.loads(mail.wish)["action"] if mail.wish else None,
        "created": mail.created_at,
        "finished": mail.finished_at,
        "text_removed": mail.text_removed_at,
        "next_attempt": mail.next_attempt_at,
        "took": took,
    }


def mail_as_row(mail: Mail, now: dt.datetime) -> dict[str, object]:
    """The same, plus what the table shows of it in words."""
    badge = timeline.badge(mail)
    took = mail.finished_at and durations.words((mail.finished_at - mail.created_at).total_seconds())
    return {
        **mail_as_json(mail),
        "badge": badge.word,
        "age": durations.words((now - mail.created_at).total_seconds()),
        "took_words": took or "",
    }


def event_as_json(event: Event) -> dict[str, object]:
    """What a program is told of an event; the API says the same."""
    return {
        "id": event.pk,
        "mail_id": str(event.mail_id),
        "created_at": event.created_at,
        "created_by": event.created_by,
        "event": event.event,
        "blob": event.blob,
    }


def show_story(out: Output, story: timeline.Story, *, reasons: bool = False) -> None:
    """A mail: where it stands, its figures, and its timeline."""
    mail = story.mail
    out.say(f"{story.badge.word}. {story.verdict}", tone=story.badge.tone)
    if story.advice:
        for fault in story.advice.faults:
            out.say(f"  {fault}")
        out.say(f"  → {story.advice.next_step}")
    out.say()
    out.say(f"  From     {mail.sender}")
    out.say(f"  To       {mail.recipient}")
    out.say(f"  Subject  {mail.subject}")
    out.say(f"  Page     {mail_page(mail)}")
    if mail.text_removed_at:
        out.say(f"  Text     removed on {mail.text_removed_at:%Y-%m-%d %H:%M} UTC by retention")
    out.say()
    if story.left_out:
        out.say("  (older events are left out; --events shows them all)")
    for entry in story.entries:
        show_entry(out, entry, reasons=reasons)


def show_entry(out: Output, entry: Entry, *, reasons: bool = False) -> None:
    """One step of a timeline: when, its name in the API, and what happened; with `reasons`, who was considered."""
    if entry.new_round:
        out.say(f"{'':>10}  {entry.new_round}")
    when = entry.offset_words if entry.under_way else f"+{entry.offset_words}"
    sentence = f": {entry.sentence}" if entry.sentence else ""
    out.say(f"{when:>10}  {entry.event or '…':<14} {entry.title}{sentence}", tone=entry.tone)
    for account in entry.considered if reasons else ():
        mark = "→" if account.chosen else "·"
        out.say(f"{'':>27}{mark} {account.account}, weight {account.weight}: {account.note}")
