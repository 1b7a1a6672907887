"""Mercury's admin site: its navigation, its login, and the overview, which opens with the system status."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone

from mails import pauses
from mails.dispatch import wake
from mails.models import ApiKey, Mail, Worker
from mails.states import Status
from mercury.console import dashboard
from providers.kinds.catalog import delivers
from providers.models import Breaker, BreakerMode, BreakerState

LOOKED_BACK_AT_MOST = 1000  # emails
WORKER_SEEN_WITHIN = dt.timedelta(seconds=30)
FIGURES = "mails.view_rollup"  # the permission to view statistics, which the API checks for its statistics too


@dataclass(frozen=True, slots=True)
class NavItem:
    """One item of the navigation."""

    label: str
    url: str
    current: bool
    count: int = 0


# Label, name of the page, prefix of its paths, required permission.
_NAVIGATION = (
    ("Overview", "admin:index", "", FIGURES),
    ("Emails", "admin:mails_mail_changelist", "mails/mail/", "mails.view_mail"),
    ("Providers", "admin:providers_account_changelist", "providers/", "providers.view_account"),
    ("Routing", "routing", "routing/", "mails.view_routingrule"),
    ("Webhooks", "webhooks", "webhooks/", "mails.view_webhook"),
    ("Queues", "admin:queues", "queues/", FIGURES),
    ("Streams", "streams", "streams/", "mails.view_eventsink"),
    ("Sandbox", "sandbox", "sandbox/", "providers.view_account"),
    ("API keys", "admin:mails_apikey_changelist", "mails/apikey/", "mails.view_apikey"),
    ("More", "admin:more", "", ""),
)


class MercuryAdminSite(admin.AdminSite):
    """Django's admin under Mercury's name, with Mercury's navigation."""

    site_header = "Mercury"
    site_title = "Mercury"
    index_title = "Overview"
    index_template = "admin/overview.html"
    enable_nav_sidebar = False

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to the login page for all users, and from there back to the requested page."""
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Return Django's pages, and Mercury's own."""
        ours: list[URLPattern | URLResolver] = [
            path("figures/", self.admin_view(self.figures), name="figures"),
            path("queues/", self.admin_view(self.queues), name="queues"),
            path("suppressions/", self.admin_view(self.suppressions), name="suppressions"),
            path("more/", self.admin_view(self.more), name="more"),
        ]
        return [*ours, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return the context of every page: the navigation, with the number of open breakers."""
        context = super().each_context(request)
        return {**context, "nav": _make_navigation(request) if self.has_permission(request) else []}

    def index(  # type: ignore[override]  # the stubs know no index that leads elsewhere
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the overview: status in a sentence, figures, charts, accounts, failures, queues, and the first steps.

        Redirect users without the permission for statistics to the pages they may see.
        """
        if not request.user.has_perm(FIGURES):
            return redirect("admin:more")
        shown = dashboard.build_overview(_read_period(request))
        context = {
            "overview": shown,
            "periods": [(key, words) for key, (words, _) in dashboard.PERIODS.items()],
            "pause": pauses.load_active().all_sending,
            "has_key": ApiKey.objects.exists(),
            "has_mail": Mail.objects.exists(),
            "has_failover": _has_failover(),
            "sandbox_only": not any(delivers(row.status.kind) for row in shown.accounts if row.status.enabled),
            "api_url": request.build_absolute_uri(reverse("api-mail-list")),
        }
        return super().index(request, {**context, **(extra_context or {})})

    def figures(self, request: HttpRequest) -> HttpResponse:
        """Return the overview's figures for its poller; 204 if they did not change."""
        _check_permission(request)
        fresh = dashboard.build_overview(_read_period(request))
        if request.GET.get("seen") == fresh.digest:
            return HttpResponse(status=204)
        return TemplateResponse(
            request, "admin/_figures.html", {"overview": fresh, "pause": pauses.load_active().all_sending}
        )

    def queues(self, request: HttpRequest) -> HttpResponse:
        """Show the workers and, with Redis, the pending wake-ups."""
        _check_permission(request)
        context = {
            **self.each_context(request),
            "title": "Queues",
            "embedded": settings.MERCURY_EMBEDDED,
            "wake_ups": wake.count_wake_ups(),
            "worker_summary": _describe_workers(timezone.now()),
            "workers": Worker.objects.order_by("-seen_at")[:50],
        }
        return TemplateResponse(request, "admin/queues.html", context)

    def suppressions(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the suppression list, with its search and filters."""
        if not request.user.has_perm("mails.view_suppression"):
            raise PermissionDenied("You do not have permission to view suppressions.")
        query = request.META["QUERY_STRING"]
        return redirect(f"{reverse('admin:mails_suppression_changelist')}{f'?{query}' if query else ''}")

    def more(self, request: HttpRequest) -> HttpResponse:
        """Show all other pages of the admin."""
        context = {**self.each_context(request), "title": "More", "app_list": self.get_app_list(request)}
        return TemplateResponse(request, "admin/more.html", context)


def _check_permission(request: HttpRequest) -> None:
    if not request.user.has_perm(FIGURES):
        raise PermissionDenied("You do not have permission to view statistics.")


def _make_navigation(request: HttpRequest) -> list[NavItem]:
    here = request.path.removeprefix(reverse("admin:index"))
    shown = [row for row in _NAVIGATION if not row[3] or request.user.has_perm(row[3])]
    owner = next((label for label, _name, start, _perm in shown if start and here.startswith(start)), "")
    current = owner or ("More" if here else "Overview")
    open_breakers = _count_open_breakers()
    return [
        NavItem(label, reverse(name), label == current, open_breakers if label == "Providers" else 0)
        for label, name, _start, _perm in shown
    ]


def _count_open_breakers() -> int:
    forced_open = Breaker.objects.filter(mode=BreakerMode.OPEN, account__enabled=True)
    opened = Breaker.objects.filter(mode=BreakerMode.AUTO, account__enabled=True).exclude(state=BreakerState.CLOSED)
    return forced_open.count() + opened.count()


def _read_period(request: HttpRequest) -> str:
    """Return the period in the URL, the last hour if there is none or it is unknown."""
    wanted = request.GET.get("period", "")
    return wanted if wanted in dashboard.PERIODS else "1h"


def _has_failover() -> bool:
    """Return True if one of the last emails was sent after an account had failed."""
    sent = Mail.objects.filter(status=Status.DONE).order_by("-pk").values_list("tried", "round")
    return any(tried or number > 1 for tried, number in sent[:LOOKED_BACK_AT_MOST])


def _describe_workers(now: dt.datetime) -> str:
    seen = Worker.objects.filter(seen_at__gte=now - WORKER_SEEN_WITHIN).count()
    if seen:
        return f"{seen} worker{'s are' if seen > 1 else ' is'} running."
    if settings.MERCURY_EMBEDDED:
        return "No worker seen in the last 30 s. In embedded mode the web process is the worker."
    return "No worker seen in the last 30 s. Start one: python manage.py worker"
