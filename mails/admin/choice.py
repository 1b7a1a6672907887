"""The selected emails of the list and the accounts to reprocess them with, as the URL holds them."""

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse

from mails.actions import preview, rules
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice
from mails.models import ApiKey
from mails.queues import QueueName
from mails.reporting import search
from mails.reporting.search import MailListFilter
from mails.states import Action
from mercury.lib.mail.printable import replace_unprintable

SELECTED_AT_MOST = 500
_TYPED = ("recipient-", "again-", "send_at", "expires_at", "time_zone")  # fields that are typed again with each request
NOTHING_TYPED: Mapping[str, str] = MappingProxyType({})


def is_everything(query: QueryDict) -> bool:
    """Return True if all that match are selected."""
    return query.get("scope") == "all"


def read_selection(query: QueryDict) -> MailListFilter | list[uuid.UUID]:
    """Return the filter of the list, or the selected ids; anything else than an id is ignored."""
    if is_everything(query):
        return MailListFilter.from_query(query)
    ids = (_parse_uuid(text) for text in query.getlist("mail")[:SELECTED_AT_MOST])
    return [mail_id for mail_id in ids if mail_id is not None]


def link_back(query: QueryDict) -> str:
    """Return the URL of the list that the selection was made in."""
    return f"{reverse('admin:mails_mail_changelist')}?{MailListFilter.from_query(query).as_query()}".rstrip("?")


def describe_selection(query: QueryDict) -> str:
    """Return the selection in words."""
    if not is_everything(query):
        return "selected emails"
    chosen = MailListFilter.from_query(query)
    parts = [
        search.STATES[chosen.state][0] if chosen.state in search.STATES else chosen.state,
        f"account {chosen.account}" if chosen.account else "",
        f"queue {dict(QueueName.choices).get(chosen.queue, chosen.queue)}" if chosen.queue else "",
        f"application {_name_application(chosen.app)}" if chosen.app else "",
        search.AGES[chosen.age][0].lower() if chosen.age in search.AGES else chosen.age,
        f"“{chosen.q}”" if chosen.q else "",
    ]
    return replace_unprintable(", ".join(filter(None, parts))) or "all emails"


def read_constraint(query: QueryDict) -> AccountChoice:
    """Return which accounts to use; all if the URL names no valid choice."""
    match query.get("account_choice"):
        case "not-tried":
            return AccountChoice(not_tried=True)
        case "via":
            names = [replace_unprintable(name).replace(",", "") for name in query.getlist("via")]
            return AccountChoice(via=",".join(dict.fromkeys(filter(None, names))))
    return EVERY_ACCOUNT


def make_constraint_field(shown: AccountChoice, mails: int) -> dict[str, Any]:
    """Return what the choice of accounts on a page shows, for this number of emails."""
    return {
        "shown": shown,
        "accounts": rules.list_offered_accounts(),
        "pace": preview.estimate_send_time(mails, shown) if mails else "",
    }


def link_to_every_account(request: HttpRequest) -> str:
    """Return the URL of this page for all accounts."""
    return _link_to_accounts(request, EVERY_ACCOUNT)


def link_to_action(request: HttpRequest, action: Action) -> str:
    """Return the URL of another action's page for the same emails."""
    query = request.GET.copy()
    for name in ("included", "account_choice", "via"):
        query.pop(name, None)
    query["action"] = action
    return f"{request.path}?{query.urlencode()}"


def redirect_to_forecast(request: HttpRequest, typed: Mapping[str, str] = NOTHING_TYPED) -> HttpResponse | None:
    """Redirect to the forecast for the posted choice of accounts; None if the page already shows it.

    So nothing happens that was not shown first, with or without scripts. The typed reason is kept, and what else was `typed`.
    """
    if request.method != "POST" or "account_choice" not in request.POST:
        return None
    posted, looks = read_constraint(request.POST), "look" in request.POST
    if request.POST["account_choice"] == "via" and not posted.via:
        messages.error(request, "Nothing was changed: select the accounts to use.")
        return redirect(_link_to_accounts(request, read_constraint(request.GET), typed))
    if posted == read_constraint(request.GET) and not looks:
        return None
    if not looks:
        messages.warning(
            request, f"Nothing was changed yet: you selected other accounts. This is the new forecast, {posted.words}."
        )
    return redirect(_link_to_accounts(request, posted, typed))


def _link_to_accounts(request: HttpRequest, constraint: AccountChoice, typed: Mapping[str, str] = NOTHING_TYPED) -> str:
    query = request.GET.copy()
    for name in [name for name in query if name.startswith(_TYPED)]:
        del query[name]
    for name, value in typed.items():
        query[name] = value
    for name in ("account_choice", "via", "note"):
        query.pop(name, None)
    if note := request.POST.get("note", request.GET.get("note", ""))[: rules.MAX_NOTE]:
        query["note"] = note
    if constraint.via:
        query["account_choice"] = "via"
        query.setlist("via", list(constraint.names))
    elif constraint.not_tried:
        query["account_choice"] = "not-tried"
    return f"{request.path}?{query.urlencode()}".rstrip("?")


def _name_application(app: str) -> str:
    number = app.isascii() and app.isdigit() and len(app) < 19
    return (ApiKey.objects.filter(pk=int(app)).values_list("name", flat=True).first() if number else None) or app


def _parse_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
