"""Which mails of the list a person has chosen, and through which accounts they are sent anew; as its URLs say it."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse

from mails.actions import apply
from mails.lanes import Lane
from mails.lifecycle.action_requests import EVERY_ACCOUNT, How
from mails.models import ApiKey
from mails.reporting import search
from mails.reporting.search import Filter
from mails.sentences import clean
from mails.states import Action

TICKED_AT_MOST = 500


def is_all(query: QueryDict) -> bool:
    """Whether all that match are meant."""
    return query.get("scope") == "all"


def selected(query: QueryDict) -> Filter | list[uuid.UUID]:
    """The filter of the list, or the ids that are ticked; what is no id counts as not ticked."""
    if is_all(query):
        return Filter.of(query)
    found = (_uuid(text) for text in query.getlist("mail")[:TICKED_AT_MOST])
    return [one for one in found if one is not None]


def back(query: QueryDict) -> str:
    """The list that this was chosen from."""
    return f"{reverse('admin:mails_mail_changelist')}?{Filter.of(query).as_query()}".rstrip("?")


def words(query: QueryDict) -> str:
    """What was chosen, for people."""
    if not is_all(query):
        return "the mails that were ticked"
    chosen = Filter.of(query)
    parts = [
        search.STATES[chosen.state][0] if chosen.state in search.STATES else chosen.state,
        f"account {chosen.account}" if chosen.account else "",
        f"lane {dict(Lane.choices).get(chosen.lane, chosen.lane)}" if chosen.lane else "",
        f"application {_application(chosen.app)}" if chosen.app else "",
        search.AGES[chosen.age][0].lower() if chosen.age in search.AGES else chosen.age,
        f"“{chosen.q}”" if chosen.q else "",
    ]
    return clean(", ".join(filter(None, parts))) or "all mails"


def how(query: QueryDict) -> How:
    """Through which accounts; what is none of the choices counts as all."""
    match query.get("how"):
        case "not-tried":
            return How(not_tried=True)
        case "via":
            return How(via=clean(query.get("via", "")))
    return EVERY_ACCOUNT


def how_field(shown: How, mails: int) -> dict[str, Any]:
    """What the choice of accounts on a page shows, for so many mails."""
    return {"shown": shown, "accounts": apply.usable(), "pace": apply.pace(mails, shown) if mails else ""}


def every_account(request: HttpRequest) -> str:
    """The same page, for all accounts."""
    return _for(request, EVERY_ACCOUNT)


def instead(request: HttpRequest, action: Action) -> str:
    """The page of another action for the same mails."""
    query = request.GET.copy()
    for name in ("also", "how", "via"):
        query.pop(name, None)
    query["action"] = action
    return f"{request.path}?{query.urlencode()}"


def look_again(request: HttpRequest) -> HttpResponse | None:
    """The way to the forecast for the choice that was posted; None where the page was made for that choice.

    So nothing is done that was not said first, with or without scripts. The reason that was typed goes along.
    """
    if request.method != "POST" or "how" not in request.POST:
        return None
    posted, looks = how(request.POST), "look" in request.POST
    if request.POST["how"] == "via" and not posted.via:
        messages.error(request, "Nothing was done: choose the account to go through.")
        return redirect(_for(request, how(request.GET)))
    if posted == how(request.GET) and not looks:
        return None
    if not looks:
        messages.warning(
            request, f"Nothing was done yet: the choice was changed. This is its forecast, {posted.words}."
        )
    return redirect(_for(request, posted))


def _for(request: HttpRequest, how: How) -> str:
    query = request.GET.copy()
    for name in ("how", "via", "note"):
        query.pop(name, None)
    if typed := request.POST.get("note", request.GET.get("note", ""))[: apply.MAX_NOTE]:
        query["note"] = typed
    if how.via:
        query["how"], query["via"] = "via", how.via
    elif how.not_tried:
        query["how"] = "not-tried"
    return f"{request.path}?{query.urlencode()}".rstrip("?")


def _application(app: str) -> str:
    number = app.isascii() and app.isdigit() and len(app) < 19
    return (ApiKey.objects.filter(pk=int(app)).values_list("name", flat=True).first() if number else None) or app


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
