"""Bulk actions: a page that first shows what will happen to how many emails and why, and one that shows the progress."""

import datetime as dt
import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from mails.actions import apply, bulk, rules, wording
from mails.actions.errors import AccountNotUsable
from mails.actions.preview import ActionPreview, preview_action
from mails.admin import actions, choice, times
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice, ActionRequest
from mails.models import BulkAction
from mails.reporting import search, systemic_refusals
from mails.reporting.search import MailListFilter
from mails.states import RESOLVING, Action, Inclusion
from mercury.lib.database import database_clock
from mercury.lib.guarded_admin import GuardedAdmin

LOOKED_AT = 10_000  # emails that the page checks before it asks; the others are checked when they are processed
AT_ONCE = 500  # emails that are processed before the response
SECONDS = 10.0  # after that the rest runs in the background
OFFERED = (Action.RETRY, Action.RESCHEDULE, Action.REPROCESS, Action.HOLD, Action.RELEASE, Action.CANCEL, *RESOLVING)
_EFFECTS = {
    Action.RETRY: "Their next attempt starts now; nothing else changes.",
    Action.RESCHEDULE: "Each is sent at the time below, and not before.",
    Action.REPROCESS: "Each keeps its id, Message-ID and history and starts over with a fresh expiry time, {accounts}.",
    Action.HOLD: "Each stays on hold until it is released or expires.",
    Action.RELEASE: "Each is ready to be sent now.",
    Action.CANCEL: "They will not be sent. This cannot be undone.",
    Action.SENT: "They will be marked as sent; nothing is sent. This cannot be undone, so check with the provider first.",
    Action.NOT_SENT: "Each is queued now and goes to another account first. Check with the provider first, or the recipient "
    "may get it twice.",
}


def bulk_view(request: HttpRequest) -> HttpResponse:
    """Show the effect of an action on the selected emails, or on all that match; start it after confirmation."""
    actions.check_mail_permission(request)
    action = _parse_action(request.GET.get("action", ""))
    selected = choice.read_selection(request.GET)
    back = choice.link_back(request.GET)
    if not selected and not choice.is_everything(request.GET):
        messages.warning(request, "No email is selected. Select some, or apply the action to all.")
        return redirect(back)
    restarts = action == Action.REPROCESS
    timing = times.read_for_action(request, action)
    if restarts and (forecast := choice.redirect_to_forecast(request, timing.typed if timing else {})):
        return forecast
    account_choice = choice.read_constraint(request.GET) if restarts else EVERY_ACCOUNT
    at, included = _read_shown_at(request), _read_also(request)
    try:
        preview = preview_action(
            action,
            bulk.select_mails(action, selected, at),
            account_choice=account_choice,
            included=included,
            look_at=LOOKED_AT,
        )
    except search.UnknownSearchWord as unknown:
        messages.error(request, str(unknown))
        return redirect(back)
    except AccountNotUsable as wrong:
        messages.error(request, str(wrong))
        return redirect(choice.link_to_every_account(request))
    note, error = actions.read_note(request)
    errors = [*([error] if error else []), *(timing.errors if timing else [])]
    description = choice.describe_selection(request.GET)
    if request.method == "POST" and not errors and (preview.eligible or preview.more):
        action_request = ActionRequest(
            action=action,
            by=actions.name_actor(request),
            note=note,
            account_choice=account_choice,
            times=timing.times if timing else None,
        )
        bulk_action = _start(action_request, selected, preview, at=at, description=description, included=included)
        return redirect("admin:mails_bulkaction_change", bulk_action.pk)
    button = _label_button(action, preview)
    context = {
        **admin.site.each_context(request),
        "title": f"{button}?" if preview.eligible else f"{action.label}: no eligible email",
        "action": action,
        "words": description,
        "meaning": _EFFECTS[action].format(accounts=account_choice.words),
        "account_choice": choice.make_constraint_field(account_choice, len(preview.eligible)) if restarts else None,
        "preview": preview,
        "skipped": [_describe_skipped(request, why, count) for why, count in preview.skipped.most_common()],
        "included": [(kind.label, _build_exclude_query(request, kind)) for kind in included],
        "button": button,
        "looked_at": LOOKED_AT,
        "in_background": preview.more or len(preview.eligible) > AT_ONCE,
        "at": at.isoformat(),
        "note": note,
        "max_note": rules.MAX_NOTE,
        "times": timing,
        "errors": errors,
        "back": back,
    }
    return TemplateResponse(request, "admin/mails/mail/bulk.html", context, status=400 if errors else 200)


def _start(
    action_request: ActionRequest,
    selected: MailListFilter | list[uuid.UUID],
    preview: ActionPreview,
    *,
    at: dt.datetime,
    **details: Any,
) -> BulkAction:
    """Store the bulk action; carry it out at once if it is small, else leave it to the workers."""
    total = None if preview.more else len(preview.eligible) + preview.skipped.total()
    bulk_action = bulk.create_bulk_action(action_request, selected, at=at, total=total, **details)
    if not preview.more and len(preview.eligible) <= AT_ONCE:
        apply.start_bulk_action(bulk_action, seconds=SECONDS)
    return bulk_action


def _read_also(request: HttpRequest) -> list[Inclusion]:
    """Return which uncertain or rejected emails are included: those asked for, and systemic refusals if selected."""
    requested = request.GET.getlist("included")
    includes_rejected = systemic_refusals.includes_rejected(request.GET.get("q", ""))
    return [kind for kind in Inclusion if kind in requested or (kind == Inclusion.REFUSED and includes_rejected)]


