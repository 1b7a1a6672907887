"""Template tags for icons, badges, times and durations in words, and the bars of where the time went."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.template import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mails import pauses
from mails.files import links
from mails.files.links import LinkState
from mails.lifecycle import action_requests
from mails.message import mime
from mails.models import DownloadLink, Mail, Recipient
from mails.states import FINAL, Action, RecipientState, Status
from mails.timeline.entry import Entry, RunningDuration
from mails.timeline.event_payload import EventPayload
from mails.timeline.facts import Span
from mails.timeline.summary import Badge, choose_badge
from mercury.lib import durations
from mercury.lib.durations import format_age
from mercury.lib.mail.printable import replace_unprintable

register = template.Library()

_NICE_STEPS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    30,
    60,
    300,
    600,
    3600,
    21_600,
    86_400,
)

_OUTCOMES = {
    RecipientState.PENDING: ("neutral", "clock"),
    RecipientState.ACCEPTED: ("ok", "tick"),
    RecipientState.REFUSED: ("bad", "cross"),
    RecipientState.SUPPRESSED: ("bad", "ban"),
}
_LINK_STATES = {
    LinkState.VALID: ("ok", "tick"),
    LinkState.EXPIRED: ("neutral", "clock"),
    LinkState.REVOKED: ("neutral", "ban"),
    LinkState.USED_UP: ("waiting", "cross"),
    LinkState.REMOVED: ("bad", "cross"),
}


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return an icon of the sprite, hidden from screen readers because a word is always next to it."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("mercury/icons.svg"),
        name,
    )


@register.inclusion_tag("mails/_badge.html")
def badge(mail: Mail, size: str = "") -> dict[str, Any]:
    """Render the badge of an email's state."""
    return {"badge": choose_badge(mail), "size": size}


@register.inclusion_tag("_tone_badge.html")
def recipient_badge(recipient: Recipient) -> dict[str, Any]:
    """Render the badge of a recipient's outcome."""
    state = RecipientState(recipient.state)
    tone, icon_name = _OUTCOMES[state]
    return {"tone": tone, "icon": icon_name, "word": state.label}


@register.inclusion_tag("_tone_badge.html")
def link_badge(link: DownloadLink) -> dict[str, Any]:
    """Render the badge of a download link's state."""
    state = links.get_state(link, timezone.now())
    tone, icon_name = _LINK_STATES[state]
    return {"tone": tone, "icon": icon_name, "word": state.value.capitalize()}


@register.simple_tag
def badge_of(mail: Mail) -> Badge:
    """Return the badge of an email's state."""
    return choose_badge(mail)


@register.simple_tag
def favicon(tone: str) -> str:
    """Return the URL of the icon that a browser tab shows for a state of this tone."""
    return static(f"mercury/favicon-{tone}.svg")


@register.inclusion_tag("_paused.html", takes_context=True)
def paused(context: Context) -> dict[str, Any]:
    """Render what is paused, for signed-in users: all sending, or some queues. One query."""
    user = getattr(context.get("request"), "user", None)
    if user is None or not user.is_authenticated:
        return {}
    active = pauses.load_active()
    return {
        "pause": active.all_sending,
        "queues": () if active.all_sending else list(active.queues.values()),
        "may_change": user.is_staff and user.has_perm("mails.change_mail"),
    }


@register.inclusion_tag("mails/_warnings.html", takes_context=True)
def warnings(context: Context, mail: Mail, *, oob: bool = False) -> dict[str, Any]:
    """Render the warnings on top of an email's page: sending is paused, or the outcome is unknown and how to resolve it."""
    unconfirmed = mail.status == Status.HELD and mail.possible_duplicate
    waits = mail.status not in FINAL and mail.status != Status.HELD
    return {
        "mail": mail,
        "oob": oob,
        "pause": pauses.load_active().all_sending if waits else None,
        "unconfirmed": unconfirmed,
        "ways": [button for button in _list_buttons(context, mail) if button.action in _WAYS_OUT]
        if unconfirmed
        else [],
        "message_id": mime.make_message_id(mail.pk, mail.sender) if unconfirmed else "",
    }


@register.inclusion_tag("mails/_actions.html", takes_context=True)
def actions(context: Context, mail: Mail, *, oob: bool = False) -> dict[str, Any]:
    """Render the actions possible now; each leads to a page that first says what it will do."""
    buttons = _list_buttons(context, mail)
    may_withdraw = bool(mail.pending_action) and any(button.action == Action.RELEASE for button in buttons)
    is_sent = mail.status == Status.DONE
    no_copy = mime.explain_not_copyable(mail) if is_sent else ""
    edit = f"{reverse('submit')}?copy={mail.pk}" if is_sent and not no_copy else ""
    copy = ""
    if is_sent and context.get("reasons_open") and context["request"].user.has_perm("mails.change_mail"):
        no_copy = mime.explain_no_copy(mail)
        copy = reverse("admin:mails_mail_copy", args=[mail.pk]) if not no_copy else ""
    return {
        "buttons": buttons,
        "copy": copy or edit,
        "edit": edit if copy else "",
        "no_copy": no_copy,
        "oob": oob,
        "may_withdraw": may_withdraw,
    }


