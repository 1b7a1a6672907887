"""Events of an email: what happened to it, in order. Clients may append their own."""

import re
import uuid
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.access.permissions import can_append_to, has_scope
from mails.api.fields import EVENT_FIELDS
from mails.api.serializers import requests
from mails.api.serializers.events import EventSerializer, build_event_url
from mails.api.viewsets.base import UUID, OwnMailsViewSet, find_mail, format_recorder
from mails.lifecycle import writer
from mails.models import Event
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import FieldError, Problem

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # within 64 bits


class EventPagination(Pagination):
    """Pages of events."""

    results_key = "events"


class EventViewSet(OwnMailsViewSet):
    """Events of an email, in order; clients may append their own."""

    tag, noun = "Events", "event"
    verbs = {"create": "append"}
    queryset = Event.objects.none()
    lookup_url_kwarg = "event_id"
    serializer_class = EventSerializer
    serializer_classes = {"create": requests.NewEventSerializer}
    pagination_class = EventPagination
    filter_fields = EVENT_FIELDS
    ordering = "id"
    required_scopes = {"GET": Scope.MAILS_READ, "POST": Scope.EVENTS_WRITE}
    refusals = {"create": (409,)}

    def get_queryset(self) -> QuerySet[Event]:
        """Return the events of the email in the path."""
        return Event.objects.of(find_mail(self.list_visible().only("id"), self.kwargs["mail_id"]).pk)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the events of an email."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        responses={201: EventSerializer}, parameters=[describe_header("Location", "The event's URL.", on=[201])]
    )
    def create(self, request: Request, mail_id: str) -> Response:
        """Append an event to an email.

        Only `event` is needed. An appended event never moves the email; the names of the sending model and of Mercury's
        own need the scope `events:system`. An email has room for 1,000 of them and a million characters of blobs: 409
        `too_many_events` beyond.
        """
        mail = find_mail(self.list_visible(), mail_id)
        if not can_append_to(mail, request.user, request.auth):
            detail = (
                "You may read this email. To append events to emails of others needs the permission 'mails.add_event'."
            )
            raise Problem(403, "permission_denied", detail)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        name, blob = serializer.validated_data["event"], serializer.validated_data.get("blob") or ""
        if requests.is_system_event(name) and not has_scope(request.user, request.auth, Scope.EVENTS_SYSTEM):
            detail = f"'{name}' is a reserved name: it requires the scope '{Scope.EVENTS_SYSTEM}'."
            raise Problem(
                403, "missing_scope", detail, errors=[FieldError(detail=detail, code="missing_scope", pointer="/event")]
            )
        try:
            event = writer.append_client_event(mail, event=name, blob=blob, by=format_recorder(request))
        except writer.TooManyEvents:
            detail = (
                f"Clients may append {writer.CLIENT_EVENTS:,} events to one email, with blobs of "
                f"{writer.CLIENT_BLOBS:,} characters in all. This one was not recorded."
            )
            raise Problem(409, "too_many_events", detail) from None
        body = self._represent(event)
        return Response(body, status=201, headers={"Location": body["url"]})

    def retrieve(self, request: Request, mail_id: str, event_id: str) -> HttpResponseBase:
        """Read an event."""
        if not UUID.fullmatch(mail_id) or not _ID.fullmatch(event_id):
            raise Http404
        event = Event.objects.of(uuid.UUID(mail_id)).filter(pk=int(event_id), mail__in=self.list_visible()).first()
        if event is None:
            raise Http404
        return self.respond(self._represent(event))

    def build_url(self, pk: int) -> str:
        """Return the URL of an event."""
        return build_event_url(self.request, self.kwargs["mail_id"], pk)

    def _represent(self, event: Event) -> dict[str, Any]:
        return EventSerializer(context={"request": self.request}).to_representation(event)
