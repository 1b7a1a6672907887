"""The OpenAPI 3.1 schema, as drf-spectacular derives it from view sets and serializers.

`AutoSchema` adds what all operations share: the errors, the headers, and the rules of a strict serializer.
"""

import http
from typing import Any

from drf_spectacular import openapi
from drf_spectacular.plumbing import build_parameter_type, force_instance
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, PolymorphicProxySerializer
from rest_framework.permissions import SAFE_METHODS

from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import CONTENT_TYPE, ProblemSerializer, name_status
from mercury.lib.rest.resource import ResourceViewSet, read_summary
from mercury.lib.rest.serializers import StrictSerializer

Schema = dict[str, Any]
_VERBS = {"list": "list", "create": "create", "retrieve": "read", "update": "update", "destroy": "remove"}
_ANYWHERE = (400, 401, 403, 406, 503)
_DESCRIPTIONS = {  # where HTTP's own description of the status does not say enough
    400: "The request cannot be read, or breaks a rule; `errors` names field and problem.",
    401: "No API key, or a wrong, expired or revoked key.",
    403: "The key lacks the scope.",
    404: "It does not exist, or it is not yours.",
    409: "It is in use at the moment, or its state does not allow it.",
    422: "The Idempotency-Key was already used with a different body.",
    429: "The key has reached its rate limit; repeat after `Retry-After` seconds.",
    503: "The database does not answer, or too many large emails are in progress; repeat after `Retry-After` seconds, with "
    "the same Idempotency-Key.",
}


def describe_header(name: str, description: str, on: bool | list[int] = False) -> OpenApiParameter:
    """Return a header: of requests, or of the answers with these statuses (True: of all)."""
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description, response=on)


_REQUEST_ID = describe_header(
    "X-Request-ID",
    "The id of the request in the server's logs: the client's own, if it sent one of 1–64 letters, digits, dots, dashes and "
    "underscores.",
    on=True,
)
_OF_READS = [
    describe_header("If-None-Match", "An `ETag`; the answer is 304 if nothing has changed."),
    describe_header("ETag", "Changes when the answer does.", on=[200]),
]
_LINK = describe_header(
    "Link", "The first, previous, next and last page (RFC 8288), as far as there are any.", on=[200]
)
_OF_WRITES = [
    describe_header(
        "RateLimit-Policy", 'The rate limit of the key, if it has one: `"key";q=600;w=60`, writes and seconds.', on=True
    ),
    describe_header("RateLimit", 'What is left of it, and seconds until that grows: `"key";r=597;t=59`.', on=True),
    describe_header("Retry-After", "Seconds to wait before the request is sent again.", on=[429]),
]


def _describe_status(status: int) -> str:
    return _DESCRIPTIONS.get(status) or f"{name_status(status)}."


class AutoSchema(openapi.AutoSchema):
    """Describe an operation by its view set: `tag`, `noun`, `refusals`, and the docstrings of its actions."""

    view: Any

    @property
    def action(self) -> str:
        """Return the name of the view's method that answers."""
        return getattr(self.view, "action", None) or self.method.lower()

    def get_tags(self) -> list[str]:  # noqa: D102
        return [self.view.tag]

    def get_operation_id(self) -> str:  # noqa: D102
        default = "read_" + self.action if self.method == "GET" else self.action
        verb = self.view.verbs.get(self.action) or _VERBS.get(self.action, default)
        noun = self.view.noun
        plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
        return f"{verb}_{plural if self.action == 'list' else noun}"

    def get_summary(self) -> str:  # noqa: D102
        return read_summary(type(self.view), self.action)[0]

    def get_description(self) -> str:  # type: ignore[override]  # noqa: D102
        return read_summary(type(self.view), self.action)[1]

    def get_override_parameters(self) -> list[Any]:  # noqa: D102
        found = [_REQUEST_ID]
        if self.method not in SAFE_METHODS:
            found += _OF_WRITES
        elif isinstance(self.view, ResourceViewSet):
            found += _OF_READS
        return [*found, *([self.view.paginator.query_serializer, _LINK] if self.action == "list" else [])]

    def get_examples(self) -> list[OpenApiExample]:  # noqa: D102
        if self.method in SAFE_METHODS:
            return []
        serializer: Any = self.get_request_serializer()
        if isinstance(serializer, dict):  # by media type
            serializer = force_instance(serializer.get("application/json"))  # type: ignore[no-untyped-call]
        if not isinstance(serializer, StrictSerializer):
            return []
        examples = {
            name: field.style["example"] for name, field in serializer.fields.items() if "example" in field.style
        }
        return [OpenApiExample("Example", examples, request_only=True)] if examples else []

    def get_paginated_name(self, serializer_name: str) -> str:  # noqa: D102
        self.resolve_serializer(self.view.paginator.meta_serializer(), "response")
        return str(self.view.paginator.schema_name)

    @property
    def _is_numbered(self) -> bool:
        return self.action == "list" and issubclass(self.view.pagination_class, Pagination)

    def _resolve_path_parameters(self, variables: list[str]) -> list[Schema]:
        return [
            build_parameter_type(
                name=name,
                schema={"type": "string"},
                location="path",
                required=True,
                description=f"The id of the {name.removesuffix('_id')}.",
            )
            for name in variables
        ]

    def _get_request_body(self, direction: Any = "request") -> Schema | None:
        body: Schema | None = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if body is not None:
            body["required"] = bool(body.get("required")) or isinstance(
                self.get_request_serializer(), PolymorphicProxySerializer
            )
        return body

    def _get_response_bodies(self, direction: Any = "response") -> Schema:
        found: Schema = super()._get_response_bodies(direction)
        for status, answer in found.items():
            answer["description"] = answer["description"] or http.HTTPStatus(int(status)).phrase
        statuses = {*_ANYWHERE, *self.view.refusals.get(self.action, ())}
        statuses |= {404} if "{" in self.path or self._is_numbered else set()
        statuses |= {429} if self.method not in SAFE_METHODS else set()
        statuses |= {413, 415} if self.method in {"POST", "PUT"} else set()
        for status in sorted(statuses):
            answer = OpenApiResponse(ProblemSerializer, description=_describe_status(status))
            found[str(status)] = self._get_response_for_code(answer, str(status), [CONTENT_TYPE], direction)  # type: ignore[no-untyped-call]
        if isinstance(self.view, ResourceViewSet) and self.method in SAFE_METHODS:
            found["304"] = self._get_response_for_code(OpenApiResponse(description=_describe_status(304)), "304")  # type: ignore[no-untyped-call]
        return found

    def _map_serializer_field(self, field: Any, direction: Any, bypass_extensions: bool = False) -> Schema | None:
        schema: Schema | None = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        for name in ("title", "x-spec-enum-id"):
            schema and schema.pop(name, None)
        if schema and "integer" in (schema.get("type"), *(schema.get("type") or ())):
            schema["format"] = "int64"
        return schema

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Schema:
        schema: Schema = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, StrictSerializer):
            properties = schema.setdefault("properties", {})
            for alias, name in serializer.aliases.items():
                properties[alias] = properties[name] | {"description": f"Another name of `{name}`."}
            schema["required"] = [
                name for name in schema.get("required", []) if name not in serializer.aliases.values()
            ]
            properties |= {name: {"description": "Ignored."} for name in serializer.ignored}
            schema["additionalProperties"] = False
        return schema
