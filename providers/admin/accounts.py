"""Provider accounts for operators: what each breaker does, settings without secrets, history, and what may be done.

Each action has a page that says first what it will do.
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
    """Something that an operator may do with an account: its words, and what does it."""

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
                "No mail goes to {name} until somebody closes the breaker or gives it back to its arithmetic.",
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
                "Mail goes to {name}, whatever it answers, until somebody gives the breaker back to its arithmetic.",
                "Each mail that it refuses goes on to another account.",
            ),
            "The breaker of {name} is forced closed.",
            _force(BreakerMode.CLOSED),
        ),
        Action(
            "automatic",
            "Back to automatic",
            "Give the breaker of {name} back to its arithmetic?",
            ("It starts closed, opens by itself after five faults within a minute, and probes by itself.",),
            "The breaker of {name} is automatic.",
            _force(BreakerMode.AUTO),
        ),
        Action(
            "probe",
            "Probe now",
            "Probe {name} now?",
            (
                "The next mail goes to {name} as its probe, without waiting for the time that its breaker has set.",
                "If the probe is answered, the breaker closes; if not, it stays open, and the mail goes on to another account.",
            ),
            "{name} is probed with the next mail.",
            lambda account, by, why: breaker_store.request_probe(account.name, by=by),
        ),
        Action(
            "disable",
            "Disable",
            "Disable {name}?",
            ("No new mail goes to {name} until it is enabled. A call under way ends as it would have.", "{others}"),
            "The account {name} is disabled.",
            _enable(enabled=False),
            danger=True,
        ),
        Action(
            "enable",
            "Enable",
            "Enable {name}?",
            ("Mail goes to {name} from now on, by its weight of {weight}.",),
            "The account {name} is enabled.",
            _enable(enabled=True),
        ),
        Action(
            "delete",
            "Delete",
            "Delete {name}?",
            (
                "Its options and breaker are deleted. Its history stays, and mails and events keep its name.",
                "This cannot be undone. To stop it for a while, disable it.",
                "{others}",
            ),
            "The account {name} is deleted.",
            lambda account, by, why: registration.remove(account, by=by),
            danger=True,
        ),
    )
}


@admin.register(Account)
class AccountAdmin(GuardedAdmin):
    """Accounts with the state of their breakers. Options are written by `registry` only."""

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        """Deleting is an action of its own, which asks `registry`; Django's bulk deletion would not."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Django's pages, and those of the actions."""
        wrap = self.admin_site.admin_view
        ours = [
            path("test/", wrap(self.test_all_view), name="providers_account_test_all"),
            path("<int:account_id>/edit/", wrap(self.edit_view), name="providers_account_edit"),
            path("<int:account_id>/test/", wrap(self.test_view), name="providers_account_test"),
            path("<int:account_id>/action/<str:name>/", wrap(self.action_view), name="providers_account_action"),
        ]
        return [*ours, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """All accounts, those in trouble first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        rows = [_row(candidate, now) for candidate in registry.load_candidates()]
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
        """Which kind, then its form."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        kind = KINDS.get(request.GET.get("kind", ""))
        if kind is None:
            context = {"title": "Add an account", "kinds": KINDS.values()}
            return self._page(request, "admin/providers/account/choose_kind.html", context)
        form = AccountForm(request.POST or None, kind=kind.key)
        if request.method == "POST" and form.is_valid() and (account := form.save(by=audit.person(request))):
            messages.success(request, f"The account {account.name} is added. Send a test mail to see whether it works.")
            return redirect("admin:providers_account_change", account.pk)
        return self._form(request, form, title=f"New {kind.label} account", button="Add the account", back="")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the account does now, its settings without secrets, and its history."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        account, candidate = _found(object_id)
        lines = BreakerChange.objects.filter(account=account)
        changes = lines if "all" in request.GET else lines[:HISTORY_SHOWN]
        context = {
            "title": account.name,
            "account": account,
            "kind": KINDS.get(account.kind),
            "options": list_shown_options(account),
            "changes": changes,
            "more_changes": _MANAGE_MORE if len(changes) == HISTORY_SHOWN else "",
            "actions": _offered(request, account, candidate) if self.has_change_permission(request) else [],
            "earlier": history.get_deleted_at(account.name),
            "may_change": self.has_change_permission(request),
            "fault": sandboxes.get_failure_mode(account),
            "deadline": settings.MERCURY_SEND_TIMEOUT.total_seconds(),
            "connect": settings.MERCURY_CONNECT_TIMEOUT.total_seconds(),
            **_row(candidate, timezone.now()),
        }
        return self._page(request, "admin/providers/account/change_form.html", context)

    def edit_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Weight, limit, and, for accounts made here, options; secrets are written, never read."""
        account, _candidate = self._for_change(request, account_id)
        initial = {name: getattr(account, name) for name in ("weight", "rate", "trust_500", "enabled")}
        form = AccountForm(request.POST or None, kind=account.kind, account=account, initial=initial)
        if request.method == "POST" and form.is_valid() and form.save(by=audit.person(request)):
            messages.success(request, f"The account {account.name} is saved.")
            return redirect("admin:providers_account_change", account.pk)
        back = reverse("admin:providers_account_change", args=[account.pk])
        return self._form(request, form, title=f"Change {account.name}", button="Save", back=back)

    def action_view(self, request: HttpRequest, account_id: int, name: str) -> HttpResponse:
        """Say what the action will do; do it when that was confirmed."""
        account, candidate = self._for_change(request, account_id)
        if name == "delete" and not request.user.has_perm("providers.delete_account"):
            raise PermissionDenied
        action = next((one for one in _possible(account, candidate) if one.name == name), None)
        if action is None:
            raise Http404("That is not possible for this account now.")
        errors = []
        if request.method == "POST":
            try:
                action.run(account, audit.person(request), request.POST.get("why", "").strip()[: _WHY["length"]])
            except AccountError as refused:
                errors.append(str(refused))
            else:
                messages.success(request, action.done.format(name=account.name))
                page = "admin:providers_account_changelist" if name == "delete" else "admin:providers_account_change"
                return redirect(page) if name == "delete" else redirect(page, account.pk)
        words = {"name": account.name, "weight": account.weight, "others": _others(candidate)}
        context = {
            "title": action.title.format(**words),
            "trail": _trail(account),
            "sentences": [sentence.format(**words) for sentence in action.sentences],
            "button": action.button,
            "errors": errors,
            "fields": [_WHY] if name in _WITH_REASON else [],
            "back": reverse("admin:providers_account_change", args=[account.pk]),
        }
        return self._page(request, "admin/confirm.html", context)

    def test_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Send one mail through this account alone, past its breaker, and tell what it answered."""
        account, candidate = self._for_change(request, account_id)
        title = f"Send a test mail through {account.name}"
        return self._test(request, [candidate.config], {"title": title, "trail": _trail(account)})

    def test_all_view(self, request: HttpRequest) -> HttpResponse:
        """The same for every account that mails may go through, all at once."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        usable = [one.config for one in registry.load_candidates() if one.usable]
        trail = [("Providers", reverse("admin:providers_account_changelist"))]
        return self._test(request, usable, {"title": "Send a test mail through every account", "trail": trail})

    def _test(self, request: HttpRequest, configs: list[AccountConfig], context: dict[str, Any]) -> HttpResponse:
        only_sandboxes = all(config.kind == "sandbox" for config in configs)
        nobody = test_send.PLACEHOLDER_ADDRESS if only_sandboxes else ""
        own = request.user.email or nobody  # type: ignore[union-attr]
        sender = request.POST.get("sender", own).strip() or nobody
        recipient = request.POST.get("recipient", own).strip() or nobody
        told: list[dict[str, str]] = []
        errors: list[str] = []
        if request.method == "POST" and configs:
            errors = [_not_an_address(address) for address in (sender, recipient) if not _is_address(address)]
            if not errors:
                told, errors = _tested(request, configs, sender=sender, recipient=recipient)
        context |= {
            "accounts": [config.name for config in configs],
            "sender": sender,
            "recipient": recipient,
            "told": told,
            "errors": errors,
            "sandboxes": [config.name for config in configs if config.kind == "sandbox"],
            "deadline": test_send.get_time_limit(configs),
        }
        return self._page(request, "admin/providers/account/test.html", context)

    def _for_change(self, request: HttpRequest, account_id: int) -> tuple[Account, Candidate]:
        if not self.has_change_permission(request):
            raise PermissionDenied
        return _found(str(account_id))

    def _form(self, request: HttpRequest, form: AccountForm, *, title: str, button: str, back: str) -> HttpResponse:
        context = {
            "title": title,
            "form": form,
            "button": button,
            "back": back or reverse("admin:providers_account_changelist"),
        }
        return self._page(request, "admin/providers/account/edit.html", context)

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        status = 400 if context.get("errors") or (context.get("form") and context["form"].errors) else 200
        whole = {**self.admin_site.each_context(request), **context}
        return TemplateResponse(request, template, whole, status=status)


