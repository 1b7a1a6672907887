"""Orders for many mails: a page that says first what will be done to how many and why, and one that shows how far it is."""

import datetime as dt
import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from mails.actions import apply, bulk, selection
from mails.actions.apply import CannotBeUsed
from mails.admin import choice, steering
from mails.lifecycle.action_requests import EVERY_ACCOUNT, How, Order
from mails.models import BulkOrder
from mails.reporting import search, systemic_refusals
from mails.states import SETTLING, Action, Also
from mercury.lib.database import database_clock
from mercury.lib.guarded_admin import GuardedAdmin

LOOKED_AT = 10_000  # mails that the page looks at before it asks; the others are judged as they come up
AT_ONCE = 500  # mails that are done before the answer
SECONDS = 10.0  # after that the rest is left to the background
OFFERED = (Action.RETRY, Action.REPROCESS, Action.HOLD, Action.RELEASE, Action.CANCEL, *SETTLING)
_WHAT_IT_MEANS = {
    Action.RETRY: "Their next round begins at once. Each goes on as it stands.",
    Action.REPROCESS: "Each keeps its id, Message-ID and history; it begins again, with the time of a new mail, {how}.",
    Action.HOLD: "Each stays here until it is released, or its time is over.",
    Action.RELEASE: "Each is due at once.",
    Action.CANCEL: "They are not sent any more. This cannot be undone.",
    Action.SENT: "Each ends as sent by its account, and nothing leaves. This cannot be undone: ask the account first.",
    Action.NOT_SENT: "Each is queued at once, and goes to another account first. Ask its account before: what that has "
    "after all arrives twice.",
}


def bulk_view(request: HttpRequest) -> HttpResponse:
    """Say what the action will come to for the mails that are ticked, or for all that match; do it when confirmed."""
    steering.check_mail_permission(request)
    action = _action(request.GET.get("action", ""))
    selected = choice.selected(request.GET)
    back = choice.back(request.GET)
    if not selected and not choice.is_all(request.GET):
        messages.warning(request, "No mail is ticked. Tick some, or choose all that match.")
        return redirect(back)
    anew = action == Action.REPROCESS
    if anew and (elsewhere := choice.look_again(request)):
        return elsewhere
    how = choice.how(request.GET) if anew else EVERY_ACCOUNT
    at, also = _as_seen(request), _also(request)
    try:
        survey = apply.survey(action, bulk.chosen(action, selected, at), how=how, also=also, look_at=LOOKED_AT)
    except search.UnknownSearchWord as unknown:
        messages.error(request, str(unknown))
        return redirect(back)
    except CannotBeUsed as wrong:
        messages.error(request, str(wrong))
        return redirect(choice.every_account(request))
    note, fault = steering.note(request)
    words = choice.words(request.GET)
    if request.method == "POST" and not fault and (survey.eligible or survey.more):
        total = None if survey.more else len(survey.eligible) + survey.left_out.total()
        order = Order(action, steering.by(request), note, how=how)
        asked = bulk.ask(order, selected, at=at, words=words, also=also, total=total)
        if not survey.more and len(survey.eligible) <= AT_ONCE:
            apply.begin(asked, seconds=SECONDS)
        return redirect("admin:mails_bulkorder_change", asked.pk)
    button = _button(action, survey)
    context = {
        **admin.site.each_context(request),
        "title": f"{button}?" if survey.eligible else f"{action.label}: no mail can be taken",
        "action": action,
        "words": words,
        "meaning": _WHAT_IT_MEANS[action].format(how=how.words),
        "how": choice.how_field(how, len(survey.eligible)) if anew else None,
        "survey": survey,
        "left_out": [_left_out(request, why, count) for why, count in survey.left_out.most_common()],
        "taken_along": [(one.label, _without(request, one)) for one in also],
        "button": button,
        "looked_at": LOOKED_AT,
        "in_background": survey.more or len(survey.eligible) > AT_ONCE,
        "at": at.isoformat(),
        "note": note,
        "max_note": apply.MAX_NOTE,
        "errors": [fault] if fault else [],
        "back": back,
    }
    return TemplateResponse(request, "admin/mails/mail/bulk.html", context, status=400 if fault else 200)


def _also(request: HttpRequest) -> list[Also]:
    """Return what is taken along: what was asked for, and the refusals of a spell, where those were chosen."""
    asked = request.GET.getlist("also")
    in_doubt = systemic_refusals.includes_rejected(request.GET.get("q", ""))
    return [one for one in Also if one in asked or (one == Also.REFUSED and in_doubt)]


