"""Actions for operators, each with a page that says first what it will do: for one email, for a queue, and for all sending."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from mails import pauses
from mails.actions import apply
from mails.actions.apply import MAX_NOTE, CannotBeUsed, Gone, NotPossible
from mails.admin import choice
from mails.lifecycle import action_requests
from mails.lifecycle.action_requests import EVERY_ACCOUNT, Order
from mails.models import Mail
from mails.pauses import ALL_QUEUES, QueueNotFound
from mails.sentences import clean
from mails.states import Action

_WORDS = {
    Action.CANCEL: ("Cancel this mail?", "Cancel the mail"),
    Action.HOLD: ("Hold this mail?", "Hold the mail"),
    Action.RELEASE: ("Release this mail?", "Release the mail"),
    Action.RETRY: ("Try this mail now?", "Retry now"),
    Action.REPROCESS: ("Send this mail anew?", "Reprocess the mail"),
    Action.SENT: ("It was sent?", "It was sent: close as Sent"),
    Action.NOT_SENT: ("It was not sent?", "It was not sent: try the next provider"),
}
_NOTE = {
    "name": "note",
    "label": "Why",
    "optional": True,
    "value": "",
    "note": "Kept in the mail's timeline, with your name.",
    "length": MAX_NOTE,
}


def action_view(request: HttpRequest, mail_id: uuid.UUID, verb: str) -> HttpResponse:
    """Say what the action will come to for this mail; do it when that was confirmed, and say what happened."""
    check_mail_permission(request)
    mail = get_object_or_404(Mail, pk=mail_id)
    action = _action(verb)
    page = redirect("admin:mails_mail_change", mail.pk)
    if action not in action_requests.possible(mail):
        messages.warning(request, str(NotPossible(mail, action, action_requests.possible(mail))))
        return page
    anew = action == Action.REPROCESS
    if anew and (elsewhere := choice.look_again(request)):
        return elsewhere
    how = choice.how(request.GET) if anew else EVERY_ACCOUNT
    try:
        apply.check(how)
    except CannotBeUsed as wrong:
        messages.error(request, str(wrong))
        return redirect(choice.every_account(request))
    reason, fault = note(request)
    if request.method == "POST" and not fault:
        try:
            acted = apply.act(mail.pk, Order(action, by(request), reason, how=how))
        except Gone as gone:
            raise Http404(str(gone)) from None
        except (NotPossible, CannotBeUsed) as too_late:
            messages.warning(request, str(too_late))
        else:
            messages.success(request, acted.words(action))
        return page
    title, button = _WORDS[action]
    possible = apply.is_possible(mail, action, how)
    subject = clean(mail.subject or "(no subject)")
    context = {
        "title": title,
        "trail": [
            ("Mails", reverse("admin:mails_mail_changelist")),
            (subject, reverse("admin:mails_mail_change", args=[mail.pk])),
        ],
        "sentences": [f"“{subject}” to {clean(mail.recipient)}.", *apply.prospect(mail, action, how)],
        "button": button if possible else "",
        "how": choice.how_field(how, int(possible)) if anew else None,
        "fields": [_NOTE | {"value": reason}] if possible else [],
        "errors": [fault] if fault else [],
        "back": reverse("admin:mails_mail_change", args=[mail.pk]),
    }
    return _confirm(request, context)


def sending_view(request: HttpRequest, verb: str) -> HttpResponse:
    """Pause or resume all sending: say what that means and for how many emails, then do it."""
    check_permission(request)
    return _pause_or_resume(request, ALL_QUEUES, verb)


def queue_view(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Pause or resume a queue: say what that means and for how many emails, then do it."""
    check_permission(request)
    try:
        queue = pauses.find_queue(name)
    except QueueNotFound as unknown:
        messages.warning(request, str(unknown))
        return redirect("admin:index")
    return _pause_or_resume(request, queue, verb)


def _pause_or_resume(request: HttpRequest, queue: str, verb: str) -> HttpResponse:
    if verb not in {"pause", "resume"}:
        raise Http404("Only pause and resume are possible here.")
    reason, fault = note(request)
    if request.method == "POST" and not fault:
        messages.success(request, _pause(request, queue, reason) if verb == "pause" else _resume(request, queue))
        return redirect("admin:index")
    context = _pause_page(queue, reason) if verb == "pause" else _resume_page(queue)
    context |= {"errors": [fault] if fault else [], "back": reverse("admin:index"), "trail": []}
    return _confirm(request, context)


def _pause(request: HttpRequest, queue: str, reason: str) -> str:
    """Pause it, and return what happened in words."""
    paused = apply.pause_sending(queue, by=by(request), note=reason)
    what = _named(queue)
    return f"{what} is paused. {apply.describe_pause(queue)}" if paused else f"{what} was already paused."


def _resume(request: HttpRequest, queue: str) -> str:
    """Resume it, and return what happened in words."""
    resumed = apply.resume_sending(queue, by=by(request))
    return f"{_named(queue)} is resumed." if resumed else f"{_named(queue)} was not paused."


def _pause_page(queue: str, reason: str) -> dict[str, Any]:
    scope = f"No email of queue {queue} is sent, on any machine, until somebody resumes it. Other queues go on."
    sentences = [
        scope if queue else "No email is sent, on any machine, until somebody resumes sending.",
        "New emails are still accepted and stored. Requests in progress will finish.",
    ]
    what = f"queue {queue}" if queue else "all sending"
    return {
        "title": f"Pause {what}?",
        "sentences": [*sentences, apply.describe_pause(queue)],
        "button": f"Pause {what}",
        "fields": [_NOTE | {"note": "Kept, and shown on the overview with your name.", "value": reason}],
    }


def _resume_page(queue: str) -> dict[str, Any]:
    pause = pauses.load_active().get(queue)
    since = f"Paused since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}. {clean(pause.note)}" if pause else ""
    what = f"queue {queue}" if queue else "sending"
    return {
        "title": f"Resume {what}?",
        "sentences": [since.strip() or f"{_named(queue)} is not paused.", apply.describe_resumption(queue)],
        "button": f"Resume {what}",
    }


def _named(queue: str) -> str:
    return f"Queue {queue}" if queue else "Sending"


def _confirm(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    status = 400 if context["errors"] else 200
    return TemplateResponse(
        request, "admin/confirm.html", {**admin.site.each_context(request), **context}, status=status
    )


def check_permission(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the person may change mails, which includes to stop all of them."""
    if not request.user.has_perm("mails.change_mail"):
        raise PermissionDenied


def check_mail_permission(request: HttpRequest) -> None:
    """The same for pages that show the mails which they are about: who uses one may look at mails too."""
    check_permission(request)
    if not request.user.has_perm("mails.view_mail"):
        raise PermissionDenied


def _action(verb: str) -> Action:
    try:
        return Action(verb)
    except ValueError:
        raise Http404("There is no such action.") from None


def note(request: HttpRequest) -> tuple[str, str]:
    """The reason that was typed, here or before the choice was changed, and what is wrong with it."""
    typed = (request.POST if request.method == "POST" else request.GET).get("note", "").strip()
    if len(typed) > MAX_NOTE or clean(typed) != typed:
        return clean(typed)[:MAX_NOTE], f"Why: at most {MAX_NOTE} characters, none of them a control character."
    return typed, ""


def by(request: HttpRequest) -> str:
    """Who asks, as events and orders keep it."""
    return f"user:{request.user.get_username()}"[:128]
