r"""The `filter=` and `sort=` of lists: a small grammar over a documented set of fields, the same on both databases.

`filter=FIELD,OP,VALUE[,VALUE…]`, several joined by `;`, all hold. `sort=FIELD[,asc|desc]`, several joined by `;`.
In a value `\,` `\;` and `\\` stand for the character itself. `like` knows `%` (any text) and `_` (one character),
`\%` and `\_` stand for themselves, and letters match in either case. Text is compared by code point.
"""

import datetime as dt
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import F, OrderBy
from django.db.models.functions import Collate
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from mercury.lib.rest.problems import Fault, Problem

MAX_CLAUSES = 10
MAX_VALUES = 100
MAX_VALUE = 512  # characters
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "like")
_EXACT = ("eq", "ne", "in")
_LOOKUPS = {"eq": "exact", "lt": "lt", "le": "lte", "gt": "gt", "ge": "gte"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LATEST = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
Row = TypeVar("Row", bound=Model)


class Kind(Enum):
    """What a field holds, and so how its values are written."""

    TEXT = "text"
    INTEGER = "integer"
    UUID = "UUID"
    MOMENT = "time (ISO 8601)"


@dataclass(frozen=True, slots=True)
class Sieve:
    """A field that a list can be narrowed and ordered by."""

    column: str
    kind: Kind = Kind.TEXT
    values: Collection[str] = ()  # all that the field can hold, where they are few: any other value is a mistake

    @property
    def operators(self) -> tuple[str, ...]:
        """`like` is for text."""
        return OPERATORS if self.kind is Kind.TEXT else OPERATORS[:-1]


Fields = Mapping[str, Sieve]


class GrammarFilter(BaseFilterBackend):
    """Narrow and order a list by the grammar of this module, over the view's `filter_fields`, by default its `ordering`."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Row], view: Any) -> QuerySet[Row]:
        """Return the rows that `filter` and `sort` ask for. Raises Problem (400)."""
        query = request.query_params
        clauses = {"filter_by": query.get("filter", ""), "sort_by": query.get("sort", "")}
        return apply(queryset, view.filter_fields, **clauses, default=view.ordering)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return both parameters for the API's description."""
        named = ", ".join(f"`{name}` ({field.kind.value})" for name, field in view.filter_fields.items())
        meanings = {
            "filter": "`FIELD,OP,VALUE[,VALUE…]`, several joined by `;` all hold. Operators: `eq ne lt le gt ge in like` "
            f"(`like` for text only). `\\,` and `\\;` are the characters themselves. Fields: {named}.",
            "sort": "`FIELD[,asc|desc]`, several joined by `;`. The fields of `filter`.",
        }
        return [
            {"name": name, "in": "query", "required": False, "description": meaning, "schema": {"type": "string"}}
            for name, meaning in meanings.items()
        ]


def apply(rows: QuerySet[Row], fields: Fields, *, filter_by: str, sort_by: str, default: str) -> QuerySet[Row]:
    """Return `rows` narrowed and ordered, with `default` (a column that is unique) as the last order. Runs no query.

    Rows that are equal in what is sorted by follow the last direction that was asked for, so that `desc` is the exact
    reverse of `asc`. Raises Problem (400) that names the clause, the fault and what is allowed.
    """
    for clause in _clauses(filter_by, "filter"):
        rows = _narrowed(rows, fields, clause)
    order = [_order(fields, clause) for clause in _clauses(sort_by, "sort")]
    if order:
        default = ("-" if order[-1].descending else "") + default.removeprefix("-")
    return rows.order_by(*order, default)


def beyond(rows: QuerySet[Row], fields: Fields, key: str, *, order: str) -> QuerySet[Row]:
    """The rows that follow the one of this key in `order`, a unique column that is one of the fields.

    Raises Problem (400) for a key that the column cannot have.
    """
    column = order.removeprefix("-")
    kind = next(field.kind for field in fields.values() if field.column == column)
    value = None if "\0" in key or len(key) > MAX_VALUE else _READERS[kind](key)
    if value is None:
        raise _problem(
            "cursor", "It is none that this list gave out. Take it from 'next_url', or begin with an empty one."
        )
    return rows.filter(**{f"{column}__{'lt' if order.startswith('-') else 'gt'}": value})


def _clauses(text: str, parameter: str) -> list[list[str]]:
    if not text:
        return []
    if "\0" in text:
        raise _problem(parameter, "It contains a NUL character; take it out.")
    clauses = _split(text)
    if len(clauses) > MAX_CLAUSES:
        raise _problem(parameter, f"{len(clauses)} clauses; at most {MAX_CLAUSES} are possible.")
    return clauses


def _split(text: str) -> list[list[str]]:
    """Clauses at `;`, parts at `,`; a backslash takes the meaning from either and from itself."""
    clauses, part = [[""]], ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            part += following if following and following in ",;\\" else character + following
        elif character in ",;":
            clauses[-1][-1], part = part, ""
            if character == ",":
                clauses[-1].append("")
            else:
                clauses.append([""])
        else:
            part += character
    clauses[-1][-1] = part
    return clauses


def _narrowed(rows: QuerySet[Row], fields: Fields, clause: Sequence[str]) -> QuerySet[Row]:
    if len(clause) < 3:
        raise _problem("filter", f"Write FIELD,OP,VALUE, for example '{next(iter(fields))},eq,…'.", fields)
    name, operator, *texts = clause
    field = _field(fields, name, "filter")
    if operator not in field.operators:
        allowed = ", ".join(field.operators)
        raise _problem("filter", f"'{operator[:20]}' is no operator of '{name}'. Allowed: {allowed}.", fields)
    if operator != "in" and len(texts) > 1:
        raise _problem("filter", f"'{operator}' takes one value. Write \\, for a comma that belongs to it.")
    if len(texts) > MAX_VALUES:
        raise _problem("filter", f"{len(texts)} values; at most {MAX_VALUES} are possible.")
    values = [_value(name, field, text, operator) for text in texts]
    if operator == "in":
        return rows.filter(**{f"{field.column}__in": values})
    if operator == "ne":
        return rows.filter(~Q(**{field.column: values[0]}))
    if operator == "like":
        return rows.filter(**{f"{field.column}__any_case_like": values[0]})
    if field.kind is Kind.TEXT and operator != "eq":
        rows = rows.alias(**{f"_{name}_by_code_point": _by_code_point(field.column)})
        return rows.filter(**{f"_{name}_by_code_point__{_LOOKUPS[operator]}": values[0]})
    return rows.filter(**{f"{field.column}__{_LOOKUPS[operator]}": values[0]})


def _order(fields: Fields, clause: Sequence[str]) -> OrderBy:
    name, direction = clause[0], clause[1] if len(clause) > 1 else "asc"
    field = _field(fields, name, "sort")
    if len(clause) > 2 or direction not in {"asc", "desc"}:
        raise _problem("sort", f"Write FIELD, FIELD,asc or FIELD,desc, for example '{name},desc'.", fields)
    expression = _by_code_point(field.column) if field.kind is Kind.TEXT else F(field.column)
    return expression.asc() if direction == "asc" else expression.desc()


def _by_code_point(column: str) -> Collate:
    return Collate(F(column), "C" if connection.vendor == "postgresql" else "BINARY")


def _field(fields: Fields, name: str, parameter: str) -> Sieve:
    if name not in fields:
        raise _problem(parameter, f"There is no field '{name[:40]}' to {parameter} by.", fields)
    return fields[name]


def _value(name: str, field: Sieve, text: str, operator: str) -> Any:
    if len(text) > MAX_VALUE:
        raise _problem("filter", f"A value of '{name}' has {len(text)} characters; at most {MAX_VALUE} are possible.")
    found = _READERS[field.kind](text)
    if found is None:
        raise _problem("filter", f"'{text[:40]}' is no value of '{name}', which is of type {field.kind.value}.")
    if field.values and operator in _EXACT and found not in field.values:
        known = ", ".join(value or "'' (none)" for value in field.values)
        detail = f"'{text[:40]}' is no value of '{name}'. Allowed: {known}."
        raise _problem("filter", detail, allowed={name: list(field.values)})
    return found


def _integer(text: str) -> int | None:
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _uuid(text: str) -> uuid.UUID | None:
    return uuid.UUID(text) if _UUID.fullmatch(text) else None


def _moment(text: str) -> dt.datetime | None:
    """An ISO 8601 date or time between 1970 and 9998; without a zone it is UTC."""
    try:
        found = dt.datetime.fromisoformat(text)
        found = found.astimezone(dt.UTC) if found.tzinfo else found.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST <= found < _LATEST else None


_READERS: dict[Kind, Any] = {Kind.TEXT: str, Kind.INTEGER: _integer, Kind.UUID: _uuid, Kind.MOMENT: _moment}


def _problem(
    parameter: str,
    detail: str,
    fields: Fields | None = None,
    *,
    allowed: Mapping[str, list[str]] = MappingProxyType({}),
) -> Problem:
    code = f"invalid_{parameter}"
    if fields is not None:
        detail = f"{detail} Fields: {', '.join(fields)}."
        allowed = {name: list(field.operators) for name, field in fields.items()}
    extra = {"allowed": dict(allowed)} if allowed else {}
    return Problem(400, code, f"{parameter}: {detail}", errors=[Fault(detail, code, parameter=parameter)], extra=extra)
