"""Paginated lists: rows, `meta` with the URLs of other pages, and the `Link` header.

Pages are numbered, and each counts the whole list; a client may page by key instead, which counts nothing.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from mercury.lib.rest import filters
from mercury.lib.rest.problems import FieldError, Problem

PER_PAGE = 20  # rows per page, default and maximum
_KEPT = ("per_page", "expand", "filter", "sort")  # parameters that each link of a list keeps
_NUMBER = re.compile(r"[0-9]{1,4000}", re.ASCII)
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
Row = TypeVar("Row", bound=Model)
_BY_CURSOR = "Null if the page was asked for by `cursor`."


class PageQuerySerializer(serializers.Serializer[Any]):
    """The query parameters of a page."""

    page = serializers.IntegerField(
        required=False, min_value=1, help_text="Counted from 1; a page beyond the last is a 404."
    )
    cursor = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="Pages by key, in the list's own order: empty for the first, then as `next_url` has it. Costs the same at "
        "any depth and counts nothing. Not together with `page` or `sort`.",
    )
    per_page = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text=f"At most {PER_PAGE}, which is the default; a larger number means {PER_PAGE}.",
    )
    expand = serializers.BooleanField(required=False, help_text="Whole objects instead of URLs.")


PARAMETERS = (*PageQuerySerializer._declared_fields, "filter", "sort")  # the query parameters of a list


class MetaSerializer(serializers.Serializer[Any]):
    """The position of a page in its list."""

    page = serializers.IntegerField(allow_null=True, min_value=1, help_text=f"This page, counted from 1. {_BY_CURSOR}")
    per_page = serializers.IntegerField(min_value=1, max_value=PER_PAGE, help_text="Items of a full page.")
    total = serializers.IntegerField(allow_null=True, min_value=0, help_text=f"Items of all pages. {_BY_CURSOR}")
    pages = serializers.IntegerField(
        allow_null=True, min_value=0, help_text=f"Pages; 0 for an empty list. {_BY_CURSOR}"
    )
    first_url = serializers.URLField(help_text="The first page.")
    last_url = serializers.URLField(allow_null=True, help_text=f"The last page. {_BY_CURSOR}")
    prev_url = serializers.URLField(allow_null=True, help_text="The page before; null on page 1 and with `cursor`.")
    next_url = serializers.URLField(allow_null=True, help_text="The page after; null on the last.")


class Pagination(BasePagination):
    """Numbered pages, or pages by key with `cursor=`. A subclass sets `results_key`, the key of the list in the answer."""

    results_key = "results"
    query_serializer: type[serializers.Serializer[Any]] = PageQuerySerializer
    meta_serializer: type[serializers.Serializer[Any]] = MetaSerializer
    expand = False
    meta: dict[str, Any]

    def paginate_queryset(  # type: ignore[override]  # a query set, so that the view may choose its columns
        self, queryset: QuerySet[Row], request: Request, view: Any = None
    ) -> QuerySet[Row]:
        """Return the rows of the page, not yet read. One query: the count, or with `cursor` the keys.

        Raises Problem: 400 for an invalid parameter, 404 for a page beyond the last.
        """
        query = request.query_params
        per_page = min(_parse_number(query.get("per_page", str(PER_PAGE)), "per_page"), PER_PAGE)
        self.expand = _parse_flag(query.get("expand", "false"))
        if "cursor" in query:
            return self._paginate_by_key(request, queryset, view, per_page)
        number = _parse_number(query.get("page", "1"), "page")
        total = queryset.count()
        pages = math.ceil(total / per_page)
        if number > max(1, pages):
            raise Problem(404, "no_such_page", f"There is no such page; the last one is page {pages}.")
        self.meta = {"page": number, "per_page": per_page, "total": total, "pages": pages}
        self.meta |= _build_urls(request, number, pages)
        first = (number - 1) * per_page
        return queryset[first : first + per_page]

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        """Return these items as the answer."""
        return Response({self.results_key: data, "meta": self.meta}, headers={"Link": self.link})

    @property
    def link(self) -> str:
        """The `Link` header (RFC 8288)."""
        urls = ((name, self.meta[f"{name}_url"]) for name in ("first", "prev", "next", "last"))
        return ", ".join(f'<{url}>; rel="{name}"' for name, url in urls if url)

    @property
    def schema_name(self) -> str:
        """The name of a page in the OpenAPI schema."""
        return "PageOf" + "".join(word.capitalize() for word in self.results_key.split("_"))

    def get_results(self, data: Any) -> Any:
        """Return the items of an answer."""
        return data[self.results_key]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the answer's schema: URLs, or with `expand` whole objects."""
        item = {"anyOf": [{"type": "string", "format": "uri", "description": "Its URL."}, schema["items"]]}
        properties = {
            self.results_key: {"type": "array", "items": item},
            "meta": {"$ref": "#/components/schemas/Meta"},
        }
        return {"type": "object", "properties": properties, "required": list(properties)}

    def _paginate_by_key(self, request: Request, rows: QuerySet[Row], view: Any, per_page: int) -> QuerySet[Row]:
        query = request.query_params
        if "page" in query or query.get("sort"):
            raise _build_problem("cursor", "It follows the list's own order: leave out 'page' and 'sort'.")
        if query["cursor"]:
            rows = filters.filter_after_cursor(rows, view.filter_fields, query["cursor"], order=view.ordering)
        keys = list(rows.values_list(view.ordering.removeprefix("-"), flat=True)[: per_page + 1])
        following = _build_url(request, "cursor", keys[per_page - 1]) if len(keys) > per_page else None
        unknown = dict.fromkeys(("page", "total", "pages", "last_url", "prev_url"))
        self.meta = {
            **unknown,
            "per_page": per_page,
            "first_url": _build_url(request, "cursor", ""),
            "next_url": following,
        }
        return rows[:per_page]


def _build_urls(request: Request, number: int, pages: int) -> dict[str, str | None]:
    return {
        "first_url": _build_url(request, "page", 1),
        "last_url": _build_url(request, "page", max(1, pages)),
        "prev_url": _build_url(request, "page", number - 1) if number > 1 else None,
        "next_url": _build_url(request, "page", number + 1) if number < pages else None,
    }


def _build_url(request: Request, parameter: str, value: object) -> str:
    kept = [(name, request.query_params[name]) for name in _KEPT if name in request.query_params]
    return f"{request.build_absolute_uri(request.path)}?{urlencode([(parameter, value), *kept])}"


def _parse_number(text: str, parameter: str) -> int:
    if _NUMBER.fullmatch(text) and (number := int(text)) > 0:
        return number
    raise _build_problem(parameter, f"'{text[:40]}' is not a whole number of 1 or more.")


def _parse_flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise _build_problem("expand", f"'{text[:40]}' is neither true nor false.")


def _build_problem(parameter: str, detail: str) -> Problem:
    code = f"invalid_{parameter}"
    return Problem(
        400, code, f"{parameter}: {detail}", errors=[FieldError(detail=detail, code=code, parameter=parameter)]
    )
