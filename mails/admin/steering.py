"""Actions for operators, each with a page that says first what it will do: for one mail, for a lane, and for the whole house."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from mails import house, pauses
from mails.actions import apply
from mails.actions.apply import MAX_NOTE, CannotBeUsed, Gone, NotPossible
from mails.admin import choice
from mails.lifecycle import action_requests
from mails.lifecycle.action_requests import EVERY_ACCOUNT, Order
from mails.models import Mail
from mails.pauses import UnknownLane
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


def house_view(request: HttpRequest, verb: str) -> HttpResponse:
    """Hold or release the whole house: say what that means, then do it."""
    check_permission(request)
    if verb not in {"hold", "release"}:
        raise Http404("The house can be held and released.")
    reason, fault = note(request)
    if request.method == "POST" and not fault:
        if verb == "hold":
            changed, words = apply.hold_house(by=by(request), note=reason), "Sending is paused."
        else:
            changed, words = apply.release_house(by=by(request)), "Sending is resumed: emails go out."
        messages.success(request, words if changed else "It was so before.")
        return redirect("admin:index")
    holding = {
        "title": "Pause all sending?",
        "sentences": [
            "From now on nothing is handed to a provider, on any machine, until somebody resumes sending.",
            "Emails are accepted as usual, and wait. Calls in progress end, and no other follows them.",
        ],
        "button": "Pause all sending",
        "fields": [_NOTE | {"note": "Kept, with your name.", "value": reason}],
    }
    hold = house.hold()
    since = (
        f"Paused since {hold.held_at:%Y-%m-%d %H:%M} UTC by {hold.who}. {hold.note}" if hold else "It is not paused."
    )
    releasing = {
        "title": "Resume sending?",
        "sentences": [since.strip(), apply.waiting()],
        "button": "Resume sending",
    }
    context = (holding if verb == "hold" else releasing) | {"errors": [fault] if fault else []}
    return _confirm(request, context | {"back": reverse("admin:index"), "trail": []})


def lane_view(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Pause or resume a lane: say what that means and for how many mails, then do it."""
    check_permission(request)
    try:
        lane = pauses.lane(name)
    except UnknownLane as unknown:
        messages.warning(request, str(unknown))
        return redirect("admin:index")
    if verb not in {"pause", "resume"}:
        raise Http404("A lane can be paused and resumed.")
    reason, fault = note(request)
    if request.method == "POST" and not fault:
        if verb == "pause":
            changed = apply.pause_lane(lane, by=by(request), note=reason)
            words = f"Lane {lane} is paused. {apply.kept_by(lane)}"
        else:
            changed, words = apply.resume_lane(lane, by=by(request)), f"Lane {lane} is resumed: its mails go out."
        messages.success(request, words if changed else "It was so before.")
        return redirect("admin:index")
    pausing = {
        "title": f"Pause lane {lane}?",
        "sentences": [
            f"From now on no mail of lane {lane} is handed to a provider, on any machine, until somebody resumes it.",
            "Other lanes go on. New mails are taken as ever, and wait. Calls under way end, and no other follows them.",
            apply.kept_by(lane),
        ],
        "button": f"Pause lane {lane}",
        "fields": [_NOTE | {"note": "Kept, and shown on the overview with your name.", "value": reason}],
    }
    pause = pauses.standing().get(lane)
    since = (
        f"Paused since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}. {clean(pause.note)}"
        if pause
        else "It is not paused."
    )
    resuming = {
        "title": f"Resume lane {lane}?",
        "sentences": [since.strip(), apply.let_go_by(lane)],
        "button": f"Resume lane {lane}",
    }
    context = (pausing if verb == "pause" else resuming) | {"errors": [fault] if fault else []}
    return _confirm(request, context | {"back": reverse("admin:index"), "trail": []})


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