@admin.register(BulkAction)
class BulkActionAdmin(GuardedAdmin):
    """Bulk actions: who started them, why, and their results."""

    empty_sentence = (
        "An action on several emails appears here with its progress and result: select emails in the list of emails, "
        "and choose an action."
    )
    list_display = ("__str__", "who", "requested_at", "result", "finished_at")
    list_filter = ("action",)
    list_per_page = 50

    def has_view_permission(self, request: HttpRequest, obj: BulkAction | None = None) -> bool:
        """Return True for users who may view emails."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: bulk actions start from the list of emails."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: BulkAction | None = None) -> bool:
        """Return False: bulk actions are kept as a record."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: BulkAction | None = None) -> bool:
        """Return False: bulk actions are kept as a record."""
        return False

    @admin.display(description="started by", ordering="requested_by")
    def who(self, bulk_action: BulkAction) -> str:
        """Return who started it."""
        return bulk_action.who

    @admin.display(description="result")
    def result(self, bulk_action: BulkAction) -> str:
        """Return what was done so far."""
        return bulk.describe_progress(bulk_action)

    def get_urls(self) -> list[URLPattern]:
        """Return Django's pages, the live update, and the page that stops it."""
        return [
            path("<uuid:bulk_id>/news/", self.admin_site.admin_view(self.news), name="mails_bulkaction_news"),
            path("<uuid:bulk_id>/stop/", self.admin_site.admin_view(stop_view), name="mails_bulkaction_stop"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the progress; live while it is running."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            bulk_action = get_object_or_404(BulkAction, pk=uuid.UUID(object_id))
        except ValueError:
            raise Http404("No such bulk action.") from None
        context = {
            **self.admin_site.each_context(request),
            **_describe_progress(bulk_action),
            "title": str(bulk_action),
        }
        return TemplateResponse(request, "admin/mails/bulkaction/change_form.html", context)

    def news(self, request: HttpRequest, bulk_id: uuid.UUID) -> HttpResponse:
        """Return the progress for the live page; 204 if it did not change."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        bulk_action = get_object_or_404(BulkAction, pk=bulk_id)
        if bulk_action.finished_at is None and request.GET.get("batches") == str(bulk_action.batches):
            return HttpResponse(status=204)
        return render(request, "admin/mails/bulkaction/_news.html", _describe_progress(bulk_action))


def stop_view(request: HttpRequest, bulk_id: uuid.UUID) -> HttpResponse:
    """Stop a bulk action; completed items are not undone."""
    actions.check_mail_permission(request)
    if request.method == "POST" and not bulk.stop(bulk_id, by=actions.name_actor(request)):
        messages.warning(request, "It has already finished.")
    return redirect("admin:mails_bulkaction_change", bulk_id)


def _describe_progress(bulk_action: BulkAction) -> dict[str, Any]:
    return {
        "bulk": bulk_action,
        "sentence": bulk.describe_progress(bulk_action),
        "skipped": sorted(bulk_action.skipped.items(), key=lambda item: -item[1]),
        "account_choice": AccountChoice.parse(bulk_action.account_choice).words
        if bulk_action.action == Action.REPROCESS
        else "",
        "included": [Inclusion(kind).label for kind in bulk_action.included],
        "list_query": bulk_action.query,
    }


def _parse_action(name: str) -> Action:
    if name not in OFFERED:
        raise Http404("No such bulk action.")
    return Action(name)


def _read_shown_at(request: HttpRequest) -> dt.datetime:
    """Return when the confirmed page was shown, by the database's clock; email received later is excluded."""
    now = database_clock.now()
    try:
        seen = dt.datetime.fromisoformat(request.POST.get("at", ""))
    except ValueError:
        return now
    return min(seen if seen.tzinfo else seen.replace(tzinfo=dt.UTC), now)


_LABELS = {Action.SENT: "Mark as sent", Action.NOT_SENT: "Mark as not sent and retry"}


def list_offered() -> list[tuple[str, str]]:
    """Return the actions that a list offers, with their labels."""
    return [(action.value, _LABELS.get(action, action.label)) for action in OFFERED]


def _label_button(action: Action, preview: ActionPreview) -> str:
    """Return the action and its count: `Cancel 3 emails`."""
    count = len(preview.eligible)
    mails = f"{'more than ' if preview.more else ''}{count:,} email{'' if count == 1 and not preview.more else 's'}"
    return wording.label_action(action, mails)


def _describe_skipped(request: HttpRequest, why: str, count: int) -> dict[str, Any]:
    """Return why some are skipped, how many, and the ways to include or to resolve them."""
    remedies, tone = [], "neutral"
    for kind in Inclusion:
        if why == kind.label:
            tone = "unknown" if kind == Inclusion.UNCERTAIN else "bad"
            remedies = [("Include them", _build_include_query(request, kind))]
    if why == rules.NO_UNTRIED_ACCOUNT:
        remedies = [("Try all accounts again", choice.link_to_every_account(request))]
    if why == rules.NEEDS_CONFIRMATION:
        held = f"{reverse('admin:mails_mail_changelist')}?state=unknown"
        sent, not_sent = (choice.link_to_action(request, action) for action in RESOLVING)
        remedies = [("Mark as sent", sent), ("Mark as not sent", not_sent), ("Show them", held)]
        tone = "unknown"
    return {"why": why, "count": count, "remedies": remedies, "tone": tone}


def _build_include_query(request: HttpRequest, included: Inclusion) -> str:
    query = request.GET.copy()
    query.appendlist("included", included)
    return f"?{query.urlencode()}"


def _build_exclude_query(request: HttpRequest, included: Inclusion) -> str:
    query = request.GET.copy()
    query.setlist("included", [kind for kind in query.getlist("included") if kind != included])
    return f"?{query.urlencode()}"
