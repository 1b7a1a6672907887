"""Files that a client uploads, for its emails to refer to."""

import uuid
from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.http import parse_header_parameters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access.api_keys import Scope
from mails.api import forms
from mails.api.fields import FILE_FIELDS
from mails.api.parsers import check_encoding
from mails.api.serializers.files import FileSerializer, build_file_url
from mails.api.viewsets import tus
from mails.api.viewsets.base import UUID, get_owner
from mails.files import resumable, uploads
from mails.files.contents import ContentIncomplete
from mails.files.resumable import ChecksumMismatch, OffsetMismatch
from mails.files.types import MAX_LENGTH, parse_type
from mails.files.uploads import FileTooLarge, QuotaExceeded, UploadGone, UploadRefused
from mails.models import StoredFile
from mails.models.querysets import StoredFileQuerySet
from mercury.lib.database import database_clock
from mercury.lib.rest import upload_slots
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import FieldError, Problem, build_pointer
from mercury.lib.rest.resource import ResourceViewSet

FILE = "file"  # the part of a form that is the file
_STATUSES: dict[type[UploadRefused], int] = {
    FileTooLarge: 413,
    QuotaExceeded: 409,
    UploadGone: 410,
    OffsetMismatch: 409,
    ChecksumMismatch: 460,  # of the tus protocol
}


class FilePagination(Pagination):
    """Pages of files."""

    results_key = "files"


class FileViewSet(ResourceViewSet):
    """The files that this client uploaded, newest first."""

    tag, noun = "Files", "file"
    verbs = {"create": "upload", "partial_update": "continue"}
    queryset = StoredFile.objects.none()
    lookup_url_kwarg = "file_id"
    lookup_value_regex = "[^/]+"
    serializer_class = FileSerializer
    pagination_class = FilePagination
    filter_fields = FILE_FIELDS
    ordering = "-id"
    query_parameters = {"create": ("filename",)}
    refusals = {
        "create": (409, 410, 412),
        "retrieve": (410,),
        "partial_update": (409, 410, 412, 413, 415, 460),
        "destroy": (410,),
    }
    required_scopes = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), Scope.MAILS_SEND)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Keep the files of a form out of memory, also if the check of the CSRF token parses it."""
        forms.prepare(request)
        return super().initialize_request(request, *args, **kwargs)

    def get_queryset(self) -> StoredFileQuerySet:
        """Return the files of this client."""
        return uploads.list_own(get_owner(self.request))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List uploaded files."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request={
            "application/octet-stream": bytes,
            forms.MEDIA_TYPE: {"type": "object", "properties": {FILE: {"type": "string", "format": "binary"}}},
        },
        responses={201: FileSerializer},
        parameters=[
            OpenApiParameter("filename", str, description="Its name, if `Content-Disposition` does not give it."),
            describe_header("Content-Disposition", 'Its name: `attachment; filename="crown.png"`.'),
            describe_header("Location", "The file's URL.", on=[201]),
        ],
    )
    def create(self, request: Request) -> Response:
        """Upload a file.

        The body is the file, or a form (`multipart/form-data`) with the part `file`. It is stored while it arrives, and
        can be used by any number of emails: `"attachments": [{"file": "<id>"}]`.
        """
        check_encoding(request)
        if tus.is_creation(request):
            file = _begin(request)
            return self._answer(file, status=201)
        with upload_slots.take():
            file = (
                _receive_form(request) if request._request.content_type == forms.MEDIA_TYPE else _receive_body(request)
            )
        return self._answer(file, status=201)

    @extend_schema(
        request={tus.MEDIA_TYPE: OpenApiTypes.BINARY},
        responses={204: OpenApiResponse(description="Stored; `Upload-Offset` says how far the upload is.")},
        parameters=[
            describe_header("Upload-Offset", "Where the bytes begin: the end of those that have arrived."),
            describe_header(
                "Upload-Checksum",
                "Their hash, in base64: `sha256 …`, `sha1 …` or `md5 …`. They count only if it is theirs.",
            ),
            describe_header("Upload-Offset", "The end of those that have arrived now.", on=[204]),
        ],
    )
    def partial_update(self, request: Request, file_id: str) -> Response:
        """Continue an upload.

        By the tus protocol: the body is the next bytes of the file. 409 `offset_mismatch` if they do not begin where the
        upload ends; 460 `checksum_mismatch` if they are not those that `Upload-Checksum` names.
        """
        file = self._find(file_id)  # first: of others' files nothing is said
        tus.is_creation(request)
        check_encoding(request)
        tus.check_media_type(request)
        checksum = tus.read_checksum(request)
        start = tus.read_length(request, "Upload-Offset")
        if start + int(request._request.META.get("CONTENT_LENGTH") or 0) > file.size:
            raise _build_problem(FileTooLarge("too_large", f"The upload was announced with {file.size} bytes."))
        try:
            with upload_slots.take():
                file = resumable.append(file, start, request._request.read, checksum=checksum)
        except UploadRefused as refused:
            raise _build_problem(refused) from None
        except ContentIncomplete:
            raise _build_problem(
                UploadRefused("body_incomplete", "The connection ended before the body did.")
            ) from None
        return Response(status=204, headers=tus.describe(file))

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """Describe the address, and the protocol of resumable uploads."""
        answer = super().options(request, *args, **kwargs)
        for name, value in tus.describe_server().items():
            answer[name] = value
        return answer

    def retrieve(self, request: Request, file_id: str) -> HttpResponseBase:
        """Read an uploaded file.

        What is known of it, not its content. `Upload-Offset` says how far an upload is that is resumed (tus protocol).
        """
        file = self._find(file_id)
        if file.received == file.size:
            file = _complete(file)
        answer = self.respond(self.get_serializer(file).data)
        for name, value in tus.describe(file).items():
            answer[name] = value
        return answer

    @extend_schema(responses={204: OpenApiResponse(description="Deleted.")})
    def destroy(self, request: Request, file_id: str) -> Response:
        """Delete an uploaded file.

        Emails that use it keep its content.
        """
        uploads.delete(self._find(file_id))
        return Response(status=204)

    def build_url(self, pk: uuid.UUID) -> str:
        """Return the URL of a file."""
        return build_file_url(self.request, pk)

    def _answer(self, file: StoredFile, *, status: int) -> Response:
        body = self.get_serializer(file).data
        return Response(body, status=status, headers={"Location": body["url"], **tus.describe(file)})

    def _find(self, file_id: str) -> StoredFile:
        """Return a file of this client. A malformed id, an unknown one and somebody else's are all the same 404."""
        owner = get_owner(self.request)
        own = StoredFile.objects.owned_by(api_key=owner.api_key, user=owner.user)
        file = own.filter(pk=uuid.UUID(file_id)).first() if UUID.fullmatch(file_id) else None
        if file is None:
            raise Http404
        if file.expires_at <= database_clock.now():
            raise Problem(410, "expired", f"The file expired at {file.expires_at:%Y-%m-%d %H:%M} UTC; upload it again.")
        return file


