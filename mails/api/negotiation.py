"""The format of an answer: JSON at once for clients that accept it, Django REST framework's choice for all others."""

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from mercury.lib.rest.problems import FieldError, Problem

_JSON_ACCEPTED = frozenset({"", "*/*", "application/json"})


class Negotiation(DefaultContentNegotiation):
    """Choose as Django REST framework does, but parse no media types where there is nothing to choose."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        """Return the renderer and its media type. JSON is the first of ours, so no `Accept` and `*/*` mean JSON."""
        first = next(iter(renderers))
        meta = request._request.META
        plain = first.media_type == "application/json" and not format_suffix and not meta.get("QUERY_STRING")
        if plain and meta.get("HTTP_ACCEPT", "") in _JSON_ACCEPTED:
            return first, first.media_type
        return super().select_renderer(request, renderers, format_suffix)

    def filter_renderers(self, renderers: Iterable[BaseRenderer], format: str) -> list[BaseRenderer]:
        """Return the renderers of the `format` in the query string. Raises Problem (400) if there is none."""
        found = [renderer for renderer in renderers if renderer.format == format]
        if not found:
            known = list(dict.fromkeys(renderer.format for renderer in renderers))
            detail = f"'{format[:40]}' is not a format of this answer. Allowed: {', '.join(known)}."
            error = FieldError(detail=detail, code="invalid_format", parameter="format")
            raise Problem(400, error.code, error.describe(), errors=[error], extra={"allowed": {"format": known}})
        return found
