"""Many rows as one JSON parameter of a statement, so that a group costs one round trip on either database."""

import datetime as dt
import functools
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from django.db import models

from mercury.lib.database.vendor import get_vendor

SHARED_FROM = 16  # rows; with fewer, the join with what they share costs PostgreSQL more than to parse it again

# Column type -> its name in PostgreSQL. SQLite stores what Django stores there: hex UUIDs, times as text, 0 and 1.
_POSTGRESQL = {
    "uuid": "uuid",
    "text": "text",
    "int": "bigint",
    "bool": "boolean",
    "time": "timestamptz",
    "json": "jsonb",
}

_KINDS = (
    (models.UUIDField, "uuid"),
    (models.DateTimeField, "time"),
    (models.JSONField, "json"),
    (models.BooleanField, "bool"),
    (models.IntegerField, "int"),  # and its subclasses: big, small, positive, automatic
    (models.CharField | models.TextField, "text"),
)


def list_columns(model: type[models.Model], names: Iterable[str]) -> dict[str, str]:
    """Return the type of each of these columns of a model, as `source` reads it."""
    fields = {field.attname: field for field in model._meta.concrete_fields}
    return {name: _get_kind(fields[name]) for name in names}


def _get_kind(field: "models.Field[Any, Any]") -> str:
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return next(kind for types, kind in _KINDS if isinstance(field, types))


def source(alias: str, columns: Mapping[str, str]) -> str:
    """Return the FROM item that reads one `%s` parameter, made by `encode`, as rows named `alias` with these columns."""
    return _write_source(get_vendor(), alias, tuple(columns.items()))


@functools.lru_cache(maxsize=512)  # there are some hundred sets of columns, and each email's intake names eight
def _write_source(vendor: str, alias: str, columns: tuple[tuple[str, str], ...]) -> str:
    if vendor == "postgresql":
        described = ", ".join(f"{name} {_POSTGRESQL[kind]}" for name, kind in columns)
        return f"json_to_recordset(%s::json) AS {alias}({described})"
    picked = ", ".join(f"{_as_django_stores(name, kind)} AS {name}" for name, kind in columns)
    return f"(SELECT {picked} FROM json_each(%s)) AS {alias}"  # noqa: S608 (column names are ours)


class Recordset(NamedTuple):
    """Rows as a FROM item, and the parameters that it reads."""

    source: str
    parameters: list[str]


def build(alias: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> Recordset:
    """Return these rows, whose values are in the order of the columns.

    On PostgreSQL, what all of SHARED_FROM rows or more share is sent and parsed once: of the columns of 64 emails that are
    claimed together, four in five are the same. `OFFSET 0` keeps the planner from joining a table with the shared values alone, by a state
    that most rows of it have, before it looks at the ids.
    """
    names = tuple(columns)
    if get_vendor() != "postgresql" or len(rows) < SHARED_FROM:
        return _build_whole(alias, columns, rows)
    listed = list(zip(*rows, strict=True))
    shared = {
        name: values[0]
        for name, values in zip(names, listed, strict=True)
        if name != names[0] and values.count(values[0]) == len(rows)
    }
    if not shared:
        return _build_whole(alias, columns, rows)
    own = [name for name in names if name not in shared]
    own_values = [values for name, values in zip(names, listed, strict=True) if name not in shared]
    own_rows = [dict(zip(own, row, strict=True)) for row in zip(*own_values, strict=True)]
    picked = ", ".join(f"{'shared' if name in shared else 'own'}.{name}" for name in names)
    once = ", ".join(f"{name} {_POSTGRESQL[columns[name]]}" for name in shared)
    each = source("own", {name: columns[name] for name in own})
    return Recordset(
        f"(SELECT {picked} FROM json_to_record(%s::json) AS shared({once}), {each} OFFSET 0) AS {alias}",  # noqa: S608 (our names)
        [orjson.dumps(shared).decode(), encode(own_rows)],
    )


def _build_whole(alias: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> Recordset:
    return Recordset(source(alias, columns), [encode(dict(zip(columns, row, strict=True)) for row in rows)])


def encode(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as the one parameter that `source` reads. UUIDs, and datetimes in UTC, are accepted as they are."""
    return orjson.dumps(list(rows)).decode()


def _as_django_stores(name: str, kind: str) -> str:
    """Return the expression that turns a JSON value into what Django's SQLite backend stores."""
    value = f"json_extract(value, '$.{name}')"
    if kind == "uuid":
        return f"replace({value}, '-', '')"
    if kind == "time":
        return f"replace(replace({value}, 'T', ' '), '+00:00', '')"
    return value


def format_time(moment: dt.datetime) -> str:
    """Return an aware datetime as Django's SQLite backend stores it, which PostgreSQL reads too (its sessions are in UTC)."""
    return str(moment.astimezone(dt.UTC).replace(tzinfo=None))


def as_uuid(value: uuid.UUID | str) -> uuid.UUID:
    """Return the UUID of a column that a raw statement returned: PostgreSQL gives a UUID, SQLite its hex text."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def as_time(value: dt.datetime | str) -> dt.datetime:
    """Return the time of a column that a raw statement returned, aware and in UTC."""
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def as_json(value: Any) -> Any:
    """Return the value of a JSON column that a raw statement returned: text on both databases."""
    return orjson.loads(value) if isinstance(value, str) else value


_READ: Mapping[str, Callable[[Any], Any]] = {"uuid": as_uuid, "time": as_time, "json": as_json, "bool": bool}


def read_row(columns: Mapping[str, str], row: Sequence[Any]) -> list[Any]:
    """Return a row of these columns, which a raw statement returned, as a model has its values."""
    return [
        value if value is None or kind not in _READ else _READ[kind](value)
        for kind, value in zip(columns.values(), row, strict=True)
    ]
