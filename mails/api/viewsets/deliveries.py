"""Deliveries of a webhook: what was sent, what it answered, and again."""

from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mails.api.fields import DELIVERY_FIELDS
from mails.api.serializers import webhooks as shown
from mails.api.viewsets.base import format_recorder
from mails.api.viewsets.webhooks import CHANGE, SCOPES, find_webhook
from mails.events.webhooks import redelivery
from mails.models import WebhookDelivery
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.resource import ResourceViewSet


class DeliveryPagination(Pagination):
    """Pages of deliveries."""

    results_key = "deliveries"


class DeliveryViewSet(ResourceViewSet):
    """The deliveries of a webhook, newest first."""

    tag, noun = "Webhooks", "delivery"
    queryset = WebhookDelivery.objects.none()
    lookup_url_kwarg = "delivery_id"
    lookup_value_regex = "[^/]+"
    serializer_class = shown.DeliverySerializer
    pagination_class = DeliveryPagination
    filter_fields = DELIVERY_FIELDS
    ordering = "-id"
    required_scopes = SCOPES
    required_permissions = {"GET": "mails.view_webhook"}

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        """Return the deliveries of the webhook in the path."""
        return WebhookDelivery.objects.filter(webhook=find_webhook(self.request, self.kwargs["webhook_id"]))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the deliveries of a webhook."""
        return super().list(request, *args, **kwargs)

    @extend_schema(responses={200: shown.DeliveryWithRequestSerializer})
    def retrieve(self, request: Request, webhook_id: str, delivery_id: str) -> HttpResponseBase:
        """Read a delivery.

        With the request as Mercury sends it, its signatures hidden.
        """
        delivery = self._find(delivery_id)
        return self.respond(
            shown.DeliveryWithRequestSerializer(context={"request": request}).to_representation(delivery),
            volatile="request",
        )

    @extend_schema(request=shown.NoFieldsSerializer, responses={202: shown.DeliverySerializer})
    @action(detail=True, methods=["post"], serializer_class=shown.NoFieldsSerializer, required_permissions=CHANGE)
    def redeliver(self, request: Request, webhook_id: str, delivery_id: str) -> Response:
        """Deliver an event again.

        Now, whatever became of it, with the same `webhook-id`. While the webhook is disabled, it waits.
        """
        delivery = self._find(delivery_id)
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        delivery = redelivery.redeliver(delivery, by=format_recorder(request))
        return Response(self._represent(delivery), status=202)

    def build_url(self, pk: int) -> str:
        """Return the URL of a delivery."""
        return shown.build_delivery_url(self.request, WebhookDelivery(pk=pk, webhook_id=self.kwargs["webhook_id"]))

    def _represent(self, delivery: WebhookDelivery) -> dict[str, Any]:
        return shown.DeliverySerializer(context={"request": self.request}).to_representation(delivery)

    def _find(self, number: str) -> WebhookDelivery:
        """Return a delivery. A malformed id, an unknown one and one of another webhook are all the same 404."""
        is_number = number.isascii() and number.isdecimal() and len(number) < 19
        rows = self.get_queryset().select_related("webhook", "webhook__api_key")
        found = rows.filter(pk=int(number)).first() if is_number else None
        if found is None:
            raise Http404
        return found
