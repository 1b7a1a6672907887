"""Actions of operators on one email, on a queue, and on all sending. Each page first shows what the action will do."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from mails import pauses
from mails.actions import apply, pausing, preview, rules
from mails.actions.errors import AccountNotUsable, ActionNotAllowed, ChangesRefused, MailNotFound
from mails.actions.rules import MAX_NOTE
from mails.admin import choice, recipients, times
from mails.admin.times import TimesForm
from mails.lifecycle import action_requests
from mails.lifecycle.action_requests import EVERY_ACCOUNT, ActionRequest
from mails.lifecycle.recipient_changes import NO_CHANGES
from mails.models import Mail
from mails.pauses import ALL_QUEUES, QueueNotFound
from mails.states import Action
from mercury.lib.mail.printable import replace_unprintable

_WORDS = {
    Action.CANCEL: ("Cancel this email?", "Cancel the email"),
    Action.HOLD: ("Hold this email?", "Hold the email"),
    Action.RELEASE: ("Release this email?", "Release the email"),
    Action.RETRY: ("Retry this email now?", "Retry now"),
    Action.RESCHEDULE: ("Reschedule this email?", "Reschedule the email"),
    Action.REPROCESS: ("Reprocess this email?", "Reprocess the email"),
    Action.SENT: ("Mark as sent?", "Mark as sent"),
    Action.NOT_SENT: ("Mark as not sent?", "Mark as not sent and retry"),
}
_NOTE = {
    "name": "note",
    "label": "Reason",
    "optional": True,
    "value": "",
    "note": "Recorded with your name in the email's timeline.",
    "length": MAX_NOTE,
}


def action_view(request: HttpRequest, mail_id: uuid.UUID, verb: str) -> HttpResponse:
    """Show the effect of an action on this email; run it after confirmation, and show the result."""
    check_mail_permission(request)
    mail = get_object_or_404(Mail.objects.prefetch_related("recipients"), pk=mail_id)
    action = _parse_action(verb)
    page = redirect("admin:mails_mail_change", mail.pk)
    if action not in action_requests.list_actions(mail):
        messages.warning(request, str(ActionNotAllowed(mail, action, action_requests.list_actions(mail))))
        return page
    restarts = action == Action.REPROCESS
    timing = times.read_for_action(request, action)
    if restarts and (forecast := choice.redirect_to_forecast(request, _list_typed(request, mail, timing))):
        return forecast
    account_choice = choice.read_constraint(request.GET) if restarts else EVERY_ACCOUNT
    try:
        rules.check_account_choice(account_choice)
    except AccountNotUsable as wrong:
        messages.error(request, str(wrong))
        return redirect(choice.link_to_every_account(request))
    reason, error = read_note(request)
    changes, wrong_changes = recipients.read_changes(request, mail) if restarts else (NO_CHANGES, list[str]())
    errors = [*([error] if error else []), *(timing.errors if timing else []), *wrong_changes]
    if request.method == "POST" and not errors:
        action_request = ActionRequest(
            action=action,
            by=name_actor(request),
            note=reason,
            account_choice=account_choice,
            recipients=changes,
            times=timing.times if timing else None,
        )
        _apply(request, mail, action_request)
        return page
    title, button = _WORDS[action]
    possible = rules.is_allowed(mail, action, account_choice)
    subject = replace_unprintable(mail.subject or "(no subject)")
    context = {
        "title": title,
        "trail": [
            ("Emails", reverse("admin:mails_mail_changelist")),
            (subject, reverse("admin:mails_mail_change", args=[mail.pk])),
        ],
        "sentences": [
            f"“{subject}” to {replace_unprintable(mail.recipient)}.",
            *preview.describe_effect(mail, action, account_choice),
        ],
        "button": button if possible else "",
        "account_choice": choice.make_constraint_field(account_choice, int(possible)) if restarts else None,
        "times": timing if possible else None,
        "boxes": recipients.make_boxes(request, mail) if restarts and possible else [],
        "fields": [*(recipients.make_fields(request, mail) if restarts else []), _NOTE | {"value": reason}]
        if possible
        else [],
        "errors": errors,
        "back": reverse("admin:mails_mail_change", args=[mail.pk]),
    }
    return _confirm(request, context)


def _list_typed(request: HttpRequest, mail: Mail, timing: TimesForm | None) -> dict[str, str]:
    return recipients.list_typed(request, mail) | (timing.typed if timing else {})


def _apply(request: HttpRequest, mail: Mail, action_request: ActionRequest) -> None:
    """Carry the action out and leave a message with its result. Raises Http404 if the email is gone."""
    try:
        result = apply.apply_action(mail.pk, action_request, client=recipients.make_client(request))
    except MailNotFound as gone:
        raise Http404(str(gone)) from None
    except (ActionNotAllowed, AccountNotUsable, ChangesRefused) as too_late:
        messages.warning(request, str(too_late))
    else:
        messages.success(request, result.describe(action_request.action))


def sending_view(request: HttpRequest, verb: str) -> HttpResponse:
    """Pause or resume all sending: show the effect, then do it after confirmation."""
    check_permission(request)
    return _pause_or_resume(request, ALL_QUEUES, verb)


def queue_view(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Pause or resume a queue: show the effect, then do it after confirmation."""
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
    reason, error = read_note(request)
    if request.method == "POST" and not error:
        messages.success(request, _pause(request, queue, reason) if verb == "pause" else _resume(request, queue))
        return redirect("admin:index")
    context = _describe_pause_page(queue, reason) if verb == "pause" else _describe_resume_page(queue)
    context |= {"errors": [error] if error else [], "back": reverse("admin:index"), "trail": []}
    return _confirm(request, context)


