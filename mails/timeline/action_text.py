"""Action requests of people and applications, as titles and sentences."""

from __future__ import annotations

from mails.models import Mail
from mails.states import Action, HoldReason
from mails.timeline.entry import Entry, refer_to_email
from mails.timeline.event_payload import EventPayload, shorten
from mercury.lib.moments import format_minute

HELD_WORDS = {
    HoldReason.UNKNOWN.value: (
        "On hold: unconfirmed",
        "It may already have been sent. Mercury does not send it again until the outcome is known.",
    ),
    HoldReason.POISON.value: (
        "Quarantined",
        "Two workers crashed while they processed it, or Mercury could not build its message. Its timeline says which.",
    ),
    HoldReason.FILE_MISSING.value: (
        "On hold: file missing",
        "The file storage has lost the content of an attachment. Restore it, then release the email; or cancel it.",
    ),
    HoldReason.OPERATOR.value: ("On hold", "It is not sent until it is released."),
}


def describe_held(mail: Mail, payload: EventPayload) -> Entry:
    """Describe why an email is on hold."""
    title, meaning = HELD_WORDS.get(payload.get_text("reason"), HELD_WORDS[HoldReason.OPERATOR.value])
    info = payload.get_text("info")
    return Entry(title=title, parts=(info or meaning, *_quote_note(payload)), tone="unknown", icon="question")


def describe_released(mail: Mail, payload: EventPayload) -> Entry:
    """Describe the release of an email, or a retry at once."""
    title = "Retry requested" if payload.get_text("action") == Action.RETRY else "Released"
    return Entry(title=title, parts=("It is ready to be sent now.", *_quote_note(payload)), tone="active", icon="again")


def describe_rescheduled(mail: Mail, payload: EventPayload) -> Entry:
    """Describe that an email is sent at another time."""
    send_at, before = payload.get_time("send_at"), payload.get_time("before")
    sentence = f"To be sent at {format_minute(send_at)}" if send_at else "To be sent at another time"
    sentence += f" instead of {format_minute(before)}." if before else "."
    return Entry(title="Rescheduled", parts=(sentence, *_quote_note(payload)), tone="active", icon="clock")


def describe_reprocess(mail: Mail, payload: EventPayload) -> Entry:
    """Describe that an email starts over."""
    sentence = f"It starts over, {describe_constraint(payload) or 'with all accounts'}."
    parts = (sentence, *_list_changes(payload), *_quote_note(payload))
    return Entry(title="Queued for reprocessing", parts=parts, tone="active", icon="again")


def _list_changes(payload: EventPayload) -> list[str]:
    """Return what was changed of the email, one sentence each; the old recipients stay visible here."""
    replaced = [f"{pair.get_text('old')} by {pair.get_text('new')}" for pair in payload.get_objects("replaced")]
    send_at, expires_at = payload.get_time("send_at"), payload.get_time("expires_at")
    listed = (
        ("Replaced: ", replaced),
        ("Left out: ", payload.get_strings("dropped")),
        ("Sent once more to: ", payload.get_strings("again")),
        ("Sent at: ", [f"{send_at:%Y-%m-%d %H:%M} UTC"] if send_at else []),
        ("Expires: ", [f"{expires_at:%Y-%m-%d %H:%M} UTC"] if expires_at else []),
    )
    return [f" {words}{', '.join(items)}." for words, items in listed if items]


def describe_cancelled(mail: Mail, payload: EventPayload) -> Entry:
    """Describe a cancelled email."""
    sentence = "It will not be sent."
    if payload.is_true("possibly_sent"):
        sentence = "It will not be sent again, but an earlier attempt got no reply: it may have been sent."
    return Entry(title="Cancelled", parts=(sentence, *_quote_note(payload)), icon="cross")


def describe_resolved(mail: Mail, payload: EventPayload) -> Entry:
    """Describe how an unknown outcome was resolved."""
    if payload.get_text("outcome") == Action.SENT:
        sentence = "It is marked as sent; nothing more is sent."
        return Entry(title="Resolved as sent", parts=(sentence, *_quote_note(payload)), tone="ok", icon="tick")
    sentence = "It is safe to send it through another account."
    return Entry(title="Resolved as not sent", parts=(sentence, *_quote_note(payload)), tone="waiting", icon="again")


def describe_copied(mail: Mail, payload: EventPayload) -> Entry:
    """Describe that a new email was made from this one."""
    parts = ("A new email with all its parts was submitted: ", refer_to_email(payload.get_text("copy")), ".")
    return Entry(title="Sent as a copy", parts=parts, icon="again")


def describe_requested(mail: Mail, payload: EventPayload) -> Entry:
    """Describe an action that waits for the request in progress."""
    title, sentence = _REQUEST_WORDS.get(payload.get_text("action"), ("Action requested", ""))
    return Entry(title=title, parts=(sentence, *_quote_note(payload)), tone="waiting", icon="clock")


_REQUEST_WORDS = {
    Action.CANCEL.value: (
        "Cancel requested",
        "A request to the provider is in progress. The email is cancelled unless the provider accepts it.",
    ),
    Action.HOLD.value: (
        "Hold requested",
        "A request to the provider is in progress. The email is held unless the provider accepts it.",
    ),
    Action.RELEASE.value: ("Request withdrawn", "The email continues as if nothing had been requested."),
    Action.SENT.value: (
        "An earlier attempt was accepted",
        "A request to the provider is in progress. No other follows it.",
    ),
}


def describe_constraint(payload: EventPayload) -> str:
    """Return which accounts the email may use; empty where it may use all."""
    if via := payload.get_text("via"):
        return f"only through {' and '.join(via.split(','))}"
    excluded = payload.get_strings("excluded")
    return f"only accounts not tried yet (without {', '.join(excluded)})" if excluded else ""


def _quote_note(payload: EventPayload) -> list[str]:
    note = payload.get_text("note")
    return [f" Reason: “{shorten(note, 500)}”"] if note else []
