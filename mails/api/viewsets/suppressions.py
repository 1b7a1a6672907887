"""The suppression list over the API: entries of the client's sender domains, CSV in and out, and a check of one address."""

import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse, UnreadablePostError
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from mails.access.api_keys import Scope
from mails.api import forms
from mails.api.fields import SUPPRESSION_FIELDS, format_time
from mails.api.serializers import suppressions as shown
from mails.api.viewsets.base import format_recorder, get_key, read_flag
from mails.message import addresses
from mails.message.addresses import ANY_DOMAIN, InvalidAddress
from mails.models import Suppression
from mails.suppression import check, csv_export, csv_import, entries, keys, rules
from mails.suppression.csv_columns import MEDIA_TYPE
from mails.suppression.entries import Change
from mails.suppression.rules import InvalidEntry
from mercury.lib.database import database_clock
from mercury.lib.rest import upload_slots
from mercury.lib.rest.large_bodies import build_too_large
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import FieldError, Problem, build_pointer
from mercury.lib.rest.resource import ResourceViewSet

FILE = "file"  # the part of a form that is the CSV
_CHUNK = 64 * 1024  # bytes
_IN_MEMORY = 1024 * 1024  # bytes of a file that never reaches the disk
_READ, _WRITE = {"GET": Scope.SUPPRESSIONS_READ}, {"POST": Scope.SUPPRESSIONS_WRITE}


class CsvRenderer(JSONRenderer):
    """The answer for clients that ask for CSV. The view streams it; only errors are rendered, as JSON."""

    media_type = MEDIA_TYPE


class SuppressionPagination(Pagination):
    """Pages of suppressions."""

    results_key = "suppressions"


