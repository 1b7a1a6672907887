"""Which mails of the list a person has chosen: the ticked ones, or all that match its filter; as its URLs say it."""

import uuid

from django.http import QueryDict
from django.urls import reverse

from mails import search
from mails.lanes import Lane
from mails.models import ApiKey
from mails.search import Filter
from mails.sentences import clean

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


def _application(app: str) -> str:
    number = app.isascii() and app.isdigit() and len(app) < 19
    return (ApiKey.objects.filter(pk=int(app)).values_list("name", flat=True).first() if number else None) or app


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
