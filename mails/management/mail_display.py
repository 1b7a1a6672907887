"""Show an email and its timeline in a terminal, or as JSON. Shared by the commands."""

import datetime as dt
import json
from collections.abc import Collection, Sequence

from django.conf import settings
from django.urls import reverse

from mails import pauses
from mails.files import links
from mails.message.message import Message
from mails.models import DownloadLink, Event, Mail, MailFile
from mails.queues import QueueName
from mails.states import RecipientKind
from mails.timeline.entry import Entry
from mails.timeline.story import Story
from mails.timeline.summary import choose_badge, introduce
from mercury.lib import durations
from mercury.lib.commands import Output
from mercury.lib.database import database_clock

MailFiles = Sequence[MailFile | DownloadLink]


def build_mail_url(mail: Mail) -> str:
    """Return the URL of the email's page; only its path if MERCURY_BASE_URL is not set."""
    return build_page_url(reverse("mail", args=[mail.pk]))


def build_page_url(path: str) -> str:
    """Return the URL of a page; only its path if MERCURY_BASE_URL is not set."""
    return str(settings.MERCURY_BASE_URL) + path


def show_pauses(out: Output, *, queues: Collection[str] = QueueName.values) -> bool:
    """Print a warning line for each active pause, of all sending and of these queues; return True if there is one."""
    active = pauses.load_active()
    paused = {queue: pause for queue, pause in active.queues.items() if queue in queues}
    if active.all_sending:
        since = pauses.describe_start(active.all_sending)
        out.say(f"Sending is paused {since}: nothing is sent until manage.py resume --all.", tone="waiting")
    for queue, pause in paused.items():
        since = pauses.describe_start(pause)
        out.say(
            f"Queue {queue} is paused {since}: its emails wait for manage.py resume --queue {queue}.", tone="waiting"
        )
    return active.all_sending is not None or bool(paused)


def serialize_mail(mail: Mail) -> dict[str, object]:
    """Return an email as JSON; durations in seconds."""
    took = (mail.finished_at - mail.created_at).total_seconds() if mail.finished_at else None
    return {
        "id": str(mail.pk),
        "url": build_mail_url(mail),
        "sender": mail.sender,
        "recipient": mail.recipient,
        "subject": mail.subject,
        "status": mail.status,
        "reason_code": mail.reason_code,
        "failure_class": mail.failure_class,
        "provider": mail.provider,
        "queue": mail.queue,
        "delivery_guarantee": mail.delivery_guarantee,
        "round": mail.round,
        "attempts": mail.attempt_count,
        "possible_duplicate": mail.possible_duplicate,
        "pending_action": json.loads(mail.pending_action)["action"] if mail.pending_action else None,
        "created": mail.created_at,
        "finished": mail.finished_at,
        "body_removed": mail.text_removed_at,
        "send_at": mail.send_at,
        "next_attempt": mail.next_attempt_at,
        "expires": mail.expires_at,
        "took": took,
    }


def build_mail_row(mail: Mail, now: dt.datetime) -> dict[str, object]:
    """Return an email as a row: its JSON and the words that the table shows."""
    badge = choose_badge(mail)
    took = mail.finished_at and durations.format_duration((mail.finished_at - mail.created_at).total_seconds())
    return {
        **serialize_mail(mail),
        "badge": badge.word,
        "age": durations.format_duration((now - mail.created_at).total_seconds()),
        "took_words": took or "",
    }


def serialize_event(event: Event) -> dict[str, object]:
    """Return an event as JSON, as the API does."""
    return {
        "id": event.pk,
        "mail_id": str(event.mail_id),
        "created_at": event.created_at,
        "created_by": event.created_by,
        "event": event.event,
        "blob": event.blob,
    }


def serialize_message(message: Message, files: MailFiles) -> dict[str, object]:
    """Return what else an email says of itself, as JSON: people, tags and files."""
    named = {kind.value: [to.shown for to in message.recipients if to.kind == kind] for kind in RecipientKind}
    return {
        **named,
        "reply_to": [mailbox.shown for mailbox in message.reply_to],
        "tags": list(message.tags),
        "files": [
            {
                "filename": file.filename,
                "content_type": file.content_type,
                "size": file.size,
                "sha256": file.content_id,
                "link": str(file.pk) if isinstance(file, DownloadLink) else None,
            }
            for file in files
        ],
    }


def show_story(out: Output, story: Story, message: Message, files: MailFiles, *, reasons: bool = False) -> None:
    """Show an email: its status, its fields and its timeline."""
    mail = story.mail
    out.say(introduce(story.badge, story.summary), tone=story.badge.tone)
    if story.advice:
        for error in story.advice.errors:
            out.say(f"  {error}")
        out.say(f"  → {story.advice.next_step}")
    out.say()
    out.say(f"  From     {mail.sender}")
    _show_fields(out, mail, message, files)
    if mail.copy_of:
        out.say(f"  Copy of  {mail.copy_of}")
    if mail.text_removed_at:
        out.say(f"  Body     deleted on {mail.text_removed_at:%Y-%m-%d %H:%M} UTC by retention")
    out.say()
    if story.has_older_events:
        out.say("  (older events are hidden; show all with --events)")
    for entry in story.entries:
        show_entry(out, entry, reasons=reasons)


def _show_fields(out: Output, mail: Mail, message: Message, files: MailFiles) -> None:
    for kind in RecipientKind:
        if named := ", ".join(to.shown for to in message.recipients if to.kind == kind):
            out.say(f"  {kind.label:<8} {named}")
    if message.reply_to:
        out.say(f"  Reply-To {', '.join(mailbox.shown for mailbox in message.reply_to)}")
    out.say(f"  Subject  {mail.subject}")
    if message.tags:
        out.say(f"  Tags     {', '.join(message.tags)}")
    for file in files:
        out.say(f"  File     {_describe_file(file)}")
    out.say(f"  Page     {build_mail_url(mail)}")


def _describe_file(file: MailFile | DownloadLink) -> str:
    size = durations.format_size(file.size)
    if isinstance(file, DownloadLink):
        how = f"download link {file.pk}, {links.get_state(file, database_clock.now()).value}"
    else:
        how = f"inline as cid:{file.cid}" if file.cid else "attached"
    return f"{file.filename}, {size}, {how}" + ("" if file.content_id else ", deleted")


def show_entry(out: Output, entry: Entry, *, reasons: bool = False) -> None:
    """Show one step of a timeline: time, event name and what happened; with `reasons`, the evaluated accounts."""
    if entry.new_round:
        out.say(f"{'':>10}  {entry.new_round}")
    when = entry.offset_words if entry.under_way else f"+{entry.offset_words}"
    sentence = f": {entry.sentence}" if entry.sentence else ""
    out.say(f"{when:>10}  {entry.event or '…':<14} {entry.title}{sentence}", tone=entry.tone)
    for account in entry.evaluated if reasons else ():
        mark = "→" if account.selected else "·"
        priority = f", priority {account.priority}" if account.priority else ""
        out.say(f"{'':>27}{mark} {account.account}, weight {account.weight}{priority}: {account.note}")