def _begin(request: Request) -> StoredFile:
    """Begin a resumable upload, of which nothing has arrived."""
    metadata, size = tus.read_metadata(request), tus.read_length(request, "Upload-Length")
    declared = parse_type(metadata.get("filetype", ""))
    try:
        return uploads.begin(
            filename=metadata.get("filename", ""), declared=declared, size=size, owner=get_owner(request)
        )
    except UploadRefused as refused:
        raise _build_problem(refused) from None


def _complete(file: StoredFile) -> StoredFile:
    """Complete an upload whose process died after the last bytes."""
    try:
        return resumable.complete(file)
    except UploadRefused as refused:
        raise _build_problem(refused) from None


def _receive_body(request: Request) -> StoredFile:
    raw = request._request
    length = raw.META.get("CONTENT_LENGTH") or ""
    is_chunked = "chunked" in raw.META.get("HTTP_TRANSFER_ENCODING", "").lower()
    return _receive(
        request,
        raw.read,
        filename=_read_filename(request),
        declared=raw.content_type or "",
        size=None if is_chunked else int(length or 0),
    )


def _receive_form(request: Request) -> StoredFile:
    fields, files = forms.read(request)
    given = files.getlist(FILE)
    others = [name for name in (*files, *fields) if name not in (FILE, "csrfmiddlewaretoken")]
    if others or len(given) != 1:
        detail = f"Send one file, as the part '{FILE}', and nothing else."
        raise _build_problem(UploadRefused("invalid_form", detail))
    (file,) = given
    declared = file.content_type or ""
    return _receive(request, file.read, filename=file.name or "", declared=declared, size=file.size)


def _receive(
    request: Request, read: Callable[[int], bytes], *, filename: str, declared: str, size: int | None
) -> StoredFile:
    try:
        content_type = parse_type(declared)
        if declared and not content_type:
            detail = f"The Content-Type is not the type of a file; write one such as image/png, of at most {MAX_LENGTH} characters."
            raise UploadRefused("invalid_content_type", detail)
        return uploads.receive(read, filename=filename, declared=content_type, size=size, owner=get_owner(request))
    except UploadRefused as refused:
        raise _build_problem(refused) from None
    except ContentIncomplete:
        raise _build_problem(UploadRefused("body_incomplete", "The connection ended before the body did.")) from None


def _read_filename(request: Request) -> str:
    """Return the name that the request gives its body; empty if it gives none."""
    if name := request.query_params.get("filename"):
        return name
    _, parameters = parse_header_parameters(request.headers.get("Content-Disposition", ""))
    name = parameters.get("filename", "")
    try:
        return name.encode("latin-1").decode()  # many clients send UTF-8 as it is
    except UnicodeError:
        return name


def _build_problem(refused: UploadRefused) -> Problem:
    status = _STATUSES.get(type(refused), 400)
    error = FieldError(detail=str(refused), code=refused.code, pointer=build_pointer(FILE))
    return Problem(status, refused.code, str(refused), errors=[error])