_WITH_REASON = ("force-open", "force-closed", "automatic", "disable", "enable")
_WHY: dict[str, Any] = {
    "name": "why",
    "label": "Why",
    "optional": True,
    "value": "",
    "note": "Kept in the account's history.",
    "length": 150,
}


def _found(object_id: str) -> tuple[Account, Candidate]:
    candidates = {str(candidate.id): candidate for candidate in registry.load_candidates()}
    account = Account.objects.filter(pk=object_id).first() if object_id in candidates else None
    if account is None:
        raise Http404("There is no such account.")
    return account, candidates[object_id]


def _row(candidate: Candidate, now: Any) -> dict[str, Any]:
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


def _possible(account: Account, candidate: Candidate) -> list[Action]:
    """Only what makes a difference now."""
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


def _offered(request: HttpRequest, account: Account, candidate: Candidate) -> list[Action]:
    """Those of the possible actions that the person may do."""
    may_delete = request.user.has_perm("providers.delete_account")
    return [action for action in _possible(account, candidate) if may_delete or action.name != "delete"]


def _others(candidate: Candidate) -> str:
    """Who takes the mail instead."""
    names = [
        other.config.name
        for other in registry.load_candidates()
        if other.id != candidate.id and other.enabled and other.configured and not _is_open(other)
    ]
    if not names:
        return "No other account is ready: all mail waits until one is."
    return f"Its mail goes to {', '.join(names)}."


