"""The API's root, and its description (OpenAPI 3.1) at `/api/v1.0/schema`: built once for a process, before its first request.

Building the description takes a second, and drf-spectacular is not made for two threads that do so at the same moment.
"""

import threading
from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from mercury.lib.rest.resource import ApiView
from mercury.lib.rest.routers import Router

_RENDERERS = (OpenApiYamlRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiJsonRenderer2)
_building = threading.Lock()


class RootSerializer(serializers.Serializer[Any]):
    """The endpoints of each version."""

    versions = serializers.DictField(
        child=serializers.DictField(child=serializers.CharField()),
        help_text="For each version: what an endpoint does and its method in brackets, and its URL, with braces for ids.",
    )


class ApiRoot(ApiView):
    """The version of the API and its endpoints."""

    tag, noun, refusals = "About", "endpoints", dict[str, tuple[int, ...]]()
    verbs = {"get": "list"}
    permission_classes = [AllowAny]
    router: Router | None = None

    @extend_schema(responses={200: RootSerializer}, auth=[])
    def get(self, request: Request) -> Response:
        """List the endpoints."""
        root = reverse("api-root", request=request)
        assert self.router is not None  # noqa: S101 (urls.py gives it)
        own = [("list the endpoints", "GET", ""), ("describe the API (OpenAPI 3.1)", "GET", "schema")]
        listed = [(what[0].lower() + what[1:], method, path) for what, method, path in self.router.endpoints()]
        endpoints = {f"{what} [{method}]": root + path for what, method, path in [*own, *listed]}
        return Response({"versions": {"v1.0": endpoints}})


class Description(ApiView):
    """Return the OpenAPI schema as YAML, or as JSON with `?format=json` or an `Accept` header."""

    permission_classes = [AllowAny]
    renderer_classes = _RENDERERS

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """Return the schema that was built when the process started."""
        renderer = request.accepted_renderer
        headers = {"Content-Disposition": f'inline; filename="Mercury.{renderer.format}"'}
        return HttpResponse(render_schema(renderer.format), content_type=renderer.media_type, headers=headers)


def render_schema(format_name: str) -> bytes:
    """Return the schema in this format, `json` or `yaml`."""
    with _building:
        return _render(format_name)


def build() -> None:
    """Build the schema in both formats, so that no request has to wait for it."""
    for format_name in ("json", "yaml"):
        render_schema(format_name)


@cache
def _render(format_name: str) -> bytes:
    renderer = next(kind for kind in _RENDERERS if kind.format == format_name)
    text: bytes = renderer().render(_generate())
    return text


@cache
def _generate() -> dict[str, object]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    found: dict[str, object] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found
