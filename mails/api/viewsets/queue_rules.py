"""Queue rules, which pick the queue of an email: list, add, read, change, remove."""

from collections.abc import Mapping
from typing import Any, cast

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mails import queue_rules
from mails.api.serializers.queue_rules import (
    ChangedQueueRuleSerializer,
    NewQueueRuleSerializer,
    QueueRuleSerializer,
    StoredQueueRuleSerializer,
    build_queue_rule_url,
)
from mails.api.viewsets.base import format_recorder
from mails.api.viewsets.rule_base import RuleViewSet, build_refusal, find_rule, require_permissions
from mails.models import QueueRule
from mails.queue_rules import FIELDS, QueueRuleInvalid, QueueRuleNotFound
from mercury.lib.mail import printable
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import Problem

_REQUIRED = ("name", "queue")
_UNKNOWN_NAMED = 20


class QueueRulePagination(Pagination):
    """Pages of queue rules."""

    results_key = "queue_rules"


class QueueRuleViewSet(RuleViewSet):
    """The queue rules of this instance, in their order."""

    tag, noun = "Queue rules", "queue_rule"
    queryset = QueueRule.objects.none()
    lookup_url_kwarg = "queue_rule_id"
    serializer_class = QueueRuleSerializer
    serializer_classes = {"create": NewQueueRuleSerializer, "update": ChangedQueueRuleSerializer}
    pagination_class = QueueRulePagination
    required_permissions = require_permissions(QueueRule)

    def get_queryset(self) -> QuerySet[QueueRule]:
        """Return all rules."""
        return QueueRule.objects.all()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List queue rules.

        In their order: the first enabled rule that an email matches decides in which queue it waits.
        """
        return super().list(request, *args, **kwargs)

    @extend_schema(
        responses={201: StoredQueueRuleSerializer},
        parameters=[describe_header("Location", "The rule's URL.", on=[201])],
    )
    def create(self, request: Request) -> Response:
        """Add a queue rule.

        It decides for new emails within two seconds. `warnings` names what is probably wrong, with an example.
        """
        body = self._store(request, None)
        return Response(body, status=201, headers={"Location": body["url"]})

    def retrieve(self, request: Request, queue_rule_id: str) -> Response:
        """Read a queue rule."""
        return Response(
            QueueRuleSerializer(context={"request": request}).to_representation(find_rule(QueueRule, queue_rule_id))
        )

    @extend_schema(responses={200: StoredQueueRuleSerializer})
    def update(self, request: Request, queue_rule_id: str) -> Response:
        """Update a queue rule.

        What is left out stays as it is. Emails that wait stay in their queue.
        """
        return Response(self._store(request, find_rule(QueueRule, queue_rule_id)))

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, queue_rule_id: str) -> Response:
        """Remove a queue rule."""
        queue_rules.delete([find_rule(QueueRule, queue_rule_id)], by=format_recorder(request))
        return Response(status=204)

    def build_url(self, pk: int) -> str:
        """Return the URL of a rule."""
        return build_queue_rule_url(self.request, pk)

    def _store(self, request: Request, before: QueueRule | None) -> dict[str, Any]:
        row = _read(cast(Mapping[str, Any], request.data), before)  # the parser takes objects only
        try:
            queue_rules.save(row, by=format_recorder(request))
        except QueueRuleInvalid as invalid:
            raise _refuse(invalid.errors) from None
        except QueueRuleNotFound:
            raise Http404 from None
        shown: dict[str, Any] = StoredQueueRuleSerializer(context={"request": request}).to_representation(row)
        return shown


def _read(given: Mapping[str, Any], before: QueueRule | None) -> QueueRule:
    """Return the rule of a request. Raises Problem with each error."""
    known = (*FIELDS, *NewQueueRuleSerializer.ignored)
    unknown = [printable.replace_unprintable(name[:60], allowed="") for name in given if name not in known]
    errors = {name: f"There is no field '{name}'. Known: {', '.join(FIELDS)}." for name in unknown[:_UNKNOWN_NAMED]}
    try:
        row = queue_rules.read_rule(given, before)
    except QueueRuleInvalid as invalid:
        raise _refuse(errors | invalid.errors, missing=() if before else set(_REQUIRED).difference(given)) from None
    if errors:
        raise _refuse(errors)
    return row


def _refuse(errors: Mapping[str, str], *, missing: Any = ()) -> Problem:
    return build_refusal(errors, NewQueueRuleSerializer.problem, missing=missing)
