"""Base classes of the API's views: known query parameters, answers that are not cached, one serializer per action."""

import difflib
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.views.decorators.http import conditional_page
from rest_framework.metadata import SimpleMetadata
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from mercury.lib.mail import printable
from mercury.lib.rest.filters import FilterFields, GrammarFilter
from mercury.lib.rest.pagination import PARAMETERS
from mercury.lib.rest.problems import FieldError, Problem

FORMAT = "format"  # of the answer, as Django REST framework reads it: json, or api for the browsable page
_MAY_BE_BLANK = frozenset({"cursor"})  # blank: from the beginning of the list
_SHOWN = 40  # characters of a client's parameter that an error repeats
_MAX_ERRORS = 20


class Metadata(SimpleMetadata):
    """The answer to OPTIONS: what a view is for, and its media types. Fields are described in the OpenAPI schema alone."""

    def determine_actions(self, request: Request, view: APIView) -> dict[str, Any]:
        """Return no fields. Django REST framework would list those of the answer as required ones of a request."""
        return {}


class ApiView(APIView):
    """A view that refuses unknown query parameters, so that a misspelt one is not ignored."""

    metadata_class = Metadata
    query_parameters: Mapping[str, tuple[str, ...]] = {}  # by action; a list has those of numbered pages by default

    def check_throttles(self, request: Request) -> None:
        """Check the query string of a permitted request, then its rate."""
        if hasattr(self, str(request.method).lower()):  # else it becomes a 405
            action = getattr(self, "action", "")
            check_query(request, self.query_parameters.get(action, PARAMETERS if action == "list" else ()))
        super().check_throttles(request)


class ApiViewSet(ApiView, GenericViewSet[Any]):
    """A view set with one serializer per action.

    The first line of an action's docstring names it in the API's root and in the OpenAPI schema; the rest describes it there.
    """

    tag: ClassVar[str]
    noun: ClassVar[str]  # of its operations' ids: list_mails, read_mail
    verbs: ClassVar[Mapping[str, str]] = {}  # of these ids, where an action's own name is not the verb
    serializer_classes: ClassVar[
        Mapping[str, type[BaseSerializer[Any]]]
    ] = {}  # by action, of requests; else `serializer_class`
    refusals: ClassVar[Mapping[str, Sequence[int]]] = {}  # by action: further error statuses
    required_scopes: Mapping[str, str] = {}  # by method

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        """Return the serializer of the action's requests, or of its answers if it has no body."""
        return self.serializer_classes.get(self.action or "") or super().get_serializer_class()


def read_summary(view: type, action: str) -> tuple[str, str]:
    """Return the first line of an action's docstring, without its full stop, and the rest as one paragraph."""
    first, _, rest = inspect.cleandoc(getattr(view, action).__doc__ or "").partition("\n")
    return first.rstrip("."), " ".join(rest.split())


class ResourceViewSet(ApiViewSet):
    """A view set whose answers are private, have an ETag, are revalidated, and state the rest of the key's rate limit."""

    filter_backends = [GrammarFilter]
    filter_fields: ClassVar[FilterFields]
    ordering: ClassVar[str]  # a unique column: the list's own order
    is_intake = False  # True: the request submits an email, and is counted as one if the rate limit refuses it

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer; 304 to the GET of a client that has the answer already."""
        answer: Callable[..., HttpResponseBase] = super().dispatch
        return (conditional_page(answer) if request.method == "GET" else answer)(request, *args, **kwargs)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of URLs, or with `expand` of whole objects."""
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        if self.paginator.expand:  # type: ignore[union-attr]  # Pages
            return self.get_paginated_response(self.represent(rows))
        return self.get_paginated_response([self.build_url(pk) for pk in rows.values_list("pk", flat=True)])  # type: ignore[union-attr]

    def represent(self, rows: Any) -> Sequence[Any]:
        """Return the rows as whole objects."""
        data: Sequence[Any] = self.get_serializer(rows, many=True).data
        return data

    def build_url(self, pk: Any) -> str:
        """Return the URL of one item of the list."""
        raise NotImplementedError

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Forbid caches to show a resource as it was before a write; add the key's rate limit to every answer."""
        for name, value in getattr(request, "rate_headers", {}).items():
            response[name] = value
        response["Cache-Control"] = "private, no-cache"
        return super().finalize_response(request, response, *args, **kwargs)

    def respond(self, body: dict[str, Any], *, volatile: str = "", also: object = None) -> HttpResponseBase:
        """Return one resource with its ETag, or 304 to a client that has it; the browsable page is always rendered.

        The ETag omits the field `volatile`, which may state an age, and covers `also`, which the body may lack.
        """
        if self.request.accepted_renderer.format != "json":
            return Response(body)
        etag = hashlib.sha256(json.dumps({**body, volatile: "", "also": also}).encode()).hexdigest()[:32]
        response = Response(body, headers={"ETag": f'"{etag}"'})
        return get_conditional_response(self.request._request, etag=f'"{etag}"', response=response) or response


def check_query(request: Request, known: tuple[str, ...]) -> None:
    """Raise Problem (400) that names each query parameter which is unknown, repeated or empty."""
    allowed = (*known, FORMAT)
    errors = [
        error
        for name, values in request.query_params.lists()
        if (error := _find_error(name, values, allowed)) is not None
    ]
    if errors:
        unknown = any(error.code == "unknown_parameter" for error in errors)
        summary = " ".join(error.describe() for error in errors[:_MAX_ERRORS])
        extra = {"allowed": {"parameters": list(allowed)}} if unknown else {}
        raise Problem(400, errors[0].code, summary, errors=errors[:_MAX_ERRORS], extra=extra)


def _find_error(name: str, values: list[str], allowed: tuple[str, ...]) -> FieldError | None:
    shown = printable.replace_unprintable(name[:_SHOWN], allowed="")
    if name not in allowed:
        close = difflib.get_close_matches(shown, allowed, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        detail = f"There is no such query parameter here.{hint} Allowed: {', '.join(allowed)}."
        return FieldError(detail=detail, code="unknown_parameter", parameter=shown)
    if len(values) > 1:
        return FieldError(detail=f"It occurs {len(values)} times; use it once.", code=f"invalid_{name}", parameter=name)
    if not values[0].strip() and name not in _MAY_BE_BLANK:
        return FieldError(
            detail="It has no value. Give it a value, or omit it.", code=f"invalid_{name}", parameter=name
        )
    return None