class SuppressionViewSet(ResourceViewSet):
    """The suppression list, newest entry first."""

    tag, noun = "Suppressions", "suppression"
    verbs = {"create": "add", "import_file": "import", "export_file": "export"}
    queryset = Suppression.objects.none()
    lookup_url_kwarg = "suppression_id"
    lookup_value_regex = "[^/]+"
    serializer_class = shown.SuppressionSerializer
    serializer_classes = {"create": shown.NewSuppressionSerializer}
    pagination_class = SuppressionPagination
    filter_fields = SUPPRESSION_FIELDS
    ordering = "-id"
    query_parameters = {"import_file": ("dry_run",), "check": ("address", "sender"), "export_file": ("filter",)}
    required_scopes = _READ | _WRITE | {"DELETE": Scope.SUPPRESSIONS_WRITE}
    required_permissions = {
        "GET": "mails.view_suppression",
        "POST": "mails.add_suppression",
        "DELETE": "mails.delete_suppression",
    }

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Keep the file of a form out of memory."""
        forms.prepare(request)
        return super().initialize_request(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Suppression]:
        """Return the entries that this client may see."""
        domains = _list_domains(self.request)
        everything = Suppression.objects.all()
        return everything if domains is None else everything.filter(scope__in=domains)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List suppressions."""
        return super().list(request, *args, **kwargs)

    @extend_schema(responses={200: shown.SuppressionSerializer, 201: shown.SuppressionSerializer})
    def create(self, request: Request) -> Response:
        """Add a suppression.

        The address gets no more email: from the senders of the domain `scope`, or without one from anybody. 201: it is new.
        200: it was on the list, and has this reason, detail and expiry now.
        """
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        texts = {name: value or "" for name, value in serializer.validated_data.items()}
        try:
            entry = rules.parse_for_adding(texts, database_clock.now())
        except InvalidEntry as invalid:
            raise _refuse(invalid) from None
        if not self._may_use(entry.scope):
            raise self._refuse_scope()
        (change,) = entries.put([entry], source=format_recorder(request))
        stored = Suppression.objects.get(address=entry.address, scope=entry.scope)
        body = self._represent(stored)
        return Response(body, status=201 if change == Change.ADDED else 200, headers={"Location": body["url"]})

    def retrieve(self, request: Request, suppression_id: str) -> HttpResponseBase:
        """Read a suppression."""
        return self.respond(self._represent(self._find(suppression_id)))

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, suppression_id: str) -> Response:
        """Remove a suppression.

        The address gets email again, from now on. The audit log says who removed it.
        """
        entries.remove([self._find(suppression_id)], by=format_recorder(request))
        return Response(status=204)

    @extend_schema(
        parameters=[
            OpenApiParameter("address", str, required=True, description="The address."),
            OpenApiParameter("sender", str, description="Email from this address; by default from anybody."),
        ]
    )
    @action(detail=False, serializer_class=shown.CheckSerializer, required_scopes=_READ)
    def check(self, request: Request) -> Response:
        """Check an address.

        Whether it gets email from a sender, and why not. Any key may ask, also about entries for all senders, which only
        a key with the sender `*` may list.
        """
        address, sender = _read_address(request, "address"), _read_address(request, "sender", default="")
        if sender and not self._may_use(keys.get_sender_domain(sender)):
            raise self._refuse_scope()
        found = check.find([address], database_clock.now()).find(address, sender=sender)
        answer = {
            "address": address,
            "suppressed": found is not None,
            "scope": found.scope if found else None,
            "reason": found.reason if found else None,
            "since": format_time(found.since) if found else None,
        }
        return Response(answer)

    @extend_schema(
        responses={(200, MEDIA_TYPE): OpenApiTypes.STR},
        parameters=[OpenApiParameter("filter", str, description="As of the list.")],
    )
    @action(
        detail=False,
        url_path="export",
        required_scopes=_READ,
        renderer_classes=[*api_settings.DEFAULT_RENDERER_CLASSES, CsvRenderer],
    )
    def export_file(self, request: Request) -> StreamingHttpResponse:
        """Export suppressions.

        As CSV in UTF-8, the oldest entry first. `filter` is that of the list. Cells that a spreadsheet would run begin with an
        apostrophe; an import removes it.
        """
        rows = self.filter_queryset(self.get_queryset())
        return StreamingHttpResponse(
            csv_export.export(rows),
            content_type=f"{MEDIA_TYPE}; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="suppressions.csv"'},
        )

    @extend_schema(
        request={
            MEDIA_TYPE: OpenApiTypes.STR,
            forms.MEDIA_TYPE: {"type": "object", "properties": {FILE: {"type": "string", "format": "binary"}}},
        },
        responses={200: shown.ImportReportSerializer},
        parameters=[OpenApiParameter("dry_run", bool, description="Only say what would happen.")],
    )
    @action(detail=False, methods=["post"], url_path="import", required_scopes=_WRITE)
    def import_file(self, request: Request) -> Response:
        """Import suppressions.

        The body is CSV in UTF-8, or a form with the part `file`. Its header names the columns: `address`, and any of
        `scope`, `reason`, `detail`, `since`, `expires`, `mail`. A file with an invalid line is refused as a whole: 400
        with the first errors. If the connection ends, import the same file again.
        """
        is_dry = read_flag(request, "dry_run")
        with upload_slots.take(), tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            report = csv_import.import_csv(
                _open(request, cast(BinaryIO, file)),
                source=format_recorder(request),
                dry_run=is_dry,
                may_use_scope=self._may_use,
            )
        if report.invalid:
            raise _refuse_file(report)
        return Response(report.as_document())

    def build_url(self, pk: int) -> str:
        """Return the URL of an entry."""
        return shown.build_suppression_url(self.request, pk)

    def _may_use(self, scope: str) -> bool:
        domains = _list_domains(self.request)
        return domains is None or scope in domains

    def _refuse_scope(self) -> Problem:
        domains = _list_domains(self.request) or set()
        names = f"one of its sender domains: {', '.join(sorted(domains))}" if domains else "no domain: it has no sender"
        detail = f"This key may use {names}. Entries for all senders need a key with the sender '*'."
        error = FieldError(detail=detail, code="scope_not_allowed", pointer=build_pointer("scope"))
        return Problem(403, error.code, f"scope: {detail}", errors=[error])

    def _represent(self, suppression: Suppression) -> dict[str, Any]:
        return shown.SuppressionSerializer(context={"request": self.request}).to_representation(suppression)

    def _find(self, number: str) -> Suppression:
        """Return an entry. A malformed id, an unknown one and one of others are all the same 404."""
        is_number = number.isascii() and number.isdecimal() and len(number) < 19
        found = self.get_queryset().filter(pk=int(number)).first() if is_number else None
        if found is None:
            raise Http404
        return found


