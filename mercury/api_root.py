"""`/api/v1.0/`: the version of the API and its endpoints."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from mercury.lib.rest.resource import ApiView
from mercury.lib.rest.routers import Router


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
        listed = [(what[0].lower() + what[1:], method, path) for what, method, path in self.router.list_endpoints()]
        endpoints = {f"{what} [{method}]": root + path for what, method, path in [*own, *listed]}
        return Response({"versions": {"v1.0": endpoints}})
