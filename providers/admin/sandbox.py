"""The sandbox for operators: captured email as a mailbox, and the panel that simulates failures."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from mercury.lib import durations
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.mail import pictures, preview
from mercury.lib.mail.preview import MailPreview
from mercury.lib.rest import large_bodies
from providers import history
from providers.accounts import registry, sandboxes
from providers.kinds.catalog import KEEP_EMAILS
from providers.models import Account
from providers.sandbox import failure_modes, mailbox
from providers.sandbox.failure_modes import SimulatedFailure

MAILS_A_PAGE = 50
READ = "mails.view_mail"  # captured email is as private as any other
_DURATIONS = (("1m", "1 minute"), ("5m", "5 minutes"), ("30m", "30 minutes"), ("1h", "1 hour"))
_KINDS = [(kind.value, f"{kind.label}: {meaning}") for kind, meaning in failure_modes.MEANINGS.items()]


@dataclass(frozen=True, slots=True)
class FailurePanelInput:
    """The input of an account's failure panel, and the error in it."""

    account: str
    kind: str
    value: str
    duration: str
    error: str


@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """Show the emails of one sandbox account, newest first, and the failure panel of each account."""
    _check_permissions(request, "providers.view_account")
    return _show_inbox(request, request.GET.get("account", ""))


def _show_inbox(request: HttpRequest, name: str, typed: FailurePanelInput | None = None) -> HttpResponse:
    accounts = list(Account.objects.filter(kind__in=KEEP_EMAILS).order_by("name"))
    if not accounts:
        registry.load_candidates()
        accounts = list(Account.objects.filter(kind__in=KEEP_EMAILS).order_by("name"))
    shown = next((account for account in accounts if account.name == name), accounts[0] if accounts else None)
    may_read = request.user.has_perm(READ)
    now, words = timezone.now(), request.GET.get("q", "").strip()
    before, after = request.GET.get("before", ""), request.GET.get("after", "")
    context = {
        "title": "Sandbox",
        "boxes": [_describe_mailbox(account, now, typed) for account in accounts],
        "shown": shown,
        "page": mailbox.load_page(shown.name, words=words, before=before, after=after, size=MAILS_A_PAGE)
        if shown and may_read
        else None,
        "may_read": may_read,
        "words": words,
        "failure_kinds": _KINDS,
        "durations": _DURATIONS,
        "error": typed.error if typed else "",
        "may_change": request.user.has_perm("providers.change_account"),
    }
    return _render(request, "admin/sandbox/inbox.html", context, status=400 if typed else 200)


@require_safe
def message(request: HttpRequest, account: str, key: str) -> HttpResponse:
    """Show one captured email: HTML, text, headers, source, files."""
    shown = _read_message(request, account, key)
    headers = {name.lower(): value for name, value in reversed(shown.headers)}
    context = {
        "title": headers.get("subject") or "(no subject)",
        "account": account,
        "preview": shown,
        "parts_at": reverse("sandbox-message", args=[account, key]),
        "images_on": request.GET.get("images") == "on",
        "mail_id": mailbox.parse_mail_id(headers.get("x-mercury-id", "")),
    }
    return _render(request, "admin/sandbox/message.html", context)


@require_safe
def message_html(request: HttpRequest, account: str, key: str) -> HttpResponse:
    """Return the cleaned HTML of one email for the frame; remote images only with `?images=on`."""
    shown = _read_message(request, account, key)
    if not shown.html:
        raise Http404("This email has no HTML.")
    return preview.build_html_response(
        shown,
        remote_images=request.GET.get("images") == "on",
        picture_path=lambda number: reverse("sandbox-picture", args=[account, key, number]),
    )


@require_safe
def message_source(request: HttpRequest, account: str, key: str) -> HttpResponseBase:
    """Return one captured email as a download."""
    return preview.build_source_response(_read_message(request, account, key).source, key)


@require_safe
def message_file(request: HttpRequest, account: str, key: str, number: int) -> HttpResponseBase:
    """Return one file of an email as a download."""
    file = _read_message(request, account, key).find_file(number)
    if file is None:
        raise Http404("This email has no such file.")
    return preview.build_file_response(file.content, file.name)


