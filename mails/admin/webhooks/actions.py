"""Actions on a webhook and on its deliveries. Each page first shows what will happen."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from mails.admin.webhooks import secrets
from mails.admin.webhooks.delivery_list import make_badge
from mails.admin.webhooks.forms import PeriodForm
from mails.admin.webhooks.pages import CHANGE, DELETE, VIEW, check, find, render
from mails.events.webhooks import operations, redelivery
from mails.events.webhooks.operations import WebhookDisabled
from mails.events.webhooks.redelivery import RangeTooLong
from mails.events.webhooks.shown_requests import describe_request
from mails.models import Webhook, WebhookDelivery
from mercury.lib.audit import log as audit

CONFIRMED = "confirmed"
OVERLAPS = (("24", "1 day"), ("1", "1 hour"), ("168", "7 days"), ("0", "not at all: it ends now"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What the page of an action says."""

    title: str
    sentences: tuple[str, ...]
    button: str


_ACTIONS = {
    "test": _Words(
        title="Send a test event?",
        sentences=("Mercury sends an event of the type mercury.test to {url}, before all that waits.",),
        button="Send a test event",
    ),
    "rotate": _Words(
        title="Rotate the secret?",
        sentences=(
            "A new secret is created and shown once on the next page.",
            "For the time you choose, requests to {url} are signed with both, so that the client can switch at any time.",
        ),
        button="Rotate the secret",
    ),
    "disable": _Words(
        title="Disable the webhook?",
        sentences=("Nothing is sent to {url}. Its events wait until it is enabled again.",),
        button="Disable the webhook",
    ),
    "enable": _Words(
        title="Enable the webhook?",
        sentences=("{url} gets what waits for it, and what happened while it was disabled.",),
        button="Enable the webhook",
    ),
}


@require_http_methods(["GET", "POST"])
def action_page(request: HttpRequest, webhook_id: uuid.UUID, verb: str) -> HttpResponse:
    """Test, rotate, disable or enable after confirmation."""
    check(request, VIEW, CHANGE)
    webhook = find(webhook_id)
    words = _ACTIONS.get(verb)
    if words is None:
        raise Http404("No such action.")
    if request.method == "POST":
        return _act(request, webhook, verb)
    context: dict[str, Any] = {
        "title": words.title,
        "sentences": [sentence.format(url=webhook.url) for sentence in words.sentences],
        "button": words.button,
    }
    if verb == "rotate":
        context |= {
            "choices_label": "Keep the previous secret valid for",
            "choices_name": "hours",
            "choices": OVERLAPS,
        }
    if verb == "disable":
        context["fields"] = [{"name": "reason", "label": "Reason", "optional": True, "value": "", "length": 500}]
    return _confirm(request, webhook, context)


def _act(request: HttpRequest, webhook: Webhook, verb: str) -> HttpResponse:
    by = audit.get_person(request)
    match verb:
        case "test":
            try:
                delivery = operations.send_test(webhook, by=by)
            except WebhookDisabled as error:
                messages.error(request, str(error))
                return redirect("webhook", webhook.pk)
            messages.success(request, "The test event is on its way. Reload to see the answer.")
            return redirect("webhook-delivery", webhook.pk, delivery.pk)
        case "rotate":
            hours = request.POST.get("hours", "")
            if hours not in dict(OVERLAPS):
                raise Http404
            secrets.keep(request, webhook, operations.rotate_secret(webhook, by=by, hours=int(hours)))
            messages.success(request, "The secret was rotated.")
        case "disable":
            changed = operations.disable(webhook, by=by, reason=request.POST.get("reason", "").strip())
            messages.success(request, "The webhook is disabled." if changed else "It was disabled already.")
        case _:
            changed = operations.enable(webhook, by=by)
            messages.success(request, "The webhook is enabled." if changed else "It was enabled already.")
    return redirect("webhook", webhook.pk)