def _list_domains(request: Request) -> set[str] | None:
    """Return the sender domains whose entries the client may see and change; None: all, and those of all senders."""
    key = get_key(request)
    if key is None or ANY_DOMAIN in key.senders:
        return None  # a person has the method's permission, which is for all entries
    return {addresses.normalize_domain(addresses.extract_domain(sender)) for sender in key.senders}


def _read_address(request: Request, name: str, *, default: str | None = None) -> str:
    text = request.query_params.get(name, default)
    if text == default and default is not None:
        return default
    try:
        return keys.normalize(text or "")
    except InvalidAddress as invalid:
        raise _refuse_parameter(name, str(invalid)) from None


def _refuse_parameter(name: str, detail: str) -> Problem:
    error = FieldError(detail=detail, code=f"invalid_{name}", parameter=name)
    return Problem(400, error.code, f"{name}: {detail}", errors=[error])


def _refuse(invalid: InvalidEntry) -> Problem:
    code, detail = shown.NewSuppressionSerializer.problem
    errors = [
        FieldError(detail=text, code=f"invalid_{name}", pointer=build_pointer(name))
        for name, text in invalid.errors.items()
    ]
    return Problem(400, code, detail, errors=errors)


def _refuse_file(report: csv_import.ImportReport) -> Problem:
    errors = [
        FieldError(detail=str(error), code="invalid_line", pointer=build_pointer(str(error.line)))
        for error in report.errors
    ]
    detail = f"Nothing was imported: {report.invalid} lines have errors. Correct them and import the file again."
    return Problem(400, "invalid_csv", detail, errors=errors, extra={"report": report.as_document()})


def _open(request: Request, file: BinaryIO) -> BinaryIO:
    """Return the request's CSV as a file that can be read line by line; its body is copied into `file`. Raises Problem."""
    raw = request._request
    if raw.content_type == forms.MEDIA_TYPE:
        return _open_part(request)
    if raw.content_type != MEDIA_TYPE:
        raise Problem(415, "unsupported_media_type", f"Send the file as {MEDIA_TYPE}, or as {forms.MEDIA_TYPE}.")
    _copy(raw.read, file)
    return file


def _open_part(request: Request) -> BinaryIO:
    fields, files = forms.read(request)
    given = files.getlist(FILE)
    others = [name for name in (*files, *fields) if name not in (FILE, "csrfmiddlewaretoken")]
    if others or len(given) != 1:
        raise _refuse_body("invalid_form", f"Send one CSV file, as the part '{FILE}', and nothing else.")
    (file,) = given
    return cast(BinaryIO, file.file)


def _copy(read: Callable[[int], bytes], file: BinaryIO) -> None:
    size = 0
    try:
        while chunk := read(_CHUNK):
            size += len(chunk)
            if size > settings.MERCURY_MAX_FILE_SIZE:
                raise build_too_large(settings.MERCURY_MAX_FILE_SIZE)
            file.write(chunk)
    except UnreadablePostError:
        raise _refuse_body("body_incomplete", "The connection ended before the body did.") from None
    if not size:
        raise _refuse_body("empty_file", "The file is empty. Its first line is the header: address,reason")
    file.seek(0)


def _refuse_body(code: str, detail: str) -> Problem:
    error = FieldError(detail=detail, code=code, pointer=build_pointer(FILE))
    return Problem(400, code, detail, errors=[error])
