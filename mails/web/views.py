"""Pages for users who send: their emails, and the live page of one email."""

import uuid
from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect

from mails.actions import apply
from mails.actions.errors import ActionNotAllowed, MailNotFound
from mails.actions.preview import describe_effect
from mails.lifecycle import action_requests
from mails.lifecycle.action_requests import ActionRequest
from mails.message import mail_preview, mime
from mails.models import DownloadLink, Mail
from mails.reporting import search, statistics
from mails.states import Action
from mails.timeline.story import Story, has_news, read_story
from mails.web.visible import get_visible
from mercury.lib.mail.printable import replace_unprintable

MAILS_A_PAGE = 50


@never_cache
@login_required
@require_safe
def mail_list(request: HttpRequest) -> HttpResponse:
    """Show the user's own emails, newest first."""
    own = Mail.objects.filter(user=cast(User, request.user))
    state, words = request.GET.get("state", ""), request.GET.get("q", "").strip()
    found = own.filter(search.STATES[state][1]) if state in search.STATES else own
    before, after = request.GET.get("before", ""), request.GET.get("after", "")
    page, error = search.MailPage(mails=[], newer=None, older=None), ""
    try:
        page = search.load_page(found, words, before=before, after=after, far="far" in request.GET, size=MAILS_A_PAGE)
    except search.UnknownSearchWord as unknown:
        error = str(unknown)
    context = {
        "page": page,
        "states": [(name, words) for name, (words, _condition) in search.STATES.items()],
        "state": state if state in search.STATES else "",
        "words": words,
        "search_help": search.HELP,
        "search_error": error,
        "none_at_all": not page.mails and not own.exists(),
        "section": "mails",
    }
    return render(request, "mails/mail_list.html", context)


@never_cache
@login_required
@require_safe
def mail_page(request: HttpRequest, mail_id: uuid.UUID) -> HttpResponse:
    """Show everything about one email, and follow it while it changes."""
    mail = get_visible(request, mail_id)
    story = _read_story(mail, everything=request.GET.get("events") == "all")
    message = mime.read_beginning(mail, recipients=story.recipients)
    context = {
        "message": message,
        "message_id": mime.make_message_id(mail.pk, mail.sender),
        "story": story,
        "preview": mail_preview.build_preview(mail, message, files=mail_preview.list_files(mail)),
        "links": DownloadLink.objects.filter(mail=mail),
        "images_on": request.GET.get("images") == "on",
        "section": "mails",
    }
    return render(request, "mails/mail.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: HttpRequest, mail_id: uuid.UUID) -> HttpResponse:
    """Show the effect of cancelling one of the user's emails; cancel it after confirmation."""
    mail = Mail.objects.filter(user=cast(User, request.user), pk=mail_id).first()
    if mail is None:
        raise Http404("No such email, or you do not have access.")
    if request.method == "POST":
        action_request = ActionRequest(action=Action.CANCEL, by=f"user:{request.user.get_username()}"[:128])
        try:
            messages.success(request, apply.apply_action(mail.pk, action_request).describe(Action.CANCEL))
        except MailNotFound as gone:
            raise Http404(str(gone)) from None
        except ActionNotAllowed as too_late:
            messages.warning(request, str(too_late))
        return redirect("mail", mail_id=mail.pk)
    if Action.CANCEL not in action_requests.list_actions(mail):
        messages.warning(request, "This email can no longer be cancelled.")
        return redirect("mail", mail_id=mail.pk)
    context = {
        "title": "Cancel this email?",
        "sentences": [replace_unprintable(mail.subject or "(no subject)"), *describe_effect(mail, Action.CANCEL)],
        "button": "Cancel the email",
        "back": reverse("mail", args=[mail.pk]),
        "section": "mails",
    }
    return render(request, "mails/confirm.html", context)


@never_cache
@require_safe
def mail_timeline(request: HttpRequest, mail_id: uuid.UUID) -> HttpResponse:
    """Return what changed since the page showed the events up to `after`, the state `status` and the `obstacles`.

    204 if nothing did. Otherwise the new steps and what replaces badge, figures and poller; a final email gets no
    poller.
    """
    if not request.user.is_authenticated:
        page = reverse("mail", args=[mail_id])
        return HttpResponseClientRedirect(redirect_to_login(page).url)
    mail = get_visible(request, mail_id)
    after = request.GET.get("after", "")
    seen = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
    status, obstacles = request.GET.get("status", ""), request.GET.get("obstacles", "")
    if not has_news(mail, after=seen, status=status, obstacles=obstacles):
        return HttpResponse(status=204)
    story = _read_story(mail)
    news = [entry for entry in story.entries if entry.under_way or (entry.id or 0) > seen]
    context = {"story": story, "news": news, "reasons_open": "reasons" in request.GET}
    return render(request, "mails/_news.html", context)


def _read_story(mail: Mail, *, everything: bool = False) -> Story:
    now = timezone.now()
    return read_story(mail, now, everything=everything, usual=statistics.load_usual_times(mail.queue, now))
