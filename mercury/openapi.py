"""`/api/v1.0/schema`: the OpenAPI schema, built once per process, before its first request.

Building it takes a second, and drf-spectacular does not allow two threads to build it at the same time.
"""

import threading

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from mercury.lib.rest.resource import ApiView
from mercury.lib.runtime import process_state

_RENDERERS = (OpenApiYamlRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiJsonRenderer2)


class _Schema:
    """The schema in each format, as this process has built it."""

    def __init__(self) -> None:
        self.building = threading.Lock()
        self.document: dict[str, object] | None = None
        self.texts: dict[str, bytes] = {}


class OpenApiSchema(ApiView):
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
    schema = process_state.get(_Schema)
    with schema.building:
        if schema.document is None:
            schema.document = _generate()
        if format_name not in schema.texts:
            schema.texts[format_name] = _render(format_name, schema.document)
        return schema.texts[format_name]


def build_schema() -> None:
    """Build the schema in both formats, so that no request has to wait for it."""
    for format_name in ("json", "yaml"):
        render_schema(format_name)


def _render(format_name: str, document: dict[str, object]) -> bytes:
    renderer = next(kind for kind in _RENDERERS if kind.format == format_name)
    text: bytes = renderer().render(document)
    return text


def _generate() -> dict[str, object]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    found: dict[str, object] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found
