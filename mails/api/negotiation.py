"""Which form an answer has: JSON at once for whoever takes it, and Django REST framework's choice for all others."""

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from mercury.lib.rest.problems import Fault, Problem

_TAKES_JSON = frozenset({"", "*/*", "application/json"})


class Negotiation(DefaultContentNegotiation):
    """The same answer as Django REST framework's, without its parsing of media types where there is nothing to choose."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        """The renderer and its media type. JSON stands first among ours, so no `Accept` and `*/*` mean JSON."""
        first = next(iter(renderers))
        meta = request._request.META
        plain = first.media_type == "application/json" and not format_suffix and not meta.get("QUERY_STRING")
        if plain and meta.get("HTTP_ACCEPT", "") in _TAKES_JSON:
            return first, first.media_type
        return super().select_renderer(request, renderers, format_suffix)

    def filter_renderers(self, renderers: Iterable[BaseRenderer], format: str) -> list[BaseRenderer]:
        """The renderers of the `format` that the query string asks for. Raises Problem (400) where there is none."""
        found = [renderer for renderer in renderers if renderer.format == format]
        if not found:
            known = list(dict.fromkeys(renderer.format for renderer in renderers))
            detail = f"'{format[:40]}' is no format of this answer. Allowed: {', '.join(known)}."
            fault = Fault(detail, "invalid_format", parameter="format")
            raise Problem(400, fault.code, fault.words(), errors=[fault], extra={"allowed": {"format": known}})
        return found