@admin.register(BulkOrder)
class BulkOrderAdmin(GuardedAdmin):
    """What was asked of many mails: who, why, and what became of it."""

    list_display = ("__str__", "who", "asked_at", "result", "finished_at")
    list_per_page = 50

    def has_view_permission(self, request: HttpRequest, obj: BulkOrder | None = None) -> bool:
        """Whoever may look at mails."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They come from the list of mails."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: BulkOrder | None = None) -> bool:
        """A record of what was done."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: BulkOrder | None = None) -> bool:
        """A record of what was done."""
        return False

    @admin.display(description="asked by", ordering="asked_by")
    def who(self, asked: BulkOrder) -> str:
        """Who asked."""
        return asked.who

    @admin.display(description="so far")
    def result(self, asked: BulkOrder) -> str:
        """What was done."""
        return bulk.sentence(asked)

    def get_urls(self) -> list[URLPattern]:
        """Django's pages, what the live page asks for, and the way to stop."""
        return [
            path("<uuid:bulk_id>/news/", self.admin_site.admin_view(self.news), name="mails_bulkorder_news"),
            path("<uuid:bulk_id>/stop/", self.admin_site.admin_view(stop_view), name="mails_bulkorder_stop"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """How far it is; live while it goes on."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            asked = get_object_or_404(BulkOrder, pk=uuid.UUID(object_id))
        except ValueError:
            raise Http404("There is no such order.") from None
        context = {**self.admin_site.each_context(request), **_progress(asked), "title": str(asked)}
        return TemplateResponse(request, "admin/mails/bulkorder/change_form.html", context)

    def news(self, request: HttpRequest, bulk_id: uuid.UUID) -> HttpResponse:
        """How far it is now, for the page that shows it; 204 if that is as far as it was."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = get_object_or_404(BulkOrder, pk=bulk_id)
        if asked.finished_at is None and request.GET.get("turns") == str(asked.turns):
            return HttpResponse(status=204)
        return render(request, "admin/mails/bulkorder/_news.html", _progress(asked))


def stop_view(request: HttpRequest, bulk_id: uuid.UUID) -> HttpResponse:
    """Do no more of an order; what was done stays done."""
    steering.check_mail_permission(request)
    if request.method == "POST" and not bulk.stop(bulk_id, by=steering.by(request)):
        messages.warning(request, "It was finished before.")
    return redirect("admin:mails_bulkorder_change", bulk_id)


def _progress(asked: BulkOrder) -> dict[str, Any]:
    return {
        "asked": asked,
        "sentence": bulk.sentence(asked),
        "left_out": sorted(asked.left_out.items(), key=lambda one: -one[1]),
        "how": How.parse(asked.how).words if asked.action == Action.REPROCESS else "",
        "also": [Also(one).label for one in asked.also],
        "list_query": asked.query,
    }


def _action(name: str) -> Action:
    if name not in OFFERED:
        raise Http404("There is no such action for many mails.")
    return Action(name)


def _as_seen(request: HttpRequest) -> dt.datetime:
    """The moment the page was made that is confirmed, by the database's clock, as calls are dated.

    What came in later was not counted, and is not meant.
    """
    now = database_clock.now()
    try:
        seen = dt.datetime.fromisoformat(request.POST.get("at", ""))
    except ValueError:
        return now
    return min(seen if seen.tzinfo else seen.replace(tzinfo=dt.UTC), now)


def offered() -> list[tuple[str, str]]:
    """The actions that a list offers, with their words."""
    return [(one.value, f"Settle: {one.label.lower()}" if one in SETTLING else one.label) for one in OFFERED]


def _button(action: Action, survey: apply.Survey) -> str:
    """What the order is, and for how many: `Cancel 3 mails`, `Settle 3 mails as sent`."""
    count = len(survey.eligible)
    mails = f"{'more than ' if survey.more else ''}{count:,} mail{'' if count == 1 and not survey.more else 's'}"
    return selection.order_words(action, mails)


def _left_out(request: HttpRequest, why: str, count: int) -> dict[str, Any]:
    """Why some are left out, how many, and the ways to take them along or to settle them first."""
    cures, tone = [], "neutral"
    for one in Also:
        if why == one.label:
            cures, tone = [("Take them along", _with(request, one))], "unknown" if one == Also.DOUBTFUL else "bad"
    if why == selection.NONE_LEFT:
        cures = [("Send them anew through all accounts", choice.every_account(request))]
    if why == selection.NEEDS_EVIDENCE:
        looked_at = f"{reverse('admin:mails_mail_changelist')}?state=unknown"
        sent, not_sent = (choice.instead(request, one) for one in SETTLING)
        cures, tone = (
            [("They were sent", sent), ("They were not sent", not_sent), ("Look at them", looked_at)],
            "unknown",
        )
    return {"why": why, "count": count, "cures": cures, "tone": tone}


def _with(request: HttpRequest, also: Also) -> str:
    query = request.GET.copy()
    query.appendlist("also", also)
    return f"?{query.urlencode()}"


def _without(request: HttpRequest, also: Also) -> str:
    query = request.GET.copy()
    query.setlist("also", [one for one in query.getlist("also") if one != also])
    return f"?{query.urlencode()}"
