"""The list of webhooks, the page of one with its deliveries, and the form of its settings."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET, require_http_methods

from mails.admin.webhooks import delivery_list, secrets
from mails.admin.webhooks.forms import WebhookForm
from mails.events.webhooks import operations
from mails.events.webhooks.operations import InvalidChoice, TooManyWebhooks
from mails.events.webhooks.urls import UrlNotAllowed
from mails.models import ApiKey, Webhook, WebhookState
from mails.reporting.webhook_status import COUNTED_AT_MOST, WebhookStatus, find_status
from mercury.lib.audit import log as audit
from mercury.lib.database import database_clock

VIEW, ADD, CHANGE, DELETE = (f"mails.{verb}_webhook" for verb in ("view", "add", "change", "delete"))
BADGES = {
    WebhookState.ACTIVE: ("Active", "ok", "tick"),
    WebhookState.FAILING: ("Failing", "waiting", "again"),
    WebhookState.DISABLED: ("Disabled", "bad", "ban"),
}


@require_GET
def list_page(request: HttpRequest) -> HttpResponse:
    """Show all webhooks, those that need a person first."""
    check(request, VIEW)
    rows = list(Webhook.objects.select_related("api_key").order_by("id"))
    status = find_status([row.pk for row in rows])
    order = (WebhookState.DISABLED, WebhookState.FAILING, WebhookState.ACTIVE)
    rows.sort(key=lambda row: order.index(row.state))
    context = {
        "title": "Webhooks",
        "webhooks": [{"row": row, "badge": make_badge(row), "figures": make_figures(status[row.pk])} for row in rows],
        "sentence": _summarize(rows),
        "may_add": request.user.has_perm(ADD),
        "has_key": ApiKey.objects.filter(revoked_at=None).exists(),
    }
    return render(request, "admin/webhooks/list.html", context)


@require_GET
def webhook_page(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Show one webhook: its state, its figures, its settings and its deliveries; after a rotation also its secret."""
    check(request, VIEW)
    webhook = find(webhook_id)
    context = {
        "title": webhook.description or webhook.url,
        "webhook": webhook,
        "badge": make_badge(webhook),
        "figures": make_figures(find_status([webhook.pk])[webhook.pk]),
        "disabled_by": webhook.disabled_by.removeprefix("user:"),
        "created_by": webhook.created_by.removeprefix("user:"),
        "key_works": webhook.api_key.is_usable(database_clock.now()),
        "secret": secrets.pop(request, webhook),
        "log": delivery_list.load(webhook, request.GET),
        "may_change": request.user.has_perm(CHANGE),
        "may_delete": request.user.has_perm(DELETE),
    }
    return render(request, "admin/webhooks/webhook.html", context)


@require_http_methods(["GET", "POST"])
def add_page(request: HttpRequest) -> HttpResponse:
    """Add a webhook; its page then shows the secret once."""
    check(request, VIEW, ADD)
    form = WebhookForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = operations.create(by=audit.get_person(request), **form.cleaned_data)
        except (UrlNotAllowed, InvalidChoice, TooManyWebhooks) as error:
            form.add_refusal(error)
        else:
            secrets.keep(request, made.webhook, made.secret)
            messages.success(request, "The webhook was added.")
            return redirect("webhook", made.webhook.pk)
    return _show_form(request, form, title="Add a webhook", button="Add the webhook")


@require_http_methods(["GET", "POST"])
def change_page(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Change the settings of a webhook."""
    check(request, VIEW, CHANGE)
    webhook = find(webhook_id)
    form = WebhookForm(request.POST if request.method == "POST" else None, webhook=webhook)
    if request.method == "POST" and form.is_valid():
        try:
            operations.update(webhook, by=audit.get_person(request), **form.cleaned_data)
        except (UrlNotAllowed, InvalidChoice) as error:
            form.add_refusal(error)
        else:
            messages.success(request, "The webhook was saved.")
            return redirect("webhook", webhook.pk)
    return _show_form(request, form, title="Change the webhook", button="Save", webhook=webhook)


def find(webhook_id: uuid.UUID) -> Webhook:
    """Return a webhook. Raises Http404."""
    webhook = Webhook.objects.select_related("api_key").filter(pk=webhook_id).first()
    if webhook is None:
        raise Http404("No such webhook.")
    return webhook


def check(request: HttpRequest, *permissions: str) -> None:
    """Raise PermissionDenied unless the person has these permissions."""
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def render(request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Return a page of the admin."""
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context}, status=status)


def make_badge(webhook: Webhook) -> dict[str, str]:
    """Return word, tone and icon of its state."""
    word, tone, icon = BADGES[webhook.state]
    return {"word": word, "tone": tone, "icon": icon}


def make_figures(status: WebhookStatus) -> dict[str, Any]:
    """Return how it does, in words."""
    more = status.waiting > COUNTED_AT_MOST
    return {
        "delivered": "–" if status.share is None else f"{status.share:.0%}",
        "waiting": f"{min(status.waiting, COUNTED_AT_MOST):,}{'+' if more else ''}",
        "oldest": status.oldest,
    }


def _summarize(rows: list[Webhook]) -> str:
    disabled = sum(row.state == WebhookState.DISABLED for row in rows)
    failing = sum(row.state == WebhookState.FAILING for row in rows)
    parts = [f"{count} {word}" for count, word in ((disabled, "disabled"), (failing, "failing")) if count]
    if parts:
        return f"Of {len(rows)} webhook{'s' if len(rows) > 1 else ''}, {' and '.join(parts)}."
    return "All webhooks accept events." if rows else ""


def _show_form(
    request: HttpRequest, form: WebhookForm, *, title: str, button: str, webhook: Webhook | None = None
) -> HttpResponse:
    errors = [
        (form[name].id_for_label if name in form.fields else "", error)
        for name, listed in form.errors.items()
        for error in listed
    ]
    context = {"title": title, "form": form, "button": button, "webhook": webhook, "errors": errors}
    return render(request, "admin/webhooks/form.html", context, status=400 if form.errors else 200)
