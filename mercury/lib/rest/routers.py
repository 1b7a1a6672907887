"""The router of the API: collections end with a slash, single resources without one; each answers in both forms."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rest_framework.routers import DynamicRoute, Route, SimpleRouter

from mercury.lib.rest.resource import read_summary

_MANY = {"get": "list", "post": "create"}
_ONE = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
_GROUP = re.compile(r"\(\?P<(\w+)>[^)]*\)")


class Router(SimpleRouter):
    """Route view sets. A prefix may hold the id of a parent: `mails/(?P<mail_id>[^/]+)/events`."""

    routes = [
        Route(url=r"^{prefix}/$", mapping=_MANY, name="{basename}-list", detail=False, initkwargs={}),
        # A collection without its slash answers, too: a POST must not lose its body to a redirect.
        Route(url=r"^{prefix}$", mapping=_MANY, name="{basename}-list-bare", detail=False, initkwargs={}),
        DynamicRoute(url=r"^{prefix}/{url_path}/?$", name="{basename}-{url_name}", detail=False, initkwargs={}),
        Route(url=r"^{prefix}/{lookup}/?$", mapping=_ONE, name="{basename}-detail", detail=True, initkwargs={}),
        DynamicRoute(url=r"^{prefix}/{lookup}/{url_path}/?$", name="{basename}-{url_name}", detail=True, initkwargs={}),
    ]

    def list_endpoints(self) -> Iterator[tuple[str, str, str]]:
        """Yield each action: what it does, its method, and its path, with braces around ids (RFC 6570)."""
        for prefix, viewset, _ in self.registry:
            for route in self.get_routes(viewset):
                if route.name.endswith("-bare"):
                    continue
                pattern = route.url.format(prefix=prefix, lookup=self.get_lookup_regex(viewset))
                path = _GROUP.sub(r"{\1}", pattern.strip("^$").removesuffix("/?"))
                mapping: dict[str, Any] = self.get_method_map(viewset, route.mapping)
                for method, action in mapping.items():
                    yield read_summary(viewset, action)[0], method.upper(), path


def drop_aliases(endpoints: Sequence[tuple[str, str, str, Any]], **_: Any) -> list[tuple[str, str, str, Any]]:
    """Return each path once, collections with their last slash and resources without (a hook of drf-spectacular)."""
    paths = {path for path, *_ in endpoints}
    return [
        (path.removesuffix("/") if path.removesuffix("/") not in paths else path, *rest)
        for path, *rest in endpoints
        if f"{path}/" not in paths
    ]