def _trail(account: Account) -> list[tuple[str, str]]:
    return [
        ("Providers", reverse("admin:providers_account_changelist")),
        (account.name, reverse("admin:providers_account_change", args=[account.pk])),
    ]


def _tested(
    request: HttpRequest, configs: list[AccountConfig], *, sender: str, recipient: str
) -> tuple[list[dict[str, str]], list[str]]:
    """Send the tests; what came of each, and what kept them from being sent."""
    try:
        outcomes = test_send.run(
            configs, sender=sender, recipient=recipient, by=audit.person(request), person=request.user
        )
    except test_send.DeliveryTestNotAllowed as refused:
        return [], [str(refused)]
    return [_told(config.name, outcome) for config, outcome in zip(configs, outcomes, strict=True)], []


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _not_an_address(text: str) -> str:
    return f"“{text}” is not an e-mail address. Write one in full, for example hera@olimpus.com."


def _told(account: str, outcome: Outcome) -> dict[str, str]:
    """What came of a test, as a badge and a sentence."""
    match outcome:
        case Accepted():
            message_id = f" Its id there: {outcome.provider_message_id}." if outcome.provider_message_id else ""
            words = f"{account} took it and answered {outcome.status_code}.{message_id}"
            return {"tone": "ok", "icon": "tick", "word": "Accepted", "words": words}
        case Refused():
            words = f"{account}: {FailureClass(outcome.fault).label}, {outcome.reason_code}: {outcome.reason}"
            return {"tone": "bad", "icon": "cross", "word": "Refused", "words": words}
        case Unknown():
            words = f"{account}: {outcome.reason_code}: {outcome.reason} It may have been sent."
            return {"tone": "unknown", "icon": "question", "word": "Outcome unknown", "words": words}
