"""Provider accounts for operators: state of the breakers, settings without secrets, history, and actions.

Each action has a page that first shows what it will do.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from mercury.lib.audit import log as audit
from mercury.lib.guarded_admin import GuardedAdmin
from providers import history
from providers.accounts import delivery_test, registry, sandboxes
from providers.accounts.config import AccountConfig
from providers.accounts.errors import AccountError
from providers.accounts.options import list_shown_options
from providers.accounts.registry import Candidate
from providers.admin import account_actions, delivery_tests
from providers.admin.account_actions import REASON_FIELD, WITH_REASON, is_open
from providers.admin.forms import AccountForm
from providers.health.breaker import check_permission
from providers.kinds.catalog import KINDS, delivers
from providers.models import Account, BreakerChange
from providers.quotas.rules import FIELDS as QUOTA_FIELDS
from providers.routing.quota_status import describe_quota
from providers.routing.refusing_accounts import describe_account, load_refusals
from providers.sandbox.failure_modes import SimulatedFailure

HISTORY_SHOWN = 50
INITIAL = ("weight", "priority", "rate", *QUOTA_FIELDS, "trust_500", "enabled")
_MANAGE_MORE = "?all=1"


@admin.register(Account)
class AccountAdmin(GuardedAdmin):
    """Accounts with the state of their breakers. Only `registry` writes options."""

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        """Return False: the action `delete` asks `registry`; Django's deletion would not."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Return Django's pages, and those of the actions."""
        wrap = self.admin_site.admin_view
        ours = [
            path("test/", wrap(self.test_all_view), name="providers_account_test_all"),
            path("<int:account_id>/edit/", wrap(self.edit_view), name="providers_account_edit"),
            path("<int:account_id>/test/", wrap(self.test_view), name="providers_account_test"),
            path("<int:account_id>/action/<str:name>/", wrap(self.action_view), name="providers_account_action"),
        ]
        return [*ours, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show all accounts, failing ones first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        candidates = registry.load_candidates()
        refusals = load_refusals(candidates, now)
        rows = [_describe_account(candidate, refusals, now) for candidate in candidates]
        rows.sort(key=lambda row: (not row["trouble"], not row["candidate"].enabled, row["candidate"].config.name))
        context = {
            **self.admin_site.each_context(request),
            "title": "Providers",
            "rows": rows,
            "sandbox_only": not any(delivers(row["candidate"].config.kind) for row in rows),
            "kinds": KINDS.values(),
            "may_add": self.has_add_permission(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/providers/account/change_list.html", context)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the choice of a provider kind, then its form."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        kind = KINDS.get(request.GET.get("kind", ""))
        if kind is None:
            context = {"title": "Add an account", "kinds": KINDS.values()}
            return self._render(request, "admin/providers/account/choose_kind.html", context)
        form = AccountForm(request.POST or None, kind=kind.key)
        if request.method == "POST" and form.is_valid() and (account := form.save(by=audit.get_person(request))):
            messages.success(request, f"Account {account.name} was added. Send a test email to check that it works.")
            return redirect("admin:providers_account_change", account.pk)
        return self._show_form(request, form, title=f"New {kind.label} account", button="Add the account", back="")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the state of the account, its settings without secrets, and its history."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        account, candidate = _get_account(object_id)
        now = timezone.now()
        lines = BreakerChange.objects.filter(account=account)
        changes = lines if "all" in request.GET else lines[:HISTORY_SHOWN]
        context = {
            "title": account.name,
            "account": account,
            "kind": KINDS.get(account.kind),
            "options": list_shown_options(account),
            "changes": changes,
            "more_changes": _MANAGE_MORE if len(changes) == HISTORY_SHOWN else "",
            "actions": account_actions.list_offered(request, account, candidate)
            if self.has_change_permission(request)
            else [],
            "earlier": history.get_deleted_at(account.name),
            "may_change": self.has_change_permission(request),
            "failure_mode": _get_active_failure_mode(account),
            "deadline": settings.MERCURY_SEND_TIMEOUT.total_seconds(),
            "connect": settings.MERCURY_CONNECT_TIMEOUT.total_seconds(),
            **_describe_account(candidate, load_refusals([candidate], now), now),
        }
        return self._render(request, "admin/providers/account/change_form.html", context)

    def edit_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Change weight, priority, rate limit and, for accounts added here, options; secrets are written, never read."""
        account, _candidate = self._get_for_change(request, account_id)
        initial = {name: getattr(account, name) for name in INITIAL}
        form = AccountForm(request.POST or None, kind=account.kind, account=account, initial=initial)
        if request.method == "POST" and form.is_valid() and form.save(by=audit.get_person(request)):
            messages.success(request, f"Account {account.name} was saved.")
            return redirect("admin:providers_account_change", account.pk)
        back = reverse("admin:providers_account_change", args=[account.pk])
        return self._show_form(request, form, title=f"Change {account.name}", button="Save", back=back)

    def action_view(self, request: HttpRequest, account_id: int, name: str) -> HttpResponse:
        """Show what the action will do, and run it after confirmation."""
        account, candidate = self._get_for_change(request, account_id)
        if name == "delete" and not request.user.has_perm("providers.delete_account"):
            raise PermissionDenied
        action = next(
            (action for action in account_actions.list_possible(account, candidate) if action.name == name), None
        )
        if action is None:
            raise Http404("This action is not possible for this account now.")
        errors = []
        if request.method == "POST":
            try:
                action.run(
                    account, audit.get_person(request), request.POST.get("why", "").strip()[: REASON_FIELD["length"]]
                )
            except AccountError as error:
                errors.append(str(error))
            else:
                messages.success(request, action.done.format(name=account.name))
                page = "admin:providers_account_changelist" if name == "delete" else "admin:providers_account_change"
                return redirect(page) if name == "delete" else redirect(page, account.pk)
        words = {"name": account.name, "weight": account.weight, "others": account_actions.describe_others(candidate)}
        context = {
            "title": action.title.format(**words),
            "trail": _make_trail(account),
            "sentences": [sentence.format(**words) for sentence in action.sentences],
            "button": action.button,
            "errors": errors,
            "fields": [REASON_FIELD] if name in WITH_REASON else [],
            "back": reverse("admin:providers_account_change", args=[account.pk]),
        }
        return self._render(request, "admin/confirm.html", context)

    def test_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Send one email through this account, ignoring its breaker, and show the result."""
        account, candidate = self._get_for_change(request, account_id)
        title = f"Send a test email through {account.name}"
        return self._show_test(request, [candidate.config], {"title": title, "trail": _make_trail(account)})

    def test_all_view(self, request: HttpRequest) -> HttpResponse:
        """Send one email through each usable account, all at the same time, and show the results."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        usable = [candidate.config for candidate in registry.load_candidates() if candidate.usable]
        trail = [("Providers", reverse("admin:providers_account_changelist"))]
        return self._show_test(request, usable, {"title": "Send a test email through every account", "trail": trail})

    def _show_test(self, request: HttpRequest, configs: list[AccountConfig], context: dict[str, Any]) -> HttpResponse:
        only_sandboxes = not any(delivers(config.kind) for config in configs)
        nobody = delivery_test.PLACEHOLDER_ADDRESS if only_sandboxes else ""
        own = request.user.email or nobody  # type: ignore[union-attr]
        sender = request.POST.get("sender", own).strip() or nobody
        recipient = request.POST.get("recipient", own).strip() or nobody
        results: list[dict[str, str]] = []
        errors: list[str] = []
        if request.method == "POST" and configs:
            errors = [
                delivery_tests.describe_invalid_address(address)
                for address in (sender, recipient)
                if not delivery_tests.is_address(address)
            ]
            if not errors:
                results, errors = delivery_tests.run_tests(request, configs, sender=sender, recipient=recipient)
        context |= {
            "accounts": [config.name for config in configs],
            "sender": sender,
            "recipient": recipient,
            "results": results,
            "errors": errors,
            "sandboxes": [config.name for config in configs if not delivers(config.kind)],
            "deadline": delivery_test.get_time_limit(configs),
        }
        return self._render(request, "admin/providers/account/test.html", context)

    def _get_for_change(self, request: HttpRequest, account_id: int) -> tuple[Account, Candidate]:
        if not self.has_change_permission(request):
            raise PermissionDenied
        return _get_account(str(account_id))

    def _show_form(
        self, request: HttpRequest, form: AccountForm, *, title: str, button: str, back: str
    ) -> HttpResponse:
        context = {
            "title": title,
            "form": form,
            "button": button,
            "back": back or reverse("admin:providers_account_changelist"),
        }
        return self._render(request, "admin/providers/account/edit.html", context)

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        status = 400 if context.get("errors") or (context.get("form") and context["form"].errors) else 200
        whole = {**self.admin_site.each_context(request), **context}
        return TemplateResponse(request, template, whole, status=status)


