"""What the API's description (OpenAPI 3.1) is made of: components written by hand, exact, and the answers all share.

Django REST framework's serializers would say less than JSON Schema can; `component` takes the latter as it is.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import fields
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from mercury.lib.rest.filters import Fields
from mercury.lib.rest.pagination import PER_PAGE
from mercury.lib.rest.problems import CONTENT_TYPE

Schema = dict[str, Any]

_COMPONENTS: dict[str, Schema] = {}


def component(name: str, schema: Schema) -> Schema:
    """Put `schema` under components/schemas and return the reference to it."""
    _COMPONENTS[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Post-processing hook of drf-spectacular: add what `component` was told."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(sorted(_COMPONENTS.items()))
    return result


def require_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Post-processing hook of drf-spectacular: a body is required where one of its fields is."""
    for operations in result["paths"].values():
        for operation in operations.values():
            if body := operation.get("requestBody"):
                shapes = [content["schema"] for content in body["content"].values()]
                body["required"] = any(_has_required(shape) for shape in shapes)
    return result


def _has_required(schema: Schema) -> bool:
    if "$ref" in schema:
        schema = _COMPONENTS[schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        return all(_has_required(shape) for shape in schema["oneOf"])
    return bool(schema.get("required"))


def drop_aliases(endpoints: Sequence[tuple[str, str, str, Any]], **_: Any) -> list[tuple[str, str, str, Any]]:
    """Pre-processing hook of drf-spectacular: each path once, collections with their last slash and resources without."""
    paths = {path for path, *_ in endpoints}
    return [
        (path.removesuffix("/") if "{" in path and path.removesuffix("/") not in paths else path, *rest)
        for path, *rest in endpoints
        if f"{path}/" not in paths
    ]


def obj(properties: Mapping[str, Schema], *, required: Sequence[str] | None = None, **more: Any) -> Schema:
    """An object whose properties are all there, unless `required` names fewer."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
    } | more


def text(description: str, **more: Any) -> Schema:
    """A string."""
    return {"type": "string", "description": description} | more


def url(description: str) -> Schema:
    """An absolute URL."""
    return text(description, format="uri")


def moment(description: str, *, nullable: bool = False) -> Schema:
    """A time as ISO 8601 with a `Z`."""
    return {"type": ["string", "null"] if nullable else "string", "format": "date-time", "description": description}


def integer(description: str, **more: Any) -> Schema:
    """An integer within 64 bits."""
    return {"type": "integer", "format": "int64", "description": description} | more


def dataclass_component(name: str, cls: type, words: Mapping[str, str]) -> Schema:
    """A component for a dataclass as `plain` shows it. `words` describes each field; parts must be described before."""
    hints = get_type_hints(cls)
    missing = {field.name for field in fields(cls)} ^ words.keys()
    assert not missing, f"{name}: {missing}"  # noqa: S101 (a slip of ours, seen when the module is imported)
    described = {
        field.name: _type_schema(hints[field.name]) | {"description": words[field.name]} for field in fields(cls)
    }
    _OF_CLASS[cls] = component(name, obj(described))
    return _OF_CLASS[cls]


_OF_CLASS: dict[object, Schema] = {}
_OF_TYPE: dict[object, Schema] = {
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    dt.datetime: {"type": "string", "format": "date-time"},
}


def _type_schema(hint: Any) -> Schema:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:  # only "… | None" occurs
        inner = _type_schema(arguments[0])
        return inner | {"type": [inner["type"], "null"]}
    if origin is Sequence:
        return {"type": "array", "items": _type_schema(arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type_schema(arguments[1])}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"type": "string", "enum": [one.value for one in hint]}
    return _OF_TYPE[hint] if hint in _OF_TYPE else _OF_CLASS[hint]


FAULT = component(
    "Fault",
    obj(
        {
            "pointer": text("JSON pointer (RFC 6901) into the body; empty where no field is meant."),
            "detail": text("What is wrong, and how to mend it."),
            "code": text("Stable and short, for programs."),
            "parameter": text("The query parameter at fault, where it is one."),
            "header": text("The header at fault, where it is one."),
        },
        required=("pointer", "detail", "code"),
    ),
)
PROBLEM = component(
    "Problem",
    obj(
        {
            "type": text("`urn:problem:mercury:` and a stable code.", pattern="^urn:problem:mercury:"),
            "title": text("The status in words."),
            "status": integer("The status code.", minimum=400, maximum=599),
            "detail": text("What is wrong, for people."),
            "errors": {"type": "array", "items": FAULT, "description": "Each fault by itself."},
            "error": text("The status in words, for clients of the prototype."),
            "message": text("Fields and faults in one text, for clients of the prototype."),
            "request_id": text("What the server's logs know this request by."),
            "mail": url("A mail that failed validation is kept, here."),
            "state": text("On a 409 for a mail in flight: where the mail stands."),
            "possible": {
                "type": "array",
                "items": {"type": "string"},
                "description": "On a 409 for a mail in flight: what can be asked of it now.",
            },
            "allowed": {
                "type": "object",
                "description": "On a query string that cannot be read, what it may hold: the fields of a `filter` or `sort` "
                "with their operators, the values of a field, or under `parameters` the names of all parameters.",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            },
        },
        required=("type", "title", "status", "detail", "errors", "error", "message", "request_id"),
        description="RFC 9457, and the prototype's `error` and `message` beside it.",
    ),
)


def _unknown_by_cursor(schema: Schema) -> Schema:
    return schema | {
        "type": [schema["type"], "null"],
        "description": f"{schema['description']} Null where the page was asked for by `cursor`.",
    }


META = component(
    "Meta",
    obj(
        {
            "page": _unknown_by_cursor(integer("This page, counted from 1.", minimum=1)),
            "per_page": integer("Items of a full page.", minimum=1, maximum=PER_PAGE),
            "total": _unknown_by_cursor(integer("Items of all pages.", minimum=0)),
            "pages": _unknown_by_cursor(integer("Pages; 0 where the list is empty.", minimum=0)),
            "first_url": url("The first page."),
            "last_url": _unknown_by_cursor(url("The last page.")),
            "prev_url": {
                "type": ["string", "null"],
                "format": "uri",
                "description": "The page before, null on page 1 and with `cursor`.",
            },
            "next_url": {
                "type": ["string", "null"],
                "format": "uri",
                "description": "The page after, null on the last.",
            },
        }
    ),
)

_MEANINGS = {
    400: "The request cannot be read, or breaks a rule; `errors` names field and fault.",
    401: "No API key, or a wrong, expired or revoked one.",
    403: "The key lacks the scope, or may not do this.",
    404: "There is nothing at this address, or it is not yours.",
    406: "The API answers in JSON.",
    409: "It is in use at this moment, or its state does not allow it.",
    413: "The body is larger than the limit.",
    415: "The body is not declared as JSON.",
    422: "The Idempotency-Key came with another body before.",
    429: "The key has written as often as its rate allows; repeat after `Retry-After` seconds.",
    503: "The database does not answer, or too many large mails are worked on; repeat after `Retry-After` seconds, with the same Idempotency-Key.",
}


def problems(*statuses: int) -> dict[Any, OpenApiResponse]:
    """Answers of `application/problem+json`: these, and those that every resource may give."""
    return {
        (status, CONTENT_TYPE): OpenApiResponse(PROBLEM, description=_MEANINGS[status])
        for status in sorted({*statuses, 400, 401, 403, 406, 503})
    }


def answer_header(name: str, description: str, *statuses: int) -> OpenApiParameter:
    """A header of answers."""
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description, response=list(statuses))


def rate_headers(*statuses: int) -> list[OpenApiParameter]:
    """The headers that tell a key's rate, on answers to writes."""
    return [
        answer_header(
            "RateLimit-Policy",
            'The rate of the key, if it has one: `"key";q=600;w=60`, writes and seconds.',
            *statuses,
        ),
        answer_header("RateLimit", 'What is left of it, and seconds until that grows: `"key";r=597;t=59`.', *statuses),
        answer_header("Retry-After", "Seconds to wait before the request is sent again.", 429),
    ]


REQUEST_ID = OpenApiParameter(
    "X-Request-ID",
    str,
    OpenApiParameter.HEADER,
    description="What the server's logs know the request by: the client's own, if it sent one of 1–64 letters, digits, "
    "dots, dashes and underscores.",
    response=True,
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An `ETag`; the answer is 304 if nothing has changed."
)
ETAG = answer_header("ETag", "Changes when the answer does.", 200)
NOT_MODIFIED = {304: OpenApiResponse(description="It is as the client has it.")}


def page_parameters(fields: Fields) -> list[OpenApiParameter]:
    """The query parameters of a list."""
    named = ", ".join(f"`{name}` ({field.kind.value})" for name, field in fields.items())
    number = {"type": "integer", "minimum": 1}
    return [
        OpenApiParameter("page", number, description="Counted from 1; beyond the last it is a 404."),
        OpenApiParameter("per_page", number, description=f"At most {PER_PAGE}, which is the default; more is cut."),
        OpenApiParameter(
            "cursor",
            str,
            description="Pages by key, in the list's own order: empty for the first, then as `next_url` has it. Costs the "
            "same at any depth and counts nothing. Not together with `page` or `sort`.",
        ),
        OpenApiParameter("expand", bool, description="Whole objects instead of URLs."),
        OpenApiParameter(
            "filter",
            str,
            description="`FIELD,OP,VALUE[,VALUE…]`, several joined by `;` all hold. Operators: `eq ne lt le gt ge in like` "
            f"(`like` for text only). `\\,` and `\\;` stand for the characters themselves. Fields: {named}.",
        ),
        OpenApiParameter("sort", str, description="`FIELD[,asc|desc]`, several joined by `;`. The fields of `filter`."),
        answer_header("Link", "The first, previous, next and last page (RFC 8288).", 200),
    ]


def page_of(name: str, item: Schema) -> Schema:
    """A list's answer: URLs, or with `expand` whole objects."""
    items = {"type": "array", "items": {"anyOf": [url("Its URL."), item]}}
    return component(f"PageOf{name.capitalize()}", obj({name: items, "meta": META}))
