"""Routing rules: list, add, read, change, remove; and the preview of a routing decision."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any, cast

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, PolymorphicProxySerializer, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.api.serializers.rules import (
    ChangedRoutingRuleSerializer,
    NewRoutingRuleSerializer,
    PreviewedMailSerializer,
    PreviewedSubmissionSerializer,
    RoutePreviewSerializer,
    RoutingRuleSerializer,
    StoredRoutingRuleSerializer,
    build_rule_url,
)
from mails.api.viewsets.base import UUID, format_recorder, get_key
from mails.api.viewsets.rule_base import RuleViewSet, build_refusal, find_rule, require_permissions
from mails.intake.client import Client
from mails.intake.receipts import Refused
from mails.intake.route_preview import RoutePreview, preview_mail, preview_submission
from mails.models import ApiKey, Mail, RoutingRule
from mails.obstacles import SendingConditions
from mails.routing import changes, review
from mails.routing.changes import RuleNotFound
from mails.routing.drafts import FIELDS, RuleDraft, RuleInvalid, read_change, read_draft
from mails.states import Source
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import FieldError, Problem, build_pointer
from mercury.lib.rest.resource import ApiViewSet

_REQUIRED = frozenset({"name", "accounts"})
_READ_ONLY = ("changed", "changed_by", "id", "sentence", "url", "warnings")


class RulePagination(Pagination):
    """Pages of rules."""

    results_key = "rules"


class RoutingRuleViewSet(RuleViewSet):
    """The routing rules of this instance, in their order."""

    tag, noun = "Routing", "rule"
    queryset = RoutingRule.objects.none()
    lookup_url_kwarg = "rule_id"
    serializer_class = RoutingRuleSerializer
    serializer_classes = {"create": NewRoutingRuleSerializer, "update": ChangedRoutingRuleSerializer}
    pagination_class = RulePagination
    required_permissions = require_permissions(RoutingRule)

    def get_queryset(self) -> QuerySet[RoutingRule]:
        """Return all rules."""
        return RoutingRule.objects.all()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List routing rules.

        In their order: the first enabled rule that an email matches decides which accounts it may use.
        """
        return super().list(request, *args, **kwargs)

    @extend_schema(
        responses={201: StoredRoutingRuleSerializer},
        parameters=[describe_header("Location", "The rule's URL.", on=[201])],
    )
    def create(self, request: Request) -> Response:
        """Add a routing rule.

        It decides for new emails within two seconds; those that wait are matched again. `warnings` names what may not
        be meant, with an example.
        """
        draft, position = _read_rule(_get_body(request))
        try:
            row = changes.add(draft, by=format_recorder(request), position=position)
        except RuleInvalid as error:
            raise _refuse(error) from None
        body = self._show(row)
        return Response(body, status=201, headers={"Location": body["url"]})

    def retrieve(self, request: Request, rule_id: str) -> Response:
        """Read a routing rule."""
        return Response(
            RoutingRuleSerializer(context={"request": request}).to_representation(find_rule(RoutingRule, rule_id))
        )

    @extend_schema(responses={200: StoredRoutingRuleSerializer})
    def update(self, request: Request, rule_id: str) -> Response:
        """Update a routing rule.

        What is left out stays as it is; `position` moves it.
        """
        row = find_rule(RoutingRule, rule_id)
        draft, position = _read_rule(_get_body(request), before=row)
        try:
            row = changes.change(row, draft, by=format_recorder(request), position=position)
        except RuleInvalid as error:
            raise _refuse(error) from None
        except RuleNotFound:
            raise Http404 from None
        row.refresh_from_db()
        return Response(self._show(row))

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, rule_id: str) -> Response:
        """Remove a routing rule.

        Emails that wait under it are matched with the others again.
        """
        try:
            changes.remove(find_rule(RoutingRule, rule_id), by=format_recorder(request))
        except RuleNotFound:
            raise Http404 from None
        return Response(status=204)

    def build_url(self, pk: int) -> str:
        """Return the URL of a rule."""
        return build_rule_url(self.request, pk)

    def _show(self, row: RoutingRule) -> dict[str, Any]:
        warnings = review.find_warnings(review.list_rules(), row)
        shown: dict[str, Any] = StoredRoutingRuleSerializer(context={"request": self.request}).to_representation(
            (row, warnings)
        )
        return shown


