"""The API's description (OpenAPI 3.1) at `/api/v1.0/schema`: built once for a process, before its first request.

To build it takes a second, and drf-spectacular is not made for two threads that do so at the same moment.
"""

import threading
from functools import cache

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

_RENDERERS = (OpenApiYamlRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiJsonRenderer2)
_building = threading.Lock()


class Description(ApiView):
    """The description of this API, for programs; `?format=json` or `Accept` choose JSON, else it is YAML."""

    permission_classes = [AllowAny]
    renderer_classes = _RENDERERS

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """Return the description as it was built when the process started."""
        renderer = request.accepted_renderer
        headers = {"Content-Disposition": f'inline; filename="Mercury.{renderer.format}"'}
        return HttpResponse(written(renderer.format), content_type=renderer.media_type, headers=headers)


def written(form: str) -> bytes:
    """Return the description as text in this format, `json` or `yaml`."""
    with _building:
        return _written(form)


def build() -> None:
    """Build the description in both formats, so that no request has to wait for it."""
    for form in ("json", "yaml"):
        written(form)


@cache
def _written(form: str) -> bytes:
    renderer = next(kind for kind in _RENDERERS if kind.format == form)
    text: bytes = renderer().render(_document())
    return text


@cache
def _document() -> dict[str, object]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    found: dict[str, object] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found
