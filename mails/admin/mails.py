"""Emails for operators: the list with its filters, and everything about one email. `actions` acts on one email, `bulk` on many."""

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

from mails.admin import actions, bulk, copies, export
from mails.message import mail_preview, mime
from mails.models import ApiKey, DownloadLink, Mail
from mails.models.querysets import MailQuerySet
from mails.queues import QueueName
from mails.reporting import search, statistics
from mails.reporting.search import MailListFilter
from mails.states import Action, Source
from mails.timeline.story import read_story
from mercury.lib.guarded_admin import GuardedAdmin
from providers.models import Account

MAILS_A_PAGE = 50
COUNTED_AT_MOST = 10_000  # above that a chip says 10,000+
APPLICATIONS_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Chip:
    """A state with the number of its emails."""

    name: str
    label: str
    count: str


@dataclass(frozen=True, slots=True)
class Facet:
    """One filter: its title, its parameter, its choices, and the current one."""

    title: str
    parameter: str
    choices: list[tuple[str, str]]
    current: str

    @property
    def label(self) -> str:
        """Return the label of the current choice."""
        return dict(self.choices).get(self.current, self.current)


@admin.register(Mail)
class MailAdmin(GuardedAdmin):
    """The list and the page of emails. Pages are found by key, and no query counts the table."""

    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: Mail | None = None) -> bool:
        """Return True for users who may view emails; Django would accept the permission to change them too."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: emails are submitted, not added here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Mail | None = None) -> bool:
        """Return False: only the lifecycle changes an email."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Mail | None = None) -> bool:
        """Return False: only retention deletes emails."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Return Django's pages, and those of the actions."""
        guarded = self.admin_site.admin_view
        return [
            path("bulk/", guarded(bulk.bulk_view), name="mails_mail_bulk"),
            path("export/", guarded(export.export_view), name="mails_mail_export"),
            path("<uuid:mail_id>/copy/", guarded(copies.copy_view), name="mails_mail_copy"),
            path("<uuid:mail_id>/action/<str:verb>/", guarded(actions.action_view), name="mails_mail_action"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the list. Every filter is a parameter of the URL, so that it can be bookmarked and shared."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        query = request.GET
        selected = MailListFilter.from_query(query)
        facets = _make_facets(selected)
        found, error = _search(replace(selected, state=""))
        narrowed = bool(selected.q) or any(facet.current for facet in facets)
        count = _choose_counting(narrowed=narrowed, searched=bool(selected.q))
        chips = _make_chips(found, count)
        all_count = count(found)
        counts = {"": all_count} | {chip.name: chip.count for chip in chips}
        page = _read_page(
            selected,
            before=query.get("before", ""),
            after=query.get("after", ""),
            far="far" in query,
            size=MAILS_A_PAGE,
        )
        context = {
            **self.admin_site.each_context(request),
            "title": "Emails",
            "opts": self.opts,
            "page": page,
            "chips": chips,
            "all_count": all_count,
            "matching": counts.get(selected.state, ""),
            "state": selected.state,
            "state_label": search.STATES[selected.state][0] if selected.state in search.STATES else selected.state,
            "facets": facets,
            "active_facets": [facet for facet in facets if facet.current],
            "words": selected.q,
            "list_query": selected.as_query(),
            "hidden": [(name, value) for name, value in asdict(selected).items() if value],
            "offered": bulk.list_offered(),
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
        """Show everything about one email, with the reasons of each decision."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        mail = _get_mail(object_id)
        now = timezone.now()
        usual = statistics.load_usual_times(mail.queue, now)
        story = read_story(mail, now, everything=request.GET.get("events") == "all", usual=usual)
        message = mime.read_beginning(mail, recipients=story.recipients)
        context = {
            **self.admin_site.each_context(request),
            "title": mail.subject or "(no subject)",
            "opts": self.opts,
            "message": message,
            "message_id": mime.make_message_id(mail.pk, mail.sender),
            "story": story,
            "preview": mail_preview.build_preview(mail, message, files=mail_preview.list_files(mail)),
            "links": DownloadLink.objects.filter(mail=mail),
            "images_on": request.GET.get("images") == "on",
            "reasons_open": True,
            "list_query": request.GET.get("list", ""),
            "neighbours": _find_neighbours(mail, QueryDict(request.GET.get("list", ""))),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/mails/mail/change_form.html", context)


def _get_mail(object_id: str) -> Mail:
    try:
        return Mail.objects.select_related("api_key", "user").get(pk=uuid.UUID(object_id))
    except (ValueError, Mail.DoesNotExist):
        raise Http404("No such email.") from None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Ids of the next newer and older email of a list; None at its ends."""

    newer: uuid.UUID | None
    older: uuid.UUID | None


def _find_neighbours(mail: Mail, query: QueryDict) -> Neighbours:
    selected, here = MailListFilter.from_query(query), str(mail.pk)
    newer, older = _read_page(selected, after=here, size=1).mails, _read_page(selected, before=here, size=1).mails
    return Neighbours(newer[0].pk if newer else None, older[0].pk if older else None)


def _read_page(selected: MailListFilter, **where: Any) -> search.MailPage:
    """Return a page of the matching emails, see `search.load_page`; an empty one if the search is invalid."""
    mails = replace(selected, q="").narrow(Mail.objects.select_related("api_key", "user"), timezone.now())
    try:
        return search.load_page(mails, selected.q, **where)
    except search.UnknownSearchWord:
        return search.MailPage(mails=[], newer=None, older=None)


def _choose_counting(*, narrowed: bool, searched: bool) -> Callable[[MailQuerySet], str]:
    """Return how to count: a big table is only estimated through a filter without an index, and not with search words."""
    if not narrowed or not _is_big():
        return lambda mails: search.format_rough_count(mails, COUNTED_AT_MOST)
    return (lambda _mails: "") if searched else search.format_estimate


def _is_big() -> bool:
    """Return True if counting through a filter without an index would take long."""
    return Mail.objects.order_by()[: COUNTED_AT_MOST + 1].count() > COUNTED_AT_MOST


def _make_chips(found: MailQuerySet, count: Callable[[MailQuerySet], str]) -> list[Chip]:
    """Return the states with their counts; rare ones only if there are any."""
    chips = [Chip(name, label, count(found.filter(condition))) for name, (label, condition) in search.STATES.items()]
    return [chip for chip in chips if chip.count != "0" or chip.name not in ("held", "expired", "cancelled")]


def _make_facets(selected: MailListFilter) -> list[Facet]:
    accounts = [(name, name) for name in Account.objects.values_list("name", flat=True)]
    keys = ApiKey.objects.values_list("pk", "name")[:APPLICATIONS_SHOWN]
    sources = [(Source.FORM.value, "Form"), (Source.COMMAND.value, "Command line")]
    return [
        Facet("account", "account", [*accounts, ("-", "none yet")], selected.account),
        Facet("queue", "queue", list(QueueName.choices), selected.queue),
        Facet("application", "app", [*((str(pk), name) for pk, name in keys), *sources], selected.app),
        Facet("age", "age", [(name, label) for name, (label, _age) in search.AGES.items()], selected.age),
    ]


def _search(selected: MailListFilter) -> tuple[MailQuerySet, str]:
    """Return the matching emails, and the error if the search is invalid."""
    try:
        return selected.narrow(Mail.objects.all(), timezone.now()), ""
    except search.UnknownSearchWord as unknown:
        return Mail.objects.none(), str(unknown)
