"""Many rows as one JSON parameter of a statement, so that a group costs one round trip on either database."""

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from django.db import connection, models

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
    if connection.vendor == "postgresql":
        described = ", ".join(f"{name} {_POSTGRESQL[kind]}" for name, kind in columns.items())
        return f"json_to_recordset(%s::json) AS {alias}({described})"
    picked = ", ".join(f"{_as_django_stores(name, kind)} AS {name}" for name, kind in columns.items())
    return f"(SELECT {picked} FROM json_each(%s)) AS {alias}"  # noqa: S608 (column names are ours)


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
    return json.loads(value) if isinstance(value, str) else value
