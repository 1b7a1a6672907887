"""Summary of an email: its badge, and one sentence that says its state and why."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from django.utils import timezone

from mails.models import Mail
from mails.obstacles import NO_OBSTACLES, Obstacles
from mails.states import ALL_SUPPRESSED, DUE, DUPLICATE, LEASED, SUPPRESSED, Action, HoldReason, Status
from mails.timeline.action_text import HELD_WORDS
from mails.timeline.event_payload import EventPayload
from mails.timeline.reply_text import describe_reason
from mercury.lib import durations
from mercury.lib.durations import format_moment
from mercury.lib.mail.printable import replace_unprintable


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A state as an icon and a word; `help` is its meaning in one sentence."""

    word: str
    tone: str
    icon: str
    help: str


def choose_badge(mail: Mail, now: dt.datetime | None = None) -> Badge:
    """Return the badge of the email's state; a queued one is scheduled as long as its time is after `now`."""
    if mail.is_scheduled(now or timezone.now()):
        badge = Badge(
            word="Scheduled", tone="neutral", icon="clock", help="Stored; it is sent at the time that was asked for."
        )
    else:
        badge = _choose_plain_badge(mail)
    if not _may_have_arrived(mail):
        return badge
    return replace(badge, help=f"{badge.help} The outcome of an earlier attempt is unknown: it may have arrived.")


def _choose_plain_badge(mail: Mail) -> Badge:
    match mail.status:
        case Status.QUEUED:
            return Badge(word="Queued", tone="neutral", icon="clock", help="Stored, waiting to be sent.")
        case Status.SENDING:
            return Badge(
                word="Sending", tone="active", icon="plane", help="A worker is sending it; no provider has replied yet."
            )
        case Status.WAITING:
            return Badge(
                word="Waiting to retry",
                tone="waiting",
                icon="again",
                help="No account accepted it yet. It is retried until it expires.",
            )
        case Status.HELD:
            return _choose_held_badge(mail.reason_code)
        case Status.DONE:
            return _choose_sent_badge(mail)
        case Status.DISCARDED if mail.reason_code == SUPPRESSED:
            return Badge(word="Discarded", tone="bad", icon="ban", help=ALL_SUPPRESSED)
        case Status.DISCARDED:
            return Badge(word="Discarded", tone="bad", icon="cross", help="No account accepted it.")
        case Status.EXPIRED:
            return Badge(word="Expired", tone="neutral", icon="cross", help="Expired before any account accepted it.")
        case Status.CANCELLED:
            return Badge(
                word="Cancelled", tone="neutral", icon="cross", help="Cancelled by a person or through the API."
            )
        case _:
            return Badge(word="Rejected", tone="bad", icon="ban", help="It failed validation and was never queued.")


def _choose_held_badge(reason: str) -> Badge:
    word = {
        HoldReason.UNKNOWN.value: "Outcome unknown",
        HoldReason.POISON.value: "Quarantined",
        HoldReason.FILE_MISSING.value: "File missing",
    }.get(reason, "Held")
    meaning = HELD_WORDS.get(reason, HELD_WORDS[HoldReason.OPERATOR.value])[1]
    return Badge(word=word, tone="unknown", icon="question", help=meaning)


def _choose_sent_badge(mail: Mail) -> Badge:
    if mail.reason_code == DUPLICATE:
        return Badge(
            word="Sent twice",
            tone="unknown",
            icon="question",
            help="Two providers accepted it, as a late response showed.",
        )
    if mail.possible_duplicate:
        help_text = "A provider accepted it. The outcome of an earlier attempt is unknown: it may have arrived twice."
        return Badge(word="Sent, possible duplicate", tone="ok", icon="tick", help=help_text)
    return Badge(word="Sent", tone="ok", icon="tick", help="A provider accepted it.")


def introduce(badge: Badge, summary: str) -> str:
    """Return the summary with the badge's word in front, unless it begins with that word."""
    return summary if summary.startswith(badge.word) else f"{badge.word}. {summary}"


