"""Client webhooks: list, add, read, change, remove; test, rotate the secret, disable, enable, deliver again."""

import datetime as dt
import uuid
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.api.fields import WEBHOOK_FIELDS
from mails.api.serializers import webhooks as shown
from mails.api.viewsets.base import UUID, format_recorder, get_key, read_flag
from mails.events.webhooks import operations, redelivery
from mails.events.webhooks.operations import (
    OVERLAP_HOURS,
    InvalidChoice,
    NewWebhook,
    TooManyWebhooks,
    WebhookDisabled,
)
from mails.events.webhooks.redelivery import Period, RangeTooLong
from mails.events.webhooks.urls import UrlNotAllowed
from mails.models import ApiKey, Webhook
from mercury.lib.database import database_clock
from mercury.lib.moments import MomentError, parse_moment
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import FieldError, Problem, build_pointer
from mercury.lib.rest.resource import ResourceViewSet

SCOPES = {"GET": Scope.WEBHOOKS_READ, **dict.fromkeys(("POST", "PATCH", "DELETE"), Scope.WEBHOOKS_WRITE)}
CHANGE = {"POST": "mails.change_webhook"}  # what people need for an action on a webhook


class WebhookPagination(Pagination):
    """Pages of webhooks."""

    results_key = "webhooks"


class WebhookViewSet(ResourceViewSet):
    """The webhooks of the client's API key; of all keys for people."""

    tag, noun = "Webhooks", "webhook"
    verbs = {
        "create": "add",
        "partial_update": "update",
        "rotate_secret": "rotate_secret_of",
        "redeliver": "redeliver_events_of",
    }
    queryset = Webhook.objects.none()
    lookup_url_kwarg = "webhook_id"
    lookup_value_regex = "[^/]+"
    serializer_class = shown.WebhookSerializer
    serializer_classes = {"create": shown.NewWebhookSerializer, "partial_update": shown.ChangedWebhookSerializer}
    pagination_class = WebhookPagination
    filter_fields = WEBHOOK_FIELDS
    ordering = "id"
    query_parameters = {"redeliver": ("dry_run",)}
    refusals = {"create": (409,), "partial_update": (409, 413, 415), "test": (409,)}
    required_scopes = SCOPES
    required_permissions = {
        "GET": "mails.view_webhook",
        "POST": "mails.add_webhook",
        "PATCH": "mails.change_webhook",
        "DELETE": "mails.delete_webhook",
    }

    def get_queryset(self) -> QuerySet[Webhook]:
        """Return the webhooks that this client may see."""
        return list_own(self.request)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List webhooks."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        responses={201: shown.WebhookWithSecretSerializer},
        parameters=[describe_header("Location", "The webhook as a resource.", on=[201])],
    )
    def create(self, request: Request) -> Response:
        """Add a webhook.

        It gets the events of the key's emails from now on. The answer has the secret, which is not shown again.
        """
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = dict(serializer.validated_data)
        key = _choose_key(request, fields.pop("api_key", None))
        try:
            made = operations.create(key, by=format_recorder(request), **fields)
        except (UrlNotAllowed, InvalidChoice, TooManyWebhooks) as error:
            raise refuse(error) from None
        body = shown.WebhookWithSecretSerializer(context={"request": request}).to_representation(made)
        return Response(body, status=201, headers={"Location": body["resource"]})

    def retrieve(self, request: Request, webhook_id: str) -> HttpResponseBase:
        """Read a webhook."""
        return self.respond(self._represent(find_webhook(request, webhook_id)))

    @extend_schema(responses={200: shown.WebhookSerializer})
    def partial_update(self, request: Request, webhook_id: str) -> Response:
        """Update a webhook.

        What is left out stays as it is. Deliveries that wait go to the new URL.
        """
        webhook = find_webhook(request, webhook_id)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            webhook = operations.update(webhook, by=format_recorder(request), **serializer.validated_data)
        except (UrlNotAllowed, InvalidChoice) as error:
            raise refuse(error) from None
        return Response(self._represent(webhook))

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, webhook_id: str) -> Response:
        """Remove a webhook.

        Its deliveries are removed, too. A request in progress may still arrive.
        """
        operations.remove(find_webhook(request, webhook_id), by=format_recorder(request))
        return Response(status=204)

    @extend_schema(request=shown.NoFieldsSerializer, responses={202: shown.DeliverySerializer})
    @action(detail=True, methods=["post"], serializer_class=shown.NoFieldsSerializer, required_permissions=CHANGE)
    def test(self, request: Request, webhook_id: str) -> Response:
        """Test a webhook.

        Mercury sends it an event of the type `mercury.test`, before all that waits. The answer is its delivery: read
        it until its `status` is no longer `waiting`.
        """
        webhook = find_webhook(request, webhook_id)
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        try:
            delivery = operations.send_test(webhook, by=format_recorder(request))
        except WebhookDisabled as error:
            raise refuse(error) from None
        return Response(shown.DeliverySerializer(context={"request": request}).to_representation(delivery), status=202)

    @extend_schema(request=shown.RotateSecretSerializer, responses={200: shown.WebhookWithSecretSerializer})
    @action(
        detail=True,
        methods=["post"],
        url_path="rotate-secret",
        serializer_class=shown.RotateSecretSerializer,
        required_permissions=CHANGE,
    )
    def rotate_secret(self, request: Request, webhook_id: str) -> Response:
        """Rotate the secret of a webhook.

        The answer has the new secret, which is not shown again. For `hours` each request is signed with both secrets, so the
        client can switch at any time.
        """
        webhook = find_webhook(request, webhook_id)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        hours = serializer.validated_data.get("hours", OVERLAP_HOURS)
        try:
            secret = operations.rotate_secret(webhook, by=format_recorder(request), hours=hours)
        except InvalidChoice as error:
            raise refuse(error) from None
        rotated = NewWebhook(webhook=webhook, secret=secret)
        return Response(shown.WebhookWithSecretSerializer(context={"request": request}).to_representation(rotated))

    @extend_schema(request=shown.NoFieldsSerializer, responses={200: shown.WebhookSerializer})
    @action(detail=True, methods=["post"], serializer_class=shown.NoFieldsSerializer, required_permissions=CHANGE)
    def enable(self, request: Request, webhook_id: str) -> Response:
        """Enable a webhook.

        It gets what has waited and what happened while it was disabled. Again: 200.
        """
        webhook = find_webhook(request, webhook_id)
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        operations.enable(webhook, by=format_recorder(request))
        return Response(self._represent(webhook))

    @extend_schema(request=shown.DisableWebhookSerializer, responses={200: shown.WebhookSerializer})
    @action(detail=True, methods=["post"], serializer_class=shown.DisableWebhookSerializer, required_permissions=CHANGE)
    def disable(self, request: Request, webhook_id: str) -> Response:
        """Disable a webhook.

        Nothing is sent to it; its events wait until it is enabled. Again: 200.
        """
        webhook = find_webhook(request, webhook_id)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        operations.disable(webhook, by=format_recorder(request), reason=serializer.validated_data.get("reason", ""))
        return Response(self._represent(webhook))

    @extend_schema(
        request=shown.RedeliverRangeSerializer,
        responses={200: shown.RedeliveredSerializer, 202: shown.RedeliveredSerializer},
        parameters=[OpenApiParameter("dry_run", bool, description="Only say how many events it would be (200).")],
    )
    @action(detail=True, methods=["post"], serializer_class=shown.RedeliverRangeSerializer, required_permissions=CHANGE)
    def redeliver(self, request: Request, webhook_id: str) -> Response:
        """Deliver the events of a period again.

        Those whose delivery was given up, or with `"only_failed": false` all that the webhook gets. They keep their ids.
        """
        webhook = find_webhook(request, webhook_id)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        period, is_dry = _read_period(serializer.validated_data), read_flag(request, "dry_run")
        try:
            if is_dry:
                return Response({"redelivered": redelivery.count_period(webhook, period)})
            count = redelivery.redeliver_period(webhook, period, by=format_recorder(request))
        except RangeTooLong as error:
            raise refuse(error) from None
        return Response({"redelivered": count}, status=202)

    def build_url(self, pk: uuid.UUID) -> str:
        """Return the URL of a webhook as a resource."""
        return shown.build_webhook_url(self.request, pk)

    def _represent(self, webhook: Webhook) -> dict[str, Any]:
        return shown.WebhookSerializer(context={"request": self.request}).to_representation(webhook)


