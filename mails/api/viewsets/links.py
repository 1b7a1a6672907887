"""Download links of the client's emails: what became of them, and their end."""

import uuid
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.actions import downloads
from mails.api.fields import LINK_FIELDS
from mails.api.serializers.links import LinkSerializer, RevokeLinkSerializer, build_link_url
from mails.api.viewsets.base import UUID, OwnMailsViewSet, format_recorder
from mails.models import DownloadLink
from mercury.lib.rest.pagination import Pagination


class LinkPagination(Pagination):
    """Pages of links."""

    results_key = "links"


class LinkViewSet(OwnMailsViewSet):
    """Download links of large files, newest first."""

    tag, noun = "Links", "link"
    queryset = DownloadLink.objects.none()
    lookup_url_kwarg = "link_id"
    serializer_class = LinkSerializer
    pagination_class = LinkPagination
    filter_fields = LINK_FIELDS
    ordering = "-id"
    required_scopes = {"GET": Scope.MAILS_READ}

    def get_queryset(self) -> QuerySet[DownloadLink]:
        """Return the links of the emails that this client may see."""
        return DownloadLink.objects.filter(mail__in=self.list_visible())

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List download links."""
        return super().list(request, *args, **kwargs)

    def retrieve(self, request: Request, link_id: str) -> HttpResponseBase:
        """Read a download link."""
        return self.respond(self._represent(self._find(link_id)))

    @extend_schema(request=RevokeLinkSerializer, responses={200: LinkSerializer})
    @action(
        detail=True,
        methods=["post"],
        required_scopes={"POST": Scope.MAILS_MANAGE},
        serializer_class=RevokeLinkSerializer,
    )
    def revoke(self, request: Request, link_id: str) -> Response:
        """Revoke a download link.

        It ends now, also downloads in progress cannot go on, and its file is deleted if nothing else uses it. Again: 200.
        """
        link = self._find(link_id)
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        downloads.revoke_link(link, by=format_recorder(request))
        link.refresh_from_db()
        return Response(self._represent(link))

    def build_url(self, pk: uuid.UUID) -> str:
        """Return the URL of a link."""
        return build_link_url(self.request, pk)

    def _represent(self, link: DownloadLink) -> dict[str, Any]:
        return LinkSerializer(context={"request": self.request}).to_representation(link)

    def _find(self, link_id: str) -> DownloadLink:
        """Return a link. A malformed id, an unknown one and somebody else's are all the same 404."""
        link = self.get_queryset().filter(pk=uuid.UUID(link_id)).first() if UUID.fullmatch(link_id) else None
        if link is None:
            raise Http404
        return link