@require_safe
def message_picture(request: HttpRequest, account: str, key: str, number: int) -> HttpResponse:
    """Return one picture of an email, for the frame that shows its HTML."""
    pictures.check_signature(request)
    file = _read_kept(request, account, key).find_file(number)
    return pictures.build_response(file.content if file else b"")


def _read_message(request: HttpRequest, account: str, key: str) -> MailPreview:
    _check_permissions(request, "providers.view_account", READ)
    _get_account(account)
    return _read_kept(request, account, key)


def _read_kept(request: HttpRequest, account: str, key: str) -> MailPreview:
    try:
        large_bodies.reserve(request, mailbox.get_size(account, key))
        return preview.read(mailbox.read_source(account, key))
    except mailbox.KeptMailNotFound as error:
        raise Http404(str(error)) from error


@require_http_methods(["POST"])
def set_failure_mode(request: HttpRequest, account: str) -> HttpResponse:
    """Simulate a failure on the account for some time, or clear it; an invalid input is named and kept."""
    _check_permissions(request, "providers.change_account")
    row = _get_account(account)
    if not request.POST.get("kind"):
        sandboxes.set_failure_mode(row, None, by=audit.get_person(request))
        messages.success(request, f"Failure mode of {account} cleared.")
        return redirect(f"{reverse('sandbox')}?account={account}")
    kind, value, duration = (request.POST.get(name, "").strip() for name in ("kind", "value", "for"))
    try:
        failure = _parse_failure(kind, value, duration)
    except ValueError as error:
        return _show_inbox(request, account, FailurePanelInput(account, kind, value, duration, str(error)))
    sandboxes.set_failure_mode(row, failure, by=audit.get_person(request))
    messages.success(request, f"{account}: simulating “{failure}” until {failure.until:%H:%M:%S} UTC.")
    return redirect(f"{reverse('sandbox')}?account={account}")


def _parse_failure(kind: str, value: str, duration: str) -> SimulatedFailure:
    until = timezone.now() + min(durations.parse_duration(duration), dt.timedelta(days=1))
    return failure_modes.parse_failure(f"{kind}={value}" if value else kind, until=until)


@require_http_methods(["GET", "HEAD", "POST"])
def clear(request: HttpRequest, account: str) -> HttpResponse:
    """Empty the account's mailbox after confirmation, which shows the number of emails."""
    _check_permissions(request, "providers.change_account")
    row = _get_account(account)
    back = f"{reverse('sandbox')}?account={account}"
    if request.method == "POST":
        removed = _count_emails(mailbox.clear(account))
        history.record(row, by=audit.get_person(request), what=f"mailbox emptied: {removed}", act=Act.DELETE)
        messages.success(request, f"Removed from {account}: {removed}.")
        return redirect(back)
    context = {
        "title": f"Empty the mailbox of {account}?",
        "trail": [("Sandbox", reverse("sandbox"))],
        "sentences": [
            f"The mailbox contains {_count_emails(mailbox.count_messages(account))}; all are removed. This cannot be undone.",
            "Mercury keeps its own record and timeline of each email.",
        ],
        "button": "Empty the mailbox",
        "back": back,
    }
    return _render(request, "admin/confirm.html", context)


def _count_emails(count: int) -> str:
    return "1 email" if count == 1 else f"{count} emails"


def _describe_mailbox(account: Account, now: dt.datetime, typed: FailurePanelInput | None) -> dict[str, Any]:
    failure = sandboxes.get_failure_mode(account)
    is_active = failure is not None and failure.until > now
    return {
        "account": account,
        "count": mailbox.count_messages(account.name),
        "failure_mode": failure if is_active else None,
        "used": registry.is_used(account) and account.enabled,
        "typed": typed if typed and typed.account == account.name else None,
    }


def _get_account(name: str) -> Account:
    account = Account.objects.filter(name=name, kind__in=KEEP_EMAILS).first()
    if account is None:
        raise Http404("No such sandbox account.")
    return account


def _check_permissions(request: HttpRequest, *permissions: str) -> None:
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def _render(request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context}, status=status)