class RoutePreviewViewSet(ApiViewSet):
    """The preview of a routing decision."""

    tag, noun = "Routing", "route"
    required_scopes = {"POST": Scope.PROVIDERS_READ}
    required_permissions = {"POST": "mails.view_routingrule"}
    pagination_class = None

    @extend_schema(
        request=PolymorphicProxySerializer(
            component_name="PreviewedEmail",
            serializers=[PreviewedSubmissionSerializer, PreviewedMailSerializer],
            resource_type_field_name=None,
            many=False,
        ),
        responses={200: RoutePreviewSerializer},
    )
    @action(detail=False, methods=["post"], serializer_class=RoutePreviewSerializer)
    def preview(self, request: Request) -> Response:
        """Preview a routing decision.

        Which account would this email get now, by which rule, and why no other? Nothing is stored or sent. The body is an
        email as `POST /mails/` takes it, or `{"mail": "<id>"}`; `api_key` names who would submit it, and `rule` is a rule
        to try before it is stored.
        """
        fields = dict(_get_body(request))
        rows = _read_rules(fields.pop("rule", None))
        client = _read_client(fields.pop("api_key", None))
        book, conditions = review.build_book(rows), SendingConditions.load()
        if "mail" in fields:
            found: RoutePreview | Refused = preview_mail(_find_mail(request, fields), book=book, conditions=conditions)
        else:
            found = preview_submission(fields, client=client, book=book, conditions=conditions)
        if isinstance(found, Refused):
            raise _refuse_mail(found)
        return Response(RoutePreviewSerializer(found).data)


def _get_body(request: Request) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], request.data)  # the parser takes objects only


def _read_rule(given: Mapping[str, Any], *, before: RoutingRule | None = None) -> tuple[RuleDraft, int | None]:
    """Return the rule of a request, and its place. Raises Problem with each error."""
    errors = {
        name: f"There is no field '{name}'. Known: {', '.join((*FIELDS, 'position'))}."
        for name in list(given)[:20]
        if name not in (*FIELDS, "position", *_READ_ONLY)
    }
    position = given.get("position")
    if position is not None and (isinstance(position, bool) or not isinstance(position, int) or position < 1):
        errors["position"] = "It must be a whole number from 1."
    known = changes.list_known_accounts()
    try:
        draft = read_change(before, given, known_accounts=known) if before else read_draft(given, known_accounts=known)
    except RuleInvalid as invalid:
        missing = frozenset() if before else _REQUIRED - given.keys()
        raise _refuse(RuleInvalid(errors | invalid.errors), missing=missing) from None
    if errors:
        raise _refuse(RuleInvalid(errors))
    return draft, position


def _refuse(invalid: RuleInvalid, *, at: tuple[str, ...] = (), missing: Collection[str] = ()) -> Problem:
    return build_refusal(invalid.errors, NewRoutingRuleSerializer.problem, at=at, missing=missing)


def _read_rules(given: Any) -> list[RoutingRule]:
    """Return all rules, with the one that the request tries. Raises Problem."""
    if given is None:
        return review.list_rules()
    if not isinstance(given, Mapping):
        raise _refuse(RuleInvalid({"": "It must be an object with the fields of a rule."}), at=("rule",))
    try:
        draft, position = _read_rule(given)
    except Problem as problem:
        problem.errors = tuple(
            FieldError(detail=error.detail, code=error.code, pointer=f"/rule{error.pointer or ''}")
            for error in problem.errors
        )
        raise
    return review.list_rules(draft.to_row(), position)


def _read_client(name: Any) -> Client:
    if name is None:
        return Client(source=Source.COMMAND)
    key = ApiKey.objects.filter(name=name, revoked_at=None).order_by("-id").first() if isinstance(name, str) else None
    if key is None:
        detail = "There is no API key of this name. Write the name of one, or omit the field."
        raise _build_invalid("api_key", detail)
    return Client(source=Source.API, api_key=key)


def _find_mail(request: Request, fields: Mapping[str, Any]) -> Mail:
    if len(fields) > 1:
        raise _build_invalid("mail", "Write the fields of an email, or the id of a stored one, not both.")
    mail_id = fields["mail"]
    if not isinstance(mail_id, str) or not UUID.fullmatch(mail_id):
        raise _build_invalid("mail", "It must be the id of an email.")
    visible = Mail.objects.visible_to(api_key=get_key(request), user=request.user)
    mail = visible.filter(pk=uuid.UUID(mail_id)).first()
    if mail is None:
        raise _build_invalid("mail", "There is no such email, or it is not yours.")
    return mail


def _build_invalid(field: str, detail: str) -> Problem:
    error = FieldError(detail=detail, code="invalid", pointer=build_pointer(field))
    return Problem(400, "invalid_preview", "Nothing was previewed; see errors.", errors=[error])


def _refuse_mail(refused: Refused) -> Problem:
    errors = [
        FieldError(detail=error.detail, code=error.code, pointer=build_pointer(error.field, *error.path))
        for error in refused.errors
    ]
    return Problem(400, "invalid_preview", f"This email would be refused: {refused.detail}", errors=errors)
