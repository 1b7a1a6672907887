"""Mails for operators: the list with its filters, and everything about one mail. What changes one is `steering`'s."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from mails import message, search, timeline
from mails.admin import steering
from mails.lanes import Lane
from mails.models import ApiKey, Mail
from mails.querysets import MailQuerySet
from mails.states import Source
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
class MailAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """List and page of mails. Pages go by key and no query counts the table."""

    show_full_result_count = False

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
        action = self.admin_site.admin_view(steering.action_view)
        return [path("<uuid:mail_id>/action/<str:verb>/", action, name="mails_mail_action"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The list. Every filter is a parameter of the URL, so that it can be kept and passed on."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = request.GET
        words, state = chosen.get("q", "").strip(), chosen.get("state", "")
        facets = _facets(chosen.get)
        found, error = _narrowed(facets, words)
        narrowed = bool(words) or any(facet.current for facet in facets)
        counting = not (narrowed and _is_big())
        page = search.page(
            _in_state(found, state).select_related("api_key", "user"),
            before=chosen.get("before", ""),
            after=chosen.get("after", ""),
            size=MAILS_A_PAGE,
        )
        context = {
            **self.admin_site.each_context(request),
            "title": "Mails",
            "opts": self.opts,
            "page": page,
            "chips": _chips(found, counting=counting),
            "all_count": search.counted(found, COUNTED_AT_MOST) if counting else "",
            "state": state if state in search.STATES else "",
            "facets": facets,
            "in_force": [facet for facet in facets if facet.current],
            "words": words,
            "list_query": _list_query(chosen),
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
        story = timeline.story(mail, timezone.now(), everything=request.GET.get("events") == "all")
        context = {
            **self.admin_site.each_context(request),
            "title": mail.subject or "(no subject)",
            "opts": self.opts,
            "message_id": message.message_id(mail.pk, mail.sender),
            "story": story,
            "preview": message.shown(mail, recipients=story.addresses, text=story.text),
            "images_on": request.GET.get("images") == "on",
            "reasons_open": True,
            "list_query": request.GET.get("list", ""),
            "neighbours": _neighbours(mail, QueryDict(request.GET.get("list", ""))),
            "rounds": settings.MERCURY_ROUNDS,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/mails/mail/change_form.html", context)


def _mail(object_id: str) -> Mail:
    try:
        return Mail.objects.select_related("api_key", "user").get(pk=uuid.UUID(object_id))
    except (ValueError, Mail.DoesNotExist):
        raise Http404("There is no such mail.") from None


def _list_query(chosen: QueryDict) -> str:
    """What the list is narrowed by, for the pages of its mails: they lead on to its next mail and back to it."""
    kept = chosen.copy()
    for name in ("before", "after"):
        kept.pop(name, None)
    return kept.urlencode()


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The mails beside one in a list, newest first; None at its ends."""

    newer: uuid.UUID | None
    older: uuid.UUID | None


def _neighbours(mail: Mail, chosen: QueryDict) -> Neighbours:
    found, _error = _narrowed(_facets(chosen.get), chosen.get("q", "").strip())
    mails = _in_state(found, chosen.get("state", "")).order_by("pk").values_list("pk", flat=True)
    return Neighbours(
        newer=mails.filter(pk__gt=mail.pk).first(),
        older=mails.filter(pk__lt=mail.pk).last(),
    )


def _in_state(found: MailQuerySet, state: str) -> MailQuerySet:
    return found.filter(search.STATES[state][1]) if state in search.STATES else found


def _is_big() -> bool:
    """Whether counting through a filter, which no index may serve, would take long."""
    return Mail.objects.order_by()[: COUNTED_AT_MOST + 1].count() > COUNTED_AT_MOST


def _chips(found: MailQuerySet, *, counting: bool) -> list[Chip]:
    """The states with their numbers, each read from an index up to a bound; rare ones only where there are any."""
    chips = [
        Chip(name, label, search.counted(found.filter(condition), COUNTED_AT_MOST) if counting else "")
        for name, (label, condition) in search.STATES.items()
    ]
    return [chip for chip in chips if chip.count != "0" or chip.name not in ("held", "expired", "cancelled")]


def _facets(chosen: Any) -> list[Facet]:
    accounts = [(name, name) for name in Account.objects.values_list("name", flat=True)]
    keys = ApiKey.objects.values_list("pk", "name")[:APPLICATIONS_SHOWN]
    doors = [(Source.FORM.value, "Form"), (Source.COMMAND.value, "Command line")]
    return [
        Facet("account", "account", [*accounts, ("-", "none yet")], chosen("account", "")),
        Facet("lane", "lane", list(Lane.choices), chosen("lane", "")),
        Facet("application", "app", [*((str(pk), name) for pk, name in keys), *doors], chosen("app", "")),
        Facet("age", "age", [(name, label) for name, (label, _age) in search.AGES.items()], chosen("age", "")),
    ]


def _narrowed(facets: list[Facet], words: str) -> tuple[MailQuerySet, str]:
    """The mails that fit every filter and word, and what is wrong with the words."""
    mails = Mail.objects.all()
    for facet in facets:
        if facet.current:
            mails = _filtered(mails, facet)
    try:
        return search.narrow(mails, words), ""
    except search.UnknownSearchWord as unknown:
        return mails.none(), str(unknown)


def _filtered(mails: MailQuerySet, facet: Facet) -> MailQuerySet:
    value = facet.current
    match facet.parameter:
        case "app" if value.isascii() and value.isdigit() and len(value) < 19:  # also keys that are not listed
            return mails.filter(api_key_id=int(value))
        case _ if value not in dict(facet.choices):
            return mails.none()
        case "account":
            return mails.filter(provider="" if value == "-" else value)
        case "lane":
            return mails.filter(lane=value)
        case "age":
            return search.since(mails, search.AGES[value][1], timezone.now())
        case _:
            return mails.filter(source=value)