def _pause(request: HttpRequest, queue: str, reason: str) -> str:
    """Pause it, and return what happened in words."""
    paused = pausing.pause_sending(queue, by=name_actor(request), note=reason)
    what = _name_scope(queue)
    return f"{what} is paused. {pausing.describe_pause_effect(queue)}" if paused else f"{what} was already paused."


def _resume(request: HttpRequest, queue: str) -> str:
    """Resume it, and return what happened in words."""
    resumed = pausing.resume_sending(queue, by=name_actor(request))
    return f"{_name_scope(queue)} has resumed." if resumed else f"{_name_scope(queue)} was not paused."


def _describe_pause_page(queue: str, reason: str) -> dict[str, Any]:
    scope = f"No email of queue {queue} is sent, on any machine, until someone resumes it. Other queues continue."
    sentences = [
        scope if queue else "No email is sent, on any machine, until someone resumes sending.",
        "New emails are still accepted and queued. Requests in progress finish; no new ones start.",
    ]
    what = f"queue {queue}" if queue else "all sending"
    return {
        "title": f"Pause {what}?",
        "sentences": [*sentences, pausing.describe_pause_effect(queue)],
        "button": f"Pause {what}",
        "fields": [_NOTE | {"note": "Recorded with your name and shown on the overview.", "value": reason}],
    }


def _describe_resume_page(queue: str) -> dict[str, Any]:
    pause = pauses.load_active().get(queue)
    since = (
        f"Paused since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}. {replace_unprintable(pause.note)}"
        if pause
        else ""
    )
    what = f"queue {queue}" if queue else "sending"
    return {
        "title": f"Resume {what}?",
        "sentences": [since.strip() or f"{_name_scope(queue)} is not paused.", pausing.describe_resume_effect(queue)],
        "button": f"Resume {what}",
    }


def _name_scope(queue: str) -> str:
    return f"Queue {queue}" if queue else "Sending"


def _confirm(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    status = 400 if context["errors"] else 200
    return TemplateResponse(
        request, "admin/confirm.html", {**admin.site.each_context(request), **context}, status=status
    )


def check_permission(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the user may change emails, which includes pausing all sending."""
    if not request.user.has_perm("mails.change_mail"):
        raise PermissionDenied


def check_mail_permission(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the user may change and view emails, for pages that show the emails too."""
    check_permission(request)
    if not request.user.has_perm("mails.view_mail"):
        raise PermissionDenied


def _parse_action(verb: str) -> Action:
    try:
        return Action(verb)
    except ValueError:
        raise Http404("No such action.") from None


def read_note(request: HttpRequest) -> tuple[str, str]:
    """Return the typed reason, here or before the accounts were changed, and the error in it."""
    typed = (request.POST if request.method == "POST" else request.GET).get("note", "").strip()
    if len(typed) > MAX_NOTE or replace_unprintable(typed) != typed:
        return replace_unprintable(typed)[:MAX_NOTE], f"Reason: at most {MAX_NOTE} characters, no control characters."
    return typed, ""


def name_actor(request: HttpRequest) -> str:
    """Return the user as events and action requests record it."""
    return f"user:{request.user.get_username()}"[:128]