@require_http_methods(["GET", "POST"])
def remove_page(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Remove a webhook after confirmation."""
    check(request, VIEW, DELETE)
    webhook = find(webhook_id)
    if request.method == "POST":
        operations.remove(webhook, by=audit.get_person(request))
        messages.success(request, f"The webhook {webhook.url} was removed.")
        return redirect("webhooks")
    context = {
        "title": "Remove the webhook?",
        "sentences": [
            f"{webhook.url} gets no more events, and its deliveries are removed. What waits is not delivered.",
            "To stop it for a while, disable it instead.",
        ],
        "button": "Remove the webhook",
    }
    return _confirm(request, webhook, context)


@require_http_methods(["GET", "POST"])
def period_page(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Deliver the events of a period again: ask for the period, say how many events it has, and do it after confirmation."""
    check(request, VIEW, CHANGE)
    webhook = find(webhook_id)
    form = PeriodForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            if CONFIRMED not in request.POST:
                return _confirm_period(request, webhook, form)
            count = redelivery.redeliver_period(webhook, form.get_period(), by=audit.get_person(request))
        except RangeTooLong as error:
            form.add_error("since", str(error))
        else:
            messages.success(request, f"{_format_events(count)} will be delivered again.")
            return redirect("webhook", webhook.pk)
    context = {
        "title": "Deliver events again",
        "webhook": webhook,
        "form": form,
        "errors": [(form[name].id_for_label, error) for name, listed in form.errors.items() for error in listed],
    }
    return render(request, "admin/webhooks/period.html", context, status=400 if form.errors else 200)


def _confirm_period(request: HttpRequest, webhook: Webhook, form: PeriodForm) -> HttpResponse:
    period = form.get_period()
    count = redelivery.count_period(webhook, period)
    which = " whose delivery was given up" if period.only_failed else ""
    when = f"from {period.since:%Y-%m-%d %H:%M} to {period.until:%Y-%m-%d %H:%M} UTC"
    sentences = [f"{webhook.url} gets {_format_events(count)}{which} {when} once more, with the same ids as before."]
    if webhook.disabled_at:
        sentences.append("The webhook is disabled: the events wait until it is enabled.")
    page = reverse("webhook-period", args=[webhook.pk])
    if not count:
        messages.info(request, f"There is no event{which} {when}.")
        return redirect(page)
    context = {
        "title": f"Deliver {_format_events(count)} again?",
        "sentences": sentences,
        "button": f"Deliver {_format_events(count)} again",
        "hidden": [*form.list_given(period), (CONFIRMED, "yes")],
    }
    return _confirm(request, webhook, context, back=page)


def _format_events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"


@require_GET
def delivery_page(request: HttpRequest, webhook_id: uuid.UUID, delivery_id: int) -> HttpResponse:
    """Show one delivery: its request, its answer, and when it is sent again."""
    check(request, VIEW)
    webhook = find(webhook_id)
    delivery = _find_delivery(webhook, delivery_id)
    may_see = request.user.has_perm("mails.view_mail")
    context = {
        "title": f"Delivery {delivery.pk}",
        "webhook": webhook,
        "delivery": delivery,
        "badge": make_badge(delivery),
        "sent": describe_request(delivery) if may_see else None,
        "no_request": "The event is deleted." if may_see else "You lack the permission to see emails.",
        "may_change": request.user.has_perm(CHANGE),
    }
    return render(request, "admin/webhooks/delivery.html", context)


@require_http_methods(["GET", "POST"])
def redeliver_page(request: HttpRequest, webhook_id: uuid.UUID, delivery_id: int) -> HttpResponse:
    """Deliver one event again after confirmation."""
    check(request, VIEW, CHANGE)
    webhook = find(webhook_id)
    delivery = _find_delivery(webhook, delivery_id)
    if request.method == "POST":
        redelivery.redeliver(delivery, by=audit.get_person(request))
        messages.success(request, "The event will be delivered again.")
        return redirect("webhook-delivery", webhook.pk, delivery.pk)
    sentences = [f"{webhook.url} gets {delivery.event or 'the test event'} once more, with the same webhook-id."]
    if webhook.disabled_at:
        sentences.append("The webhook is disabled: the event waits until it is enabled.")
    context = {"title": "Deliver this event again?", "sentences": sentences, "button": "Deliver again"}
    back = reverse("webhook-delivery", args=[webhook.pk, delivery.pk])
    return _confirm(request, webhook, context, back=back)


def _find_delivery(webhook: Webhook, delivery_id: int) -> WebhookDelivery:
    delivery = WebhookDelivery.objects.filter(webhook=webhook, pk=delivery_id).first()
    if delivery is None:
        raise Http404("No such delivery.")
    delivery.webhook = webhook
    return delivery


def _confirm(request: HttpRequest, webhook: Webhook, context: dict[str, Any], *, back: str = "") -> HttpResponse:
    page = reverse("webhook", args=[webhook.pk])
    trail = [("Webhooks", reverse("webhooks")), (webhook.description or webhook.url, page)]
    return render(request, "admin/confirm.html", {"trail": trail, "back": back or page, **context})
