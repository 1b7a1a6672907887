"""Mails for operators: the list with its filters, and everything about one mail. What changes one is `steering`'s."""

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from mails import timeline
from mails.admin import bulk, export, steering
from mails.lanes import Lane
from mails.message import mime
from mails.models import ApiKey, Mail
from mails.querysets import MailQuerySet
from mails.reporting import search, statistics
from mails.reporting.search import Filter
from mails.states import Action, Source
from mercury.lib.guarded_admin import GuardedAdmin
from providers.models import Account

MAILS_A_PAGE = 50
COUNTED_AT_MOST = 10_000  # above that a chip says 10,000+ instead of reading on
APPLICATIONS_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Chip:
    """A state with the number of its mails."""

    name: str
    label: str
    count: str


@dataclass(frozen=True, slots=True)
class Facet:
    """One filter: its words, its parameter, its choices, and the one in force."""

    title: str
    parameter: str
    choices: list[tuple[str, str]]
    current: str

    @property
    def label(self) -> str:
        """The words of the choice in force."""
        return dict(self.choices).get(self.current, self.current)


@admin.register(Mail)
class MailAdmin(GuardedAdmin):
    """List and page of mails. Pages go by key and no query counts the table."""

    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: Mail | None = None) -> bool:
        """To look at mails takes the right to look; Django would take the right to change them for it."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Mails come in by intake."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Mail | None = None) -> bool:
        """A mail's state is lifecycle's."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Mail | None = None) -> bool:
        """Only retention deletes."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Django's pages, and those of the actions."""
        guarded = self.admin_site.admin_view
        return [
            path("bulk/", guarded(bulk.bulk_view), name="mails_mail_bulk"),
            path("export/", guarded(export.export_view), name="mails_mail_export"),
            path("<uuid:mail_id>/action/<str:verb>/", guarded(steering.action_view), name="mails_mail_action"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The list. Every filter is a parameter of the URL, so that it can be kept and passed on."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = request.GET
        selected = Filter.of(chosen)
        facets = _facets(selected)
        found, error = _narrowed(replace(selected, state=""))
        narrowed = bool(selected.q) or any(facet.current for facet in facets)
        count = _counting(narrowed=narrowed, searched=bool(selected.q))
        chips = _chips(found, count)
        all_count = count(found)
        counts = {"": all_count} | {chip.name: chip.count for chip in chips}
        page = _page(
            selected,
            before=chosen.get("before", ""),
            after=chosen.get("after", ""),
            far="far" in chosen,
            size=MAILS_A_PAGE,
        )
        context = {
            **self.admin_site.each_context(request),
            "title": "Mails",
            "opts": self.opts,
            "page": page,
            "chips": chips,
            "all_count": all_count,
            "matching": counts.get(selected.state, ""),
            "state": selected.state,
            "state_label": search.STATES[selected.state][0] if selected.state in search.STATES else selected.state,
            "facets": facets,
            "in_force": [facet for facet in facets if facet.current],
            "words": selected.q,
            "list_query": selected.as_query(),
            "hidden": [(name, value) for name, value in asdict(selected).items() if value],
            "offered": bulk.offered(),
            "first_offered": Action.SENT if selected.state == "unknown" else Action.REPROCESS,
            "search_help": search.HELP,
            "search_error": error,
            "none_at_all": not page.mails and not Mail.objects.exists(),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/mails/mail/change_list.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Everything about one mail, with the reasons of each choice open."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        mail = _mail(object_id)
        now = timezone.now()
        usual = statistics.usual(mail.lane, now)
        story = timeline.story(mail, now, everything=request.GET.get("events") == "all", usual=usual)
        context = {
            **self.admin_site.each_context(request),
            "title": mail.subject or "(no subject)",
            "opts": self.opts,
            "message_id": mime.make_message_id(mail.pk, mail.sender),
            "story": story,
            "preview": mime.build_preview(mail, recipients=story.addresses, text=story.text),
            "images_on": request.GET.get("images") == "on",
            "reasons_open": True,
            "list_query": request.GET.get("list", ""),
            "neighbours": _neighbours(mail, QueryDict(request.GET.get("list", ""))),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/mails/mail/change_form.html", context)


def _mail(object_id: str) -> Mail:
    try:
        return Mail.objects.select_related("api_key", "user").get(pk=uuid.UUID(object_id))
    except (ValueError, Mail.DoesNotExist):
        raise Http404("There is no such mail.") from None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The mails beside one in a list, newest first; None at its ends."""

    newer: uuid.UUID | None
    older: uuid.UUID | None


def _neighbours(mail: Mail, chosen: QueryDict) -> Neighbours:
    selected, here = Filter.of(chosen), str(mail.pk)
    newer, older = _page(selected, after=here, size=1).mails, _page(selected, before=here, size=1).mails
    return Neighbours(newer[0].pk if newer else None, older[0].pk if older else None)


def _page(selected: Filter, **where: Any) -> search.Page:
    """A page of the mails that fit, see `search.page`; an empty one if the words cannot be read."""
    mails = replace(selected, q="").narrow(Mail.objects.select_related("api_key", "user"), timezone.now())
    try:
        return search.page(mails, selected.q, **where)
    except search.UnknownSearchWord:
        return search.Page([], newer=None, older=None)


def _counting(*, narrowed: bool, searched: bool) -> Callable[[MailQuerySet], str]:
    """How to count: through a filter, which no index may serve, a big table is only estimated, and not with words."""
    if not narrowed or not _is_big():
        return lambda mails: search.roughly(mails, COUNTED_AT_MOST)
    return (lambda _mails: "") if searched else search.estimated


def _is_big() -> bool:
    """Whether counting through a filter, which no index may serve, would take long."""
    return Mail.objects.order_by()[: COUNTED_AT_MOST + 1].count() > COUNTED_AT_MOST


def _chips(found: MailQuerySet, count: Callable[[MailQuerySet], str]) -> list[Chip]:
    """The states with their numbers; rare ones only where there are any."""
    chips = [Chip(name, label, count(found.filter(condition))) for name, (label, condition) in search.STATES.items()]
    return [chip for chip in chips if chip.count != "0" or chip.name not in ("held", "expired", "cancelled")]


def _facets(chosen: Filter) -> list[Facet]:
    accounts = [(name, name) for name in Account.objects.values_list("name", flat=True)]
    keys = ApiKey.objects.values_list("pk", "name")[:APPLICATIONS_SHOWN]
    doors = [(Source.FORM.value, "Form"), (Source.COMMAND.value, "Command line")]
    return [
        Facet("account", "account", [*accounts, ("-", "none yet")], chosen.account),
        Facet("lane", "lane", list(Lane.choices), chosen.lane),
        Facet("application", "app", [*((str(pk), name) for pk, name in keys), *doors], chosen.app),
        Facet("age", "age", [(name, label) for name, (label, _age) in search.AGES.items()], chosen.age),
    ]


def _narrowed(selected: Filter) -> tuple[MailQuerySet, str]:
    """The mails that fit, and what is wrong with the words."""
    try:
        return selected.narrow(Mail.objects.all(), timezone.now()), ""
    except search.UnknownSearchWord as unknown:
        return Mail.objects.none(), str(unknown)
