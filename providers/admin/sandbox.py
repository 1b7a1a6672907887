"""The sandbox for operators: what its accounts took, as a mailbox, and the panel that makes them misbehave."""

import datetime as dt
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from mercury.lib import durations
from providers import registry
from providers.models import Account
from providers.sandbox import faults, mailbox
from providers.sandbox.faults import FaultKind

MAILS_SHOWN = 100
SOURCE_SHOWN = 200_000  # bytes
_DURATIONS = (("1m", "1 minute"), ("5m", "5 minutes"), ("30m", "30 minutes"), ("1h", "1 hour"))


@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """The mails of one sandbox account, newest first, and the fault panel of each."""
    _check(request, "providers.view_account")
    accounts = list(Account.objects.filter(kind="sandbox").order_by("name"))
    if not accounts:
        registry.candidates()
        accounts = list(Account.objects.filter(kind="sandbox").order_by("name"))
    shown = next((one for one in accounts if one.name == request.GET.get("account")), accounts[0] if accounts else None)
    now = timezone.now()
    context = {
        "title": "Sandbox",
        "boxes": [_box(account, now) for account in accounts],
        "shown": shown,
        "kept": mailbox.messages(shown.name, limit=MAILS_SHOWN) if shown else [],
        "limit": MAILS_SHOWN,
        "fault_kinds": FaultKind.choices,
        "durations": _DURATIONS,
        "may_change": request.user.has_perm("providers.change_account"),
    }
    return _page(request, "admin/sandbox/inbox.html", context)


@require_safe
def message(request: HttpRequest, account: str, key: str) -> HttpResponse:
    """One mail as the sandbox took it: text, headers, source. Its HTML is never rendered here."""
    _check(request, "providers.view_account")
    _account(account)
    try:
        source = mailbox.source(account, key)
        parsed = mailbox.read(account, key)
    except mailbox.NoSuchMail as error:
        raise Http404(str(error)) from error
    body = parsed.get_body(preferencelist=("plain",))
    context = {
        "title": str(parsed.get("Subject", "")) or "(no subject)",
        "account": account,
        "headers": [(name, str(value)) for name, value in parsed.items()],
        "text": body.get_content() if body is not None else "",
        "source": source[:SOURCE_SHOWN].decode("utf-8", "replace"),
        "cut": len(source) > SOURCE_SHOWN,
        "mail_id": str(parsed.get("X-Mercury-ID", "")),
    }
    return _page(request, "admin/sandbox/message.html", context)


@require_http_methods(["POST"])
def set_fault(request: HttpRequest, account: str) -> HttpResponse:
    """Make the account misbehave until a time, or behave again."""
    _check(request, "providers.change_account")
    row = _account(account)
    kind, value = request.POST.get("kind", ""), request.POST.get("value", "").strip()
    if not kind:
        registry.set_fault(row, None)
        messages.success(request, f"The sandbox {account} behaves again.")
        return redirect(f"{reverse('sandbox')}?account={account}")
    try:
        until = timezone.now() + min(durations.parse(request.POST.get("for", "")), dt.timedelta(days=1))
        fault = faults.parse(f"{kind}={value}" if value else kind, until=until)
    except ValueError as error:
        messages.error(request, f"The sandbox {account} was not changed. {error}")
        return redirect(f"{reverse('sandbox')}?account={account}")
    registry.set_fault(row, fault)
    messages.success(request, f"The sandbox {account} is told {fault} until {until:%H:%M:%S} UTC.")
    return redirect(f"{reverse('sandbox')}?account={account}")


@require_http_methods(["GET", "HEAD", "POST"])
def clear(request: HttpRequest, account: str) -> HttpResponse:
    """Empty the account's mailbox, after saying how many mails that are."""
    _check(request, "providers.change_account")
    _account(account)
    back = f"{reverse('sandbox')}?account={account}"
    if request.method == "POST":
        messages.success(request, f"Removed from {account}: {_mails(mailbox.clear(account))}.")
        return redirect(back)
    context = {
        "title": f"Empty the mailbox of {account}?",
        "trail": [("Sandbox", reverse("sandbox"))],
        "sentences": [
            f"The sandbox's mailbox holds {_mails(mailbox.count(account))}; they are removed. This cannot be undone.",
            "Mercury's own record of each mail and its timeline stay.",
        ],
        "button": "Empty the mailbox",
        "back": back,
    }
    return _page(request, "admin/confirm.html", context)


def _mails(count: int) -> str:
    return "1 mail" if count == 1 else f"{count} mails"


def _box(account: Account, now: dt.datetime) -> dict[str, Any]:
    fault = registry.fault_of(account)
    acting = fault is not None and fault.until > now
    return {
        "account": account,
        "count": mailbox.count(account.name),
        "fault": fault if acting else None,
        "used": registry.is_used(account) and account.enabled,
    }


def _account(name: str) -> Account:
    account = Account.objects.filter(name=name, kind="sandbox").first()
    if account is None:
        raise Http404("There is no such sandbox account.")
    return account


def _check(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context})