def _get_account(object_id: str) -> tuple[Account, Candidate]:
    candidates = {str(candidate.id): candidate for candidate in registry.load_candidates()}
    account = Account.objects.filter(pk=object_id).first() if object_id in candidates else None
    if account is None:
        raise Http404("No such account.")
    return account, candidates[object_id]


def _get_active_failure_mode(account: Account) -> SimulatedFailure | None:
    """Return the failure that a sandbox account simulates now; None once it has ended."""
    failure = sandboxes.get_failure_mode(account)
    return failure if failure and failure.until > timezone.now() else None


def _describe_account(candidate: Candidate, refusals: Mapping[str, str], now: dt.datetime) -> dict[str, Any]:
    kind = KINDS.get(candidate.config.kind)
    return {
        "candidate": candidate,
        "breaker": candidate.breaker,
        "doing": describe_account(candidate, refusals, now),
        "refusing": refusals.get(candidate.config.name, ""),
        "permission": check_permission(candidate.breaker, now),
        "quota": describe_quota(candidate, now),
        "kind_label": kind.label if kind else candidate.config.kind,
        "trouble": candidate.enabled and (is_open(candidate) or candidate.config.name in refusals),
    }


def _make_trail(account: Account) -> list[tuple[str, str]]:
    return [
        ("Providers", reverse("admin:providers_account_changelist")),
        (account.name, reverse("admin:providers_account_change", args=[account.pk])),
    ]