@dataclass(frozen=True, slots=True)
class Button:
    """A link to the page of an action."""

    action: Action
    label: str
    url: str


_WAYS_OUT = (Action.SENT, Action.NOT_SENT, Action.CANCEL)
_LABELS = {
    Action.SENT: "Mark as sent",
    Action.NOT_SENT: "Mark as not sent and retry",
}


def _list_buttons(context: Context, mail: Mail) -> list[Button]:
    """Return every possible action in the admin, for users who may change emails; on a user's own page only Cancel."""
    user, pending = context["request"].user, EventPayload(raw=mail.pending_action).get_text("action")
    possible = [action for action in action_requests.list_actions(mail) if action != pending]
    if context.get("reasons_open") and user.has_perm("mails.change_mail"):
        return [
            Button(
                action, _LABELS.get(action, action.label), reverse("admin:mails_mail_action", args=[mail.pk, action])
            )
            for action in possible
        ]
    if Action.CANCEL in possible and not context.get("reasons_open") and mail.user_id == user.pk:
        return [Button(Action.CANCEL, Action.CANCEL.label, reverse("mail-cancel", args=[mail.pk]))]
    return []


@register.simple_tag
def moment(value: dt.datetime | None, style: str = "full") -> SafeString | str:
    """Return a time with its zone; milliseconds in the title. `style`: full, day (without the year) or clock."""
    if value is None:
        return "–"
    utc = value.astimezone(dt.UTC)
    formats = {"clock": "%H:%M:%S", "day": f"{utc.day} %b, %H:%M:%S", "full": f"{utc.day} %b %Y, %H:%M:%S"}
    words = utc.strftime(formats[style])
    return format_html(
        '<time datetime="{}" title="{}" data-moment="{}">{} UTC</time>',
        _format_iso(utc),
        _format_exact(utc),
        style,
        words,
    )


@register.simple_tag
def age(value: dt.datetime | None) -> SafeString | str:
    """Return an age; the exact time in the title."""
    if value is None:
        return "never"
    utc = value.astimezone(dt.UTC)
    words = format_age(max(0.0, (timezone.now() - value).total_seconds()))
    return format_html('<time datetime="{}" title="{}" data-age>{}</time>', _format_iso(utc), _format_exact(utc), words)


@register.simple_tag
def offset(entry: Entry) -> SafeString:
    """Return the time from submission to a step; the exact time in the title."""
    utc = (entry.at or timezone.now()).astimezone(dt.UTC)
    return format_html(
        '<time class="offset" datetime="{}" title="{}">{}</time>',
        _format_iso(utc),
        _format_exact(utc),
        entry.offset_words,
    )


@register.simple_tag
def passing(words: str) -> SafeString | str:
    """Return words of a sentence; the page keeps counting a duration that goes on."""
    if not isinstance(words, RunningDuration):
        return words
    return format_html('<span data-passing="{}">{}</span>', f"{words.seconds:.3f}", words)


@register.filter
def seconds(value: float | None) -> str:
    """Return seconds in words."""
    return "–" if value is None else durations.format_duration(value)


@register.filter
def milliseconds(value: float | None) -> str:
    """Return milliseconds in words."""
    return "–" if value is None else durations.format_duration(value / 1000)


@register.filter
def size(value: int) -> str:
    """Return bytes in words."""
    return durations.format_size(value)


@register.filter
def printable(value: object) -> str:
    """Return text without control characters and marks that change the writing direction."""
    return replace_unprintable(str(value))


@register.filter
def full_stop(text: str) -> str:
    """Return the text with a full stop, unless it already ends a sentence."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


@register.filter
def took(mail: Mail) -> str:
    """Return the time from submission to the end of an email."""
    if mail.finished_at is None or mail.status == "rejected":
        return "–"
    return durations.format_duration(max(0.0, (mail.finished_at - mail.created_at).total_seconds()))


@register.inclusion_tag("mails/_spans.html")
def spans(found: Sequence[Span]) -> dict[str, Any]:
    """Render where the time went, as bars over one axis."""
    end = max((span.start + span.length for span in found), default=0.0) or 0.001
    step = next((nice for nice in _NICE_STEPS if end / nice <= 5), end)
    ticks = [index * step for index in range(int(end / step) + 1)]
    scale = 96 / end  # percent a second; the rest is room for the last label
    return {
        "rows": [
            {
                "span": span,
                "start": f"{span.start:.3f}",
                "length": f"{span.length:.3f}",
                "x": f"{span.start * scale:.2f}%",
                "width": f"{max(0.4, span.length * scale):.2f}%",
            }
            for span in found
        ],
        "ticks": [{"x": f"{tick * scale:.2f}%", "words": _format_tick(tick)} for tick in ticks],
        "sentence": "; ".join(f"{span.label} {span.words}" for span in found),
    }


def _format_tick(seconds: float) -> str:
    """Return the label of a tick, exact also between two minutes or two hours."""
    if seconds < 60:
        return durations.format_duration(seconds) if seconds else "0"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _format_iso(value: dt.datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _format_exact(value: dt.datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d} UTC"
