"""Provider accounts for operators: state of the breakers, settings without secrets, history, and actions.

Each action has a page that first shows what it will do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import validate_email
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from mercury.lib.audit import log as audit
from mercury.lib.guarded_admin import GuardedAdmin
from providers import history
from providers.accounts import registration, registry, sandboxes, test_send
from providers.accounts.config import AccountConfig
from providers.accounts.errors import AccountError
from providers.accounts.options import list_shown_options
from providers.accounts.registry import Candidate
from providers.admin.forms import AccountForm
from providers.health import breaker_store
from providers.health.breaker import check_permission, describe_breaker
from providers.kinds.capabilities import KINDS
from providers.models import Account, AccountSource, BreakerChange, BreakerMode, BreakerState
from providers.outcomes import Accepted, FailureClass, Outcome, Refused, Unknown

HISTORY_SHOWN = 50
_MANAGE_MORE = "?all=1"


@dataclass(frozen=True, slots=True)
class Action:
    """An action of an operator on an account: its words, and the function that runs it."""

    name: str
    button: str
    title: str
    sentences: tuple[str, ...]
    done: str
    run: Callable[[Account, str, str], object]
    danger: bool = False


def _force(mode: BreakerMode) -> Callable[[Account, str, str], object]:
    return lambda account, by, why: breaker_store.force(account.name, mode, by=by, why=why)


def _enable(enabled: bool) -> Callable[[Account, str, str], object]:
    return lambda account, by, why: registration.update(account, by=by, enabled=enabled, why=why)


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "force-open",
            "Force open",
            "Force the breaker of {name} open?",
            (
                "No mail goes to {name} until someone closes the breaker or sets it to automatic.",
                "{others}",
            ),
            "The breaker of {name} is forced open.",
            _force(BreakerMode.OPEN),
            danger=True,
        ),
        Action(
            "force-closed",
            "Force closed",
            "Force the breaker of {name} closed?",
            (
                "Mail keeps going to {name} regardless of errors, until someone sets the breaker to automatic.",
                "Each email that it refuses goes to another account.",
            ),
            "The breaker of {name} is forced closed.",
            _force(BreakerMode.CLOSED),
        ),
        Action(
            "automatic",
            "Back to automatic",
            "Return the breaker of {name} to automatic?",
            (
                "It starts closed, opens automatically after five errors within a minute, and tests for recovery automatically.",
            ),
            "The breaker of {name} is automatic.",
            _force(BreakerMode.AUTO),
        ),
        Action(
            "probe",
            "Probe now",
            "Send a probe to {name} now?",
            (
                "The next email goes to {name} as a probe, without waiting for the time set by the breaker.",
                "If it is accepted, the breaker closes; if not, the breaker stays open and the email goes to another account.",
            ),
            "{name} will be tested with the next email.",
            lambda account, by, why: breaker_store.request_probe(account.name, by=by),
        ),
        Action(
            "disable",
            "Disable",
            "Disable {name}?",
            ("No new email goes to {name} until it is enabled. Requests in progress finish.", "{others}"),
            "Account {name} is disabled.",
            _enable(enabled=False),
            danger=True,
        ),
        Action(
            "enable",
            "Enable",
            "Enable {name}?",
            ("Email goes to {name} again, with weight {weight}.",),
            "Account {name} is enabled.",
            _enable(enabled=True),
        ),
        Action(
            "delete",
            "Delete",
            "Delete {name}?",
            (
                "Its options and breaker are deleted. Its history stays, and emails and events keep its name.",
                "This cannot be undone. To stop it temporarily, disable it.",
                "{others}",
            ),
            "Account {name} is deleted.",
            lambda account, by, why: registration.remove(account, by=by),
            danger=True,
        ),
    )
}


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
        rows = [_describe_account(candidate, now) for candidate in registry.load_candidates()]
        rows.sort(key=lambda row: (not row["trouble"], not row["candidate"].enabled, row["candidate"].config.name))
        context = {
            **self.admin_site.each_context(request),
            "title": "Providers",
            "rows": rows,
            "sandbox_only": all(row["candidate"].config.kind == "sandbox" for row in rows),
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
        if request.method == "POST" and form.is_valid() and (account := form.save(by=audit.person(request))):
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
        lines = BreakerChange.objects.filter(account=account)
        changes = lines if "all" in request.GET else lines[:HISTORY_SHOWN]
        context = {
            "title": account.name,
            "account": account,
            "kind": KINDS.get(account.kind),
            "options": list_shown_options(account),
            "changes": changes,
            "more_changes": _MANAGE_MORE if len(changes) == HISTORY_SHOWN else "",
            "actions": _list_offered(request, account, candidate) if self.has_change_permission(request) else [],
            "earlier": history.get_deleted_at(account.name),
            "may_change": self.has_change_permission(request),
            "fault": sandboxes.get_failure_mode(account),
            "deadline": settings.MERCURY_SEND_TIMEOUT.total_seconds(),
            "connect": settings.MERCURY_CONNECT_TIMEOUT.total_seconds(),
            **_describe_account(candidate, timezone.now()),
        }
        return self._render(request, "admin/providers/account/change_form.html", context)

    def edit_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Change weight, rate limit and, for accounts added here, options; secrets are written, never read."""
        account, _candidate = self._get_for_change(request, account_id)
        initial = {name: getattr(account, name) for name in ("weight", "rate", "trust_500", "enabled")}
        form = AccountForm(request.POST or None, kind=account.kind, account=account, initial=initial)
        if request.method == "POST" and form.is_valid() and form.save(by=audit.person(request)):
            messages.success(request, f"Account {account.name} was saved.")
            return redirect("admin:providers_account_change", account.pk)
        back = reverse("admin:providers_account_change", args=[account.pk])
        return self._show_form(request, form, title=f"Change {account.name}", button="Save", back=back)

    def action_view(self, request: HttpRequest, account_id: int, name: str) -> HttpResponse:
        """Show what the action will do, and run it after confirmation."""
        account, candidate = self._get_for_change(request, account_id)
        if name == "delete" and not request.user.has_perm("providers.delete_account"):
            raise PermissionDenied
        action = next((action for action in _list_possible(account, candidate) if action.name == name), None)
        if action is None:
            raise Http404("This action is not possible for this account now.")
        errors = []
        if request.method == "POST":
            try:
                action.run(account, audit.person(request), request.POST.get("why", "").strip()[: _WHY["length"]])
            except AccountError as error:
                errors.append(str(error))
            else:
                messages.success(request, action.done.format(name=account.name))
                page = "admin:providers_account_changelist" if name == "delete" else "admin:providers_account_change"
                return redirect(page) if name == "delete" else redirect(page, account.pk)
        words = {"name": account.name, "weight": account.weight, "others": _describe_others(candidate)}
        context = {
            "title": action.title.format(**words),
            "trail": _make_trail(account),
            "sentences": [sentence.format(**words) for sentence in action.sentences],
            "button": action.button,
            "errors": errors,
            "fields": [_WHY] if name in _WITH_REASON else [],
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
        only_sandboxes = all(config.kind == "sandbox" for config in configs)
        nobody = test_send.PLACEHOLDER_ADDRESS if only_sandboxes else ""
        own = request.user.email or nobody  # type: ignore[union-attr]
        sender = request.POST.get("sender", own).strip() or nobody
        recipient = request.POST.get("recipient", own).strip() or nobody
        results: list[dict[str, str]] = []
        errors: list[str] = []
        if request.method == "POST" and configs:
            errors = [_describe_invalid_address(address) for address in (sender, recipient) if not _is_address(address)]
            if not errors:
                results, errors = _run_tests(request, configs, sender=sender, recipient=recipient)
        context |= {
            "accounts": [config.name for config in configs],
            "sender": sender,
            "recipient": recipient,
            "results": results,
            "errors": errors,
            "sandboxes": [config.name for config in configs if config.kind == "sandbox"],
            "deadline": test_send.get_time_limit(configs),
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


_WITH_REASON = ("force-open", "force-closed", "automatic", "disable", "enable")
_WHY: dict[str, Any] = {
    "name": "why",
    "label": "Reason",
    "optional": True,
    "value": "",
    "note": "Recorded in the account's history.",
    "length": 150,
}


def _get_account(object_id: str) -> tuple[Account, Candidate]:
    candidates = {str(candidate.id): candidate for candidate in registry.load_candidates()}
    account = Account.objects.filter(pk=object_id).first() if object_id in candidates else None
    if account is None:
        raise Http404("No such account.")
    return account, candidates[object_id]


def _describe_account(candidate: Candidate, now: Any) -> dict[str, Any]:
    kind = KINDS.get(candidate.config.kind)
    return {
        "candidate": candidate,
        "breaker": candidate.breaker,
        "doing": describe_breaker(candidate.breaker, now),
        "permission": check_permission(candidate.breaker, now),
        "kind_label": kind.label if kind else candidate.config.kind,
        "trouble": candidate.enabled and _is_open(candidate),
    }


def _is_open(candidate: Candidate) -> bool:
    breaker = candidate.breaker
    return breaker.mode == BreakerMode.OPEN or (
        breaker.mode == BreakerMode.AUTO and breaker.state != BreakerState.CLOSED
    )


def _list_possible(account: Account, candidate: Candidate) -> list[Action]:
    """Return the actions that change something now."""
    mode = candidate.breaker.mode
    fitting = {
        "force-open": mode != BreakerMode.OPEN,
        "force-closed": mode != BreakerMode.CLOSED,
        "automatic": mode != BreakerMode.AUTO,
        "probe": mode == BreakerMode.AUTO and candidate.breaker.state == BreakerState.OPEN,
        "disable": account.enabled,
        "enable": not account.enabled and registry.is_used(account),
        "delete": account.source == AccountSource.DATABASE
        or (account.source == AccountSource.ENVIRONMENT and not candidate.configured),
    }
    return [action for name, action in ACTIONS.items() if fitting[name]]


def _list_offered(request: HttpRequest, account: Account, candidate: Candidate) -> list[Action]:
    """Return the possible actions that the user is allowed to run."""
    may_delete = request.user.has_perm("providers.delete_account")
    return [action for action in _list_possible(account, candidate) if may_delete or action.name != "delete"]


def _describe_others(candidate: Candidate) -> str:
    """Return which accounts get the email instead, in a sentence."""
    names = [
        other.config.name
        for other in registry.load_candidates()
        if other.id != candidate.id and other.enabled and other.configured and not _is_open(other)
    ]
    if not names:
        return "No other account is available: all email is queued until one is."
    return f"Email goes to {', '.join(names)} instead."


def _make_trail(account: Account) -> list[tuple[str, str]]:
    return [
        ("Providers", reverse("admin:providers_account_changelist")),
        (account.name, reverse("admin:providers_account_change", args=[account.pk])),
    ]


def _run_tests(
    request: HttpRequest, configs: list[AccountConfig], *, sender: str, recipient: str
) -> tuple[list[dict[str, str]], list[str]]:
    """Send the tests; return the result of each, or the error that prevented them."""
    try:
        outcomes = test_send.run(
            configs, sender=sender, recipient=recipient, by=audit.person(request), person=request.user
        )
    except test_send.DeliveryTestNotAllowed as error:
        return [], [str(error)]
    return [_describe_outcome(config.name, outcome) for config, outcome in zip(configs, outcomes, strict=True)], []


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _describe_invalid_address(text: str) -> str:
    return f"“{text}” is not a valid email address. Example: hera@olimpus.com."


def _describe_outcome(account: str, outcome: Outcome) -> dict[str, str]:
    """Return the result of a test as a badge and a sentence."""
    match outcome:
        case Accepted():
            message_id = f" Message id: {outcome.provider_message_id}." if outcome.provider_message_id else ""
            words = f"{account} accepted it ({outcome.status_code}).{message_id}"
            return {"tone": "ok", "icon": "tick", "word": "Accepted", "words": words}
        case Refused():
            words = f"{account}: {FailureClass(outcome.failure_class).label}, {outcome.reason_code}: {outcome.reason}"
            return {"tone": "bad", "icon": "cross", "word": "Refused", "words": words}
        case Unknown():
            words = f"{account} did not confirm; it may have been sent. {outcome.reason_code}: {outcome.reason}"
            return {"tone": "unknown", "icon": "question", "word": "Outcome unknown", "words": words}