def summarize(mail: Mail, now: dt.datetime, obstacles: Obstacles = NO_OBSTACLES) -> str:
    """Return the email's state and the reason, in one sentence; and one more for each thing that blocks it now."""
    in_progress = mail.status in {*DUE, *LEASED}
    sentences = [
        f"{_describe_state(mail, now, obstacles)}{_describe_doubt(mail)}",
        *(obstacles.sentences if in_progress else []),
    ]
    return " ".join(sentences)


def _describe_state(mail: Mail, now: dt.datetime, obstacles: Obstacles) -> str:
    provider = replace_unprintable(mail.provider)
    duration = durations.format_duration(max(0.0, ((mail.finished_at or now) - mail.created_at).total_seconds()))
    if mail.is_scheduled(now):
        return f"{describe_schedule(mail, now)}."
    reason = describe_reason(replace_unprintable(mail.reason_code))
    match mail.status:
        case Status.QUEUED:
            return "Stored." if obstacles.sentences else f"Stored; waiting for a worker in queue {mail.queue}."
        case Status.SENDING:
            return f"Sent to {provider or 'a provider'}, waiting for a reply.{_describe_pending_action(mail)}"
        case Status.WAITING:
            error = f" Last error: {reason}." if reason else ""
            return f"{describe_next_attempt(mail, now)}.{error}"
        case Status.HELD:
            return _choose_plain_badge(mail).help + (f" Last attempt: {provider}." if provider else "")
        case Status.DONE:
            return _describe_sent(mail, provider or "a provider")
        case Status.DISCARDED:
            gave_up = f"No account accepted it ({reason or 'no reason recorded'}). Gave up after {duration}."
            return ALL_SUPPRESSED if mail.reason_code == SUPPRESSED else gave_up
        case Status.EXPIRED:
            return f"Expired after {duration}: no account accepted it in time."
        case Status.CANCELLED:
            return f"Cancelled {duration} after submission."
        case _:
            return "Rejected: it failed validation and was never queued."


def _describe_sent(mail: Mail, provider: str) -> str:
    """Return who accepted it, and how long after it was to be sent."""
    age = max(0.0, ((mail.finished_at or mail.wanted_at) - mail.wanted_at).total_seconds())
    since = "its scheduled time" if mail.wanted_at > mail.created_at else "submission"
    return f"Accepted by {provider} {durations.format_duration(age)} after {since}."


def describe_schedule(mail: Mail, now: dt.datetime) -> str:
    """Return when a scheduled email is sent."""
    assert mail.send_at is not None  # noqa: S101 (it is scheduled)
    return f"Scheduled: to be sent at {format_moment(mail.send_at, now)}"


def describe_next_attempt(mail: Mail, now: dt.datetime) -> str:
    """Return when the next attempt begins, or when the email expires if that is earlier."""
    at = mail.next_attempt_at
    if at is None:
        return "Waiting to retry"
    if at >= mail.expires_at:
        return f"Waiting to retry, expires at {format_moment(at, now)}"
    return f"Waiting to retry, next attempt at {format_moment(at, now)}"


def _describe_pending_action(mail: Mail) -> str:
    provider = replace_unprintable(mail.provider) or "the provider"
    match EventPayload(raw=mail.pending_action).get_text("action"):
        case Action.CANCEL.value:
            return f" It will be cancelled unless {provider} accepts it."
        case Action.HOLD.value:
            return f" It will be held unless {provider} accepts it."
        case Action.SENT.value:
            return " An earlier attempt was accepted, so no other follows."
        case _:
            return ""


def _describe_doubt(mail: Mail) -> str:
    if mail.reason_code == DUPLICATE:
        return " Another account accepted it too: it was sent twice."
    if mail.possible_duplicate and mail.status == Status.DONE:
        return " Possible duplicate: an earlier attempt got no reply."
    return " It may have arrived already: an earlier attempt got no reply." if _may_have_arrived(mail) else ""


def _may_have_arrived(mail: Mail) -> bool:
    """Return True if an email that is not sent may have arrived, and its state alone does not say so."""
    state_says_it = mail.status == Status.DONE or (
        mail.status == Status.HELD and mail.reason_code == HoldReason.UNKNOWN
    )
    return mail.possible_duplicate and not state_says_it
