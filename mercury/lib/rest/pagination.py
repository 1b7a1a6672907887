"""Lists in pages: rows, `meta` with the URLs of its neighbours, and the `Link` header.

Pages are numbered, which costs a count of the whole list for each; or, where a client asks for it, follow one another by key.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, QuerySet
from rest_framework.request import Request

from mercury.lib.rest import filters
from mercury.lib.rest.problems import Fault, Problem

PER_PAGE = 20  # rows of a page, by default and at most
_KEPT = ("per_page", "expand", "filter", "sort")  # what every link of a list keeps
PARAMETERS = ("page", "cursor", *_KEPT)  # of a list, in its query string
_NUMBER = re.compile(r"[0-9]{1,4000}", re.ASCII)
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of a list. `rows` is a query set, not yet run, so that the caller may choose its columns."""

    rows: QuerySet[Row]
    expand: bool
    meta: dict[str, Any]

    @property
    def link(self) -> str:
        """The `Link` header (RFC 8288)."""
        urls = ((name, self.meta[f"{name}_url"]) for name in ("first", "prev", "next", "last"))
        return ", ".join(f'<{url}>; rel="{name}"' for name, url in urls if url)


def paginate(request: Request, rows: QuerySet[Row], fields: filters.Fields, *, default: str) -> Page[Row]:
    """The page that the query string asks for, of `rows` narrowed and ordered as it says. One query: the count.

    `default` is the order where none is asked for, a unique column. With a `cursor` the page follows the row of that
    key, costs the same at any depth and counts nothing. Raises Problem: 400 for what cannot be read, 404 for a page
    beyond the last.
    """
    query = request.query_params
    if "cursor" in query:
        return _by_key(request, rows, fields, default)
    number = _number(query.get("page", "1"), "page")
    per_page = min(_number(query.get("per_page", str(PER_PAGE)), "per_page"), PER_PAGE)
    expand = _flag(query.get("expand", "false"))
    rows = filters.apply(
        rows, fields, filter_by=query.get("filter", ""), sort_by=query.get("sort", ""), default=default
    )
    total = rows.count()
    pages = math.ceil(total / per_page)
    if number > max(1, pages):
        raise Problem(404, "no_such_page", f"There is no such page; the last one is page {pages}.")
    meta = {"page": number, "per_page": per_page, "total": total, "pages": pages}
    first = (number - 1) * per_page
    return Page(rows[first : first + per_page], expand, meta | _urls(request, number, pages))


def _by_key(request: Request, rows: QuerySet[Row], fields: filters.Fields, default: str) -> Page[Row]:
    query = request.query_params
    if "page" in query or query.get("sort"):
        raise _problem("cursor", "It follows the list's own order: leave out 'page' and 'sort'.")
    per_page = min(_number(query.get("per_page", str(PER_PAGE)), "per_page"), PER_PAGE)
    expand = _flag(query.get("expand", "false"))
    rows = filters.apply(rows, fields, filter_by=query.get("filter", ""), sort_by="", default=default)
    if query["cursor"]:
        rows = filters.beyond(rows, fields, query["cursor"], order=default)
    keys = list(rows.values_list(default.removeprefix("-"), flat=True)[: per_page + 1])
    following = _url(request, "cursor", keys[per_page - 1]) if len(keys) > per_page else None
    unknown = dict.fromkeys(("page", "total", "pages", "last_url", "prev_url"))
    urls = {"first_url": _url(request, "cursor", ""), "next_url": following}
    return Page(rows[:per_page], expand, {**unknown, "per_page": per_page, **urls})


def _urls(request: Request, number: int, pages: int) -> dict[str, str | None]:
    return {
        "first_url": _url(request, "page", 1),
        "last_url": _url(request, "page", max(1, pages)),
        "prev_url": _url(request, "page", number - 1) if number > 1 else None,
        "next_url": _url(request, "page", number + 1) if number < pages else None,
    }


def _url(request: Request, parameter: str, value: object) -> str:
    kept = [(name, request.query_params[name]) for name in _KEPT if name in request.query_params]
    return f"{request.build_absolute_uri(request.path)}?{urlencode([(parameter, value), *kept])}"


def _number(text: str, parameter: str) -> int:
    if _NUMBER.fullmatch(text) and (number := int(text)) > 0:
        return number
    raise _problem(parameter, f"'{text[:40]}' is no number of 1 or more.")


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise _problem("expand", f"'{text[:40]}' is neither true nor false.")


def _problem(parameter: str, detail: str) -> Problem:
    code = f"invalid_{parameter}"
    return Problem(400, code, f"{parameter}: {detail}", errors=[Fault(detail, code, parameter=parameter)])
