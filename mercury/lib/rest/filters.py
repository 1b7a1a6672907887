r"""The `filter=` and `sort=` of lists: a small grammar over a documented set of fields, the same on both databases.

`filter=FIELD,OP,VALUE[,VALUE…]`; several, joined by `;`, must all match. `sort=FIELD[,asc|desc]`; several are joined by `;`.
In a value `\,` `\;` and `\\` mean the character itself. In `like`, `%` matches any text and `_` one character, `\%` and
`\_` mean themselves, and letters match in either case. Text is compared by code point.
"""

import datetime as dt
import re
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Exists, Model, Q, QuerySet
from django.db.models.expressions import F, OrderBy, OuterRef
from django.db.models.functions import Collate
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from mercury.lib.rest.problems import FieldError, Problem

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


class ValueType(Enum):
    """The type of a field's values, which decides how they are written."""

    TEXT = "text"
    INTEGER = "integer"
    UUID = "UUID"
    MOMENT = "time (ISO 8601)"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterField:
    """A field that a list can be filtered and sorted by."""

    column: str
    kind: ValueType = ValueType.TEXT
    values: Collection[str] = ()  # all possible values, if they are few: any other is an error
    labels: "Labels | None" = None  # where a row may have several values: they are rows of their own

    @property
    def operators(self) -> tuple[str, ...]:
        """Its operators; `like` is for text only."""
        return OPERATORS if self.kind is ValueType.TEXT else OPERATORS[:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The values of a field in a table of their own: `column` of `select(KEY)`, rows that name theirs in `link`.

    In the names of fields, `*` stands for KEY: `metadata.*` is the field of `metadata.order`.
    """

    select: Callable[[str], QuerySet[Any]]
    link: str


FilterFields = Mapping[str, FilterField]


class GrammarFilter(BaseFilterBackend):
    """Filter and sort a list by the grammar of this module, over the view's `filter_fields`, by default its `ordering`."""

    def filter_queryset(  # type: ignore[override]
        self, request: Request, queryset: QuerySet[Row], view: Any
    ) -> QuerySet[Row]:
        """Return the rows that `filter` and `sort` ask for. Raises Problem (400)."""
        query = request.query_params
        clauses = {"filter_by": query.get("filter", ""), "sort_by": query.get("sort", "")}
        return filter_and_sort(queryset, view.filter_fields, **clauses, default=view.ordering)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return both parameters for the OpenAPI schema."""
        named = ", ".join(f"`{name}` ({field.kind.value})" for name, field in view.filter_fields.items())
        descriptions = {
            "filter": "`FIELD,OP,VALUE[,VALUE…]`, several joined by `;` all hold. Operators: `eq ne lt le gt ge in like` "
            f"(`like` for text only). `\\,` and `\\;` are the characters themselves. Fields: {named}.",
            "sort": "`FIELD[,asc|desc]`, several joined by `;`. The fields of `filter` that have one value.",
        }
        return [
            {"name": name, "in": "query", "required": False, "description": description, "schema": {"type": "string"}}
            for name, description in descriptions.items()
        ]


def filter_and_sort(
    rows: QuerySet[Row], fields: FilterFields, *, filter_by: str, sort_by: str, default: str
) -> QuerySet[Row]:
    """Return `rows` filtered and sorted, by `default` (a unique column) last. Runs no query.

    Rows with equal sort fields follow the last direction asked for, so that `desc` is the exact reverse of `asc`. Raises
    Problem (400) that names the clause, what is wrong and what is allowed.
    """
    for clause in _parse_clauses(filter_by, "filter"):
        rows = _apply_clause(rows, fields, clause)
    order = [_build_ordering(fields, clause) for clause in _parse_clauses(sort_by, "sort")]
    if order:
        default = ("-" if order[-1].descending else "") + default.removeprefix("-")
    return rows.order_by(*order, default)


def filter_after_cursor(rows: QuerySet[Row], fields: FilterFields, key: str, *, order: str) -> QuerySet[Row]:
    """Return the rows after the one with this key in `order`, a unique column that is one of the fields.

    Raises Problem (400) for a key that the column cannot have.
    """
    column = order.removeprefix("-")
    kind = next(field.kind for field in fields.values() if field.column == column)
    value = None if "\0" in key or len(key) > MAX_VALUE else _PARSERS[kind](key)
    if value is None:
        raise _build_problem(
            "cursor", "It is not a cursor of this list. Take it from 'next_url', or begin with an empty one."
        )
    return rows.filter(**{f"{column}__{'lt' if order.startswith('-') else 'gt'}": value})


def _parse_clauses(text: str, parameter: str) -> list[list[str]]:
    if not text:
        return []
    if "\0" in text:
        raise _build_problem(parameter, "It contains a NUL character; remove it.")
    clauses = _split_clauses(text)
    if len(clauses) > MAX_CLAUSES:
        raise _build_problem(parameter, f"{len(clauses)} clauses; at most {MAX_CLAUSES} are allowed.")
    return clauses


def _split_clauses(text: str) -> list[list[str]]:
    """Split clauses at `;` and their parts at `,`; a backslash escapes either, and itself."""
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


def _apply_clause(rows: QuerySet[Row], fields: FilterFields, clause: Sequence[str]) -> QuerySet[Row]:
    if len(clause) < 3:
        raise _build_problem("filter", f"Write FIELD,OP,VALUE, for example '{next(iter(fields))},eq,…'.", fields)
    name, operator, *texts = clause
    field = _get_field(fields, name, "filter")
    if operator not in field.operators:
        allowed = ", ".join(field.operators)
        raise _build_problem("filter", f"'{operator[:20]}' is not an operator of '{name}'. Allowed: {allowed}.", fields)
    if operator != "in" and len(texts) > 1:
        raise _build_problem("filter", f"'{operator}' has one value. Write \\, for a comma in it.")
    if len(texts) > MAX_VALUES:
        raise _build_problem("filter", f"{len(texts)} values; at most {MAX_VALUES} are allowed.")
    values = [_parse_value(name, field, text, operator) for text in texts]
    if field.labels is None:
        return _narrow(rows, field, operator, values)
    labels, link = field.labels.select(name.partition(".")[2]), field.labels.link
    if operator == "ne":
        return rows.filter(~Exists(_narrow(labels, field, "eq", values).filter(**{link: OuterRef("pk")})))
    # Not `Exists`: SQLite would look at each row for its labels, instead of at the labels for their rows.
    return rows.filter(pk__in=_narrow(labels, field, operator, values).values(link))


def _narrow(rows: QuerySet[Row], field: FilterField, operator: str, values: Sequence[Any]) -> QuerySet[Row]:
    """Return the rows whose column matches the values."""
    if operator == "in":
        return rows.filter(**{f"{field.column}__in": values})
    if operator == "ne":
        return rows.filter(~Q(**{field.column: values[0]}))
    if operator == "like":
        return rows.filter(**{f"{field.column}__any_case_like": values[0]})
    if field.kind is ValueType.TEXT and operator != "eq":
        rows = rows.alias(**{f"_{field.column}_by_code_point": _collate_by_code_point(field.column)})
        return rows.filter(**{f"_{field.column}_by_code_point__{_LOOKUPS[operator]}": values[0]})
    return rows.filter(**{f"{field.column}__{_LOOKUPS[operator]}": values[0]})


def _build_ordering(fields: FilterFields, clause: Sequence[str]) -> OrderBy:
    name, direction = clause[0], clause[1] if len(clause) > 1 else "asc"
    field = _get_field({name: field for name, field in fields.items() if field.labels is None}, name, "sort")
    if len(clause) > 2 or direction not in {"asc", "desc"}:
        raise _build_problem("sort", f"Write FIELD, FIELD,asc or FIELD,desc, for example '{name},desc'.", fields)
    expression = _collate_by_code_point(field.column) if field.kind is ValueType.TEXT else F(field.column)
    return expression.asc() if direction == "asc" else expression.desc()


def _collate_by_code_point(column: str) -> Collate:
    return Collate(F(column), "C" if connection.vendor == "postgresql" else "BINARY")


def _get_field(fields: FilterFields, name: str, parameter: str) -> FilterField:
    head, dot, key = name.partition(".")
    found = fields.get(f"{head}.*" if dot and key else name)
    if found is None or name.endswith(".*"):
        raise _build_problem(parameter, f"There is no field '{name[:40]}' to {parameter} by.", fields)
    return found


def _parse_value(name: str, field: FilterField, text: str, operator: str) -> Any:
    if len(text) > MAX_VALUE:
        raise _build_problem(
            "filter", f"A value of '{name}' has {len(text)} characters; at most {MAX_VALUE} are allowed."
        )
    found = _PARSERS[field.kind](text)
    if found is None:
        raise _build_problem(
            "filter", f"'{text[:40]}' is not a value of '{name}', which is of type {field.kind.value}."
        )
    if field.values and operator in _EXACT and found not in field.values:
        known = ", ".join(value or "'' (none)" for value in field.values)
        detail = f"'{text[:40]}' is not a value of '{name}'. Allowed: {known}."
        raise _build_problem("filter", detail, allowed={name: list(field.values)})
    return found


def _parse_integer(text: str) -> int | None:
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _parse_uuid(text: str) -> uuid.UUID | None:
    return uuid.UUID(text) if _UUID.fullmatch(text) else None


def _parse_time(text: str) -> dt.datetime | None:
    """Parse an ISO 8601 date or time between 1970 and 9998; without a zone it is UTC."""
    try:
        found = dt.datetime.fromisoformat(text)
        found = found.astimezone(dt.UTC) if found.tzinfo else found.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST <= found < _LATEST else None


_PARSERS: dict[ValueType, Any] = {
    ValueType.TEXT: str,
    ValueType.INTEGER: _parse_integer,
    ValueType.UUID: _parse_uuid,
    ValueType.MOMENT: _parse_time,
}


def _build_problem(
    parameter: str,
    detail: str,
    fields: FilterFields | None = None,
    *,
    allowed: Mapping[str, list[str]] = MappingProxyType({}),
) -> Problem:
    code = f"invalid_{parameter}"
    if fields is not None:
        detail = f"{detail} Fields: {', '.join(fields)}."
        allowed = {name: list(field.operators) for name, field in fields.items()}
    extra = {"allowed": dict(allowed)} if allowed else {}
    return Problem(
        400,
        code,
        f"{parameter}: {detail}",
        errors=[FieldError(detail=detail, code=code, parameter=parameter)],
        extra=extra,
    )