def list_own(request: Request) -> QuerySet[Webhook]:
    """Return the webhooks of the request's API key; all for a person, who has the method's permission."""
    key = get_key(request)
    everything = Webhook.objects.select_related("api_key")
    return everything if key is None else everything.filter(api_key=key)


def find_webhook(request: Request, webhook_id: str) -> Webhook:
    """Return a webhook. A malformed id, an unknown one and one of another key are all the same 404."""
    found = list_own(request).filter(pk=uuid.UUID(webhook_id)).first() if UUID.fullmatch(webhook_id) else None
    if found is None:
        raise Http404
    return found


def refuse(error: Exception) -> Problem:
    """Return the answer to an error of an operation, at the field that it is about."""
    match error:
        case WebhookDisabled():
            return Problem(409, "webhook_disabled", str(error))
        case TooManyWebhooks():
            return Problem(409, "too_many_webhooks", str(error))
        case RangeTooLong():
            return _build_invalid("invalid_range", "since", "range_too_long", str(error))
        case InvalidChoice():
            return _build_invalid("invalid_webhook", error.field, "invalid", str(error))
    return _build_invalid("invalid_webhook", "url", "url_not_allowed", str(error))


def _build_invalid(problem: str, field: str, code: str, detail: str) -> Problem:
    error = FieldError(detail=detail, code=code, pointer=build_pointer(field))
    return Problem(400, problem, f"{field}: {detail}", errors=[error])


def _choose_key(request: Request, name: str | None) -> ApiKey:
    """Return the key whose emails a new webhook gets the events of. Raises Problem."""
    own = get_key(request)
    if own is not None:
        if name not in (None, own.name):
            detail = "A key adds webhooks of its own emails only. Leave this field out."
            raise _build_invalid("invalid_webhook", "api_key", "invalid", detail)
        return own
    if name is None:
        raise _build_invalid("invalid_webhook", "api_key", "required", "Name the API key whose emails it is for.")
    key = ApiKey.objects.filter(name=name, revoked_at=None).order_by("-id").first()
    if key is None:
        raise _build_invalid("invalid_webhook", "api_key", "invalid", "There is no API key of this name.")
    return key


def _read_period(given: dict[str, Any]) -> Period:
    """Return the period of a request. Raises Problem."""
    moments: dict[str, dt.datetime] = {"until": database_clock.now()}
    for name in ("since", "until"):
        if name in given:
            try:
                moments[name] = parse_moment(given[name])
            except MomentError as error:
                detail = f"'{given[name][:40]}' {error.fault}"
                raise _build_invalid("invalid_range", name, error.code, detail) from None
    if moments["since"] >= moments["until"]:
        raise _build_invalid("invalid_range", "since", "invalid", "It must be before 'until'.")
    return Period(**moments, only_failed=given.get("only_failed", True))
