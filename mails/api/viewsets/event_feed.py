"""The feed: the events of all emails that the client may see, for programs that poll."""

import re
import uuid
from typing import Any
from urllib.parse import urlencode

from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.api.fields import parse_time_or_age
from mails.api.serializers import event_feed as shown
from mails.api.serializers.events import EventSerializer
from mails.api.viewsets.base import UUID, OwnMailsViewSet
from mails.events import feed
from mails.events.feed import CursorAhead
from mails.models import Event
from mercury.lib.database import database_clock
from mercury.lib.rest.problems import FieldError, Problem

SINCE = "1h"  # where a first page begins
MOST_NAMES = 50  # in one request
_KEPT = ("limit", "event", "mail")  # parameters that the next page keeps
_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)  # within 64 bits
_LIMIT = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_MOST_NAME = 64  # characters


class FeedPagination(BasePagination):
    """What describes a page of the feed; the view makes it."""

    query_serializer, meta_serializer = shown.FeedQuerySerializer, shown.FeedMetaSerializer
    schema_name = "PageOfFeed"

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the answer's schema."""
        properties = {"events": schema, "meta": {"$ref": "#/components/schemas/FeedMeta"}}
        return {"type": "object", "properties": properties, "required": list(properties)}

    def get_results(self, data: Any) -> Any:
        """Return the items of an answer."""
        return data["events"]


class EventFeedViewSet(OwnMailsViewSet):
    """Events of all emails that the client may see, oldest first."""

    tag, noun = "Events", "event"
    verbs = {"list": "poll"}
    queryset = Event.objects.none()
    serializer_class = EventSerializer
    pagination_class = FeedPagination
    filter_backends = []
    query_parameters = {"list": shown.PARAMETERS}
    required_scopes = {"GET": Scope.MAILS_READ}

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Poll the events of all emails.

        Of all emails of the client, oldest first. Each page has a `cursor`: ask with it for what is new, again and again.
        No event is missed, whatever is stored late, and none comes twice. A page looks at a limited number of
        events, those of other clients included, so that it may be empty though there are more: `more` says so.
        """
        query = request.query_params
        limit = _parse_limit(query.get("limit", str(shown.DEFAULT_LIMIT)))
        names, mail_id = _parse_names(query.get("event", "")), _parse_mail(query.get("mail"))
        after = _find_position(query.get("cursor", ""), query.get("since"))
        try:
            page = feed.read_page(self.list_visible(), after=after, limit=limit, names=names, mail_id=mail_id)
        except CursorAhead:
            detail = (
                "There is no such event yet: the cursor is of another instance, or the database was restored from a backup. "
                "Begin again with 'since', and skip the events that you have."
            )
            raise _build_problem("cursor", detail) from None
        following = _build_next_url(request, page.cursor)
        meta = {"limit": limit, "cursor": str(page.cursor), "more": page.more, "next_url": following}
        events = self.get_serializer(page.events, many=True).data
        return Response({"events": events, "meta": meta}, headers={"Link": f'<{following}>; rel="next"'})


def _find_position(cursor: str, since: str | None) -> int:
    """Return the id of the event to begin after."""
    if cursor:
        if since is not None:
            raise _build_problem("since", "It is for the first page: leave it out, or the cursor.")
        if not _CURSOR.fullmatch(cursor):
            raise _build_problem("cursor", "It is not a cursor. Take it from the last answer, or begin without one.")
        return int(cursor)
    try:
        return feed.find_start(parse_time_or_age(since or SINCE, database_clock.now()))
    except ValueError as error:
        raise _build_problem("since", str(error)) from None


def _parse_limit(text: str) -> int:
    if not _LIMIT.fullmatch(text):
        raise _build_problem("limit", f"'{text[:40]}' is not a whole number of 1 or more.")
    return min(int(text), shown.MOST)


def _parse_names(text: str) -> list[str]:
    names = text.split(",") if text else []
    if len(names) > MOST_NAMES:
        raise _build_problem("event", f"{len(names)} names; at most {MOST_NAMES} are allowed.")
    for name in names:
        if not name or len(name) > _MOST_NAME or "\0" in name:
            raise _build_problem("event", f"Write names of 1 to {_MOST_NAME} characters, such as DONE or DONE,BOUNCED.")
    return names


def _parse_mail(text: str | None) -> uuid.UUID | None:
    if text is None:
        return None
    if not UUID.fullmatch(text):
        raise _build_problem("mail", f"'{text[:40]}' is not the id of an email.")
    return uuid.UUID(text)


def _build_next_url(request: Request, cursor: int) -> str:
    kept = [(name, request.query_params[name]) for name in _KEPT if name in request.query_params]
    return f"{request.build_absolute_uri(request.path)}?{urlencode([('cursor', cursor), *kept])}"


def _build_problem(parameter: str, detail: str) -> Problem:
    code = f"invalid_{parameter}"
    return Problem(
        400, code, f"{parameter}: {detail}", errors=[FieldError(detail=detail, code=code, parameter=parameter)]
    )
