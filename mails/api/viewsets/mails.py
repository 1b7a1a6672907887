"""Emails and their events. Each action translates, calls one function, and translates back."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, assert_never, cast

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access import throttles
from mails.access.api_keys import Scope
from mails.access.permissions import has_scope
from mails.actions import apply
from mails.actions.errors import AccountNotUsable, ActionNotAllowed, ChangesRefused, MailNotFound, NoUntriedAccount
from mails.api import forms
from mails.api.fields import MAIL_FIELDS
from mails.api.parsers import MailFormParser, StrictJSONParser
from mails.api.serializers import requests
from mails.api.serializers.mails import (
    KEY_PARAMETER,
    AcceptedMailSerializer,
    MailSerializer,
    MailStateSerializer,
    ManagedMailSerializer,
    build_mail_api_url,
    represent_accepted,
)
from mails.api.stored_messages import ShownMessage, read_messages
from mails.api.viewsets.base import find_mail, format_recorder, get_key, read_idempotency_key
from mails.api.viewsets.batches import BatchActions
from mails.files import storage
from mails.intake import copies
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.receipts import IDEMPOTENCY_KEY, InvalidField, NotStored, RefusalReason, Refused, Stored
from mails.intake.submission import Submission, SubmissionSerializer
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Mail, MailFile
from mails.models.querysets import MailQuerySet
from mails.obstacles import NO_OBSTACLES, Obstacles, SendingConditions, find_obstacles
from mails.states import DUE, LEASED, Source
from mercury.lib.mail import preview
from mercury.lib.rest import large_bodies
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import FieldError, Problem, build_pointer

LISTED_TEXT = 1_000_000  # bytes of text in one page of a list; an email by itself has its whole text
_MANAGE = {"POST": Scope.MAILS_MANAGE}


class MailPagination(Pagination):
    """Pages of emails."""

    results_key = "mails"


class MailViewSet(BatchActions):
    """Emails of this client, newest first; new ones are submitted here."""

    tag, noun = "Mails", "mail"
    queryset = Mail.objects.none()
    lookup_url_kwarg = "mail_id"
    serializer_class = MailSerializer
    serializer_classes = {"create": SubmissionSerializer}
    pagination_class = MailPagination
    filter_fields = MAIL_FIELDS
    ordering = "-id"
    required_scopes = {"GET": Scope.MAILS_READ, "POST": Scope.MAILS_SEND}
    refusals = {
        "create": (409, 413, 422),
        **dict.fromkeys(("cancel", "hold", "release", "reschedule", "resolve"), (409,)),
        "reprocess": (409, 413),
        "copy": (409, 413, 422),
        "file": (410,),
    }

    @property
    def is_intake(self) -> bool:  # type: ignore[override]
        """Return True for a submission."""
        return self.action in ("create", "copy")

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Keep the files of a form out of memory."""
        forms.prepare(request)
        return super().initialize_request(request, *args, **kwargs)

    def get_parsers(self) -> list[BaseParser]:
        """Return the parsers: a form can be a submission only."""
        if self.action_map.get("post") == "create":
            return [StrictJSONParser(), MailFormParser()]
        return super().get_parsers()

    def get_queryset(self) -> MailQuerySet:
        """Return the emails that this client may see."""
        return self.list_visible()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List emails."""
        return super().list(request, *args, **kwargs)

    def represent(self, rows: QuerySet[Mail]) -> Sequence[Any]:
        """Return whole emails. Five queries, however many emails, and LISTED_TEXT bytes of text at most."""
        mails = list(rows.prefetch_related("recipients"))
        messages = read_messages(mails, room=LISTED_TEXT)
        conditions = SendingConditions.load() if any(mail.status in {*DUE, *LEASED} for mail in mails) else None
        return [
            self._represent(mail, conditions.find_obstacles(mail) if conditions else NO_OBSTACLES, messages[mail.pk])
            for mail in mails
        ]

    @extend_schema(
        request={"application/json": SubmissionSerializer},
        responses={202: AcceptedMailSerializer},
        parameters=[
            KEY_PARAMETER,
            describe_header("Location", "The email's URL.", on=[202]),
            describe_header("MailId", "The email's id.", on=[202]),
            describe_header("Idempotency-Replayed", "`true` if this is the first answer again.", on=[202]),
        ],
    )
    def create(self, request: Request) -> Response:
        """Create an email.

        After the 202 it is stored and cannot be lost. As JSON, or with its files as a form (`multipart/form-data`): the part
        `mail` is the JSON, or each field is a part; files are `attachments`, or `inline` and shown under their names. The same Idempotency-Key gets the same answer for 24 hours.
        """
        submission = Submission(fields=_get_body(request), idempotency_key=read_idempotency_key(request))
        return self._answer_stored(request, _submit(request, submission))

    @extend_schema(
        responses={202: AcceptedMailSerializer},
        parameters=[
            KEY_PARAMETER,
            describe_header("Location", "The copy's URL.", on=[202]),
            describe_header("MailId", "The copy's id.", on=[202]),
            describe_header("Idempotency-Replayed", "`true` if this is the first answer again.", on=[202]),
        ],
    )
    @action(
        detail=True,
        methods=["post"],
        required_scopes={"POST": Scope.MAILS_SEND},
        serializer_class=requests.CopyMailSerializer,
    )
    def copy(self, request: Request, mail_id: str) -> Response:
        """Send a copy of an email.

        A new email with all parts of one of the client's own, to the same recipients (blind copies too) or to others. It
        has its own id and Message-ID, and new download links; every rule of a submission applies. 409 `not_copyable`:
        the email is not sent yet, or retention has deleted its body or a file.
        """
        mail = find_mail(self._list_own(), mail_id)
        serializer: Any = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            submission = copies.build_copy(
                mail,
                recipients=serializer.given_recipients,
                by=format_recorder(request),
                key=read_idempotency_key(request),
            )
        except copies.NotCopyable as refused:
            raise Problem(409, "not_copyable", str(refused)) from None
        return self._answer_stored(request, _submit(request, submission))

    def _list_own(self) -> MailQuerySet:
        """Return the emails that this client has submitted itself, whatever else it may see."""
        visible = self.list_visible()
        return visible if get_key(self.request) is not None else visible.filter(user=self.request.user.pk)

    def _answer_stored(self, request: Request, stored: Stored) -> Response:
        body = represent_accepted(stored.mail, request, content=stored.text)
        headers = {"Location": body["url"], "MailId": body["id"]}
        if stored.replayed:
            headers["Idempotency-Replayed"] = "true"
        return Response(body, status=202, headers=headers)

    def retrieve(self, request: Request, mail_id: str) -> HttpResponseBase:
        """Read an email."""
        mail = find_mail(self.list_visible().prefetch_related("recipients"), mail_id)
        large_bodies.reserve(request, mail.size)
        obstacles = find_obstacles(mail)
        return self.respond(
            self._represent(mail, obstacles, _read_whole(mail)), volatile="summary", also=obstacles.mark
        )

    @extend_schema(responses={200: ManagedMailSerializer, 202: ManagedMailSerializer})
    @action(detail=True, methods=["post"], required_scopes=_MANAGE, serializer_class=requests.CancelMailSerializer)
    def cancel(self, request: Request, mail_id: str) -> Response:
        """Cancel an email.

        It is not sent any more; an attempt in progress may still succeed: 202, see `pending_action`.
        """
        return self._act(request, mail_id)

    @extend_schema(responses={200: ManagedMailSerializer, 202: ManagedMailSerializer})
    @action(detail=True, methods=["post"], required_scopes=_MANAGE, serializer_class=requests.HoldMailSerializer)
    def hold(self, request: Request, mail_id: str) -> Response:
        """Hold an email.

        It stays where it is until it is released or cancelled.
        """
        return self._act(request, mail_id)

    @extend_schema(responses={200: ManagedMailSerializer, 202: ManagedMailSerializer})
    @action(detail=True, methods=["post"], required_scopes=_MANAGE, serializer_class=requests.ReleaseMailSerializer)
    def release(self, request: Request, mail_id: str) -> Response:
        """Release an email.

        A held email is due at once, a scheduled one at its time; a pending action is withdrawn.
        """
        return self._act(request, mail_id)

    @extend_schema(responses={200: ManagedMailSerializer})
    @action(detail=True, methods=["post"], required_scopes=_MANAGE, serializer_class=requests.RescheduleMailSerializer)
    def reschedule(self, request: Request, mail_id: str) -> Response:
        """Reschedule an email.

        An email that is scheduled, queued or waits to retry is sent at `send_at`. 409 once it is being sent, held or
        final.
        """
        return self._act(request, mail_id)

    @extend_schema(responses={200: ManagedMailSerializer, 202: ManagedMailSerializer})
    @action(detail=True, methods=["post"], required_scopes=_MANAGE, serializer_class=requests.ReprocessMailSerializer)
    def reprocess(self, request: Request, mail_id: str) -> Response:
        """Reprocess an email.

        An email that was discarded, has expired, waits to retry or is held starts again with all accounts, with the same
        id and Message-ID. One with an unknown outcome must be resolved instead. `via`, `accounts` or `not_tried` bind it to
        some accounts, in all rounds; 409 `no_account_left`: it was tried with every account that can be used. `replace` and
        `drop` change its recipients; those that a provider accepted it for get it no more, unless `again` names them.
        """
        return self._act(request, mail_id)

    @extend_schema(responses={200: ManagedMailSerializer, 202: ManagedMailSerializer})
    @action(detail=True, methods=["post"], required_scopes=_MANAGE, serializer_class=requests.ResolveMailSerializer)
    def resolve(self, request: Request, mail_id: str) -> Response:
        """Resolve an email.

        Decide the unknown outcome of a held email: `sent` ends it, `not-sent` queues it for the next account.
        """
        return self._act(request, mail_id)

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, url_path=r"files/(?P<number>[0-9]{1,4})", required_scopes={"GET": Scope.MAILS_READ})
    def file(self, request: Request, mail_id: str, number: str) -> HttpResponseBase:
        """Download a file of an email.

        The content, byte for byte, whatever its type is. 410 `gone` once retention has deleted it.
        """
        mail = find_mail(self.list_visible().only("id"), mail_id)
        file = MailFile.objects.filter(mail=mail, number=int(number)).select_related("content").first()
        if file is None:
            raise Http404
        if file.content is None:
            raise Problem(410, "gone", "Retention has deleted this file.")
        return preview.build_file_response(storage.open_content(file.content.location), file.filename)

    def build_url(self, pk: uuid.UUID) -> str:
        """Return the URL of an email."""
        return build_mail_api_url(self.request, pk)

    def _represent(self, mail: Mail, obstacles: Obstacles, shown: ShownMessage) -> dict[str, Any]:
        is_own = get_key(self.request) is not None or mail.user_id == self.request.user.pk
        context = {"request": self.request, "obstacles": obstacles, "shown": shown, "is_own": is_own}
        return MailSerializer(context=context).to_representation(mail)

    def _act(self, request: Request, mail_id: str) -> Response:
        """Carry out the action. 200 if it is done (or was before), 202 if it waits for an attempt to end, 409 if it is too late."""
        mail = find_mail(self.list_visible().only("id"), mail_id)
        serializer: Any = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        note = serializer.validated_data.get("note") or ""
        action_request = ActionRequest(
            action=serializer.requested_action,
            by=format_recorder(request),
            note=note,
            account_choice=serializer.account_choice,
            times=serializer.times,
            recipients=serializer.recipients,
            expires_at=serializer.expiry,
        )
        try:
            acted = apply.apply_action(mail.pk, action_request, client=_make_client(request))
        except MailNotFound:
            raise Http404 from None
        except AccountNotUsable as unusable:  # the names of the others may not be this key's to see
            detail = f"No account '{unusable.account}' can be used: there is none of this name, or it gets no email."
            field = "accounts" if serializer.validated_data.get("accounts") else "via"
            raise serializer.build_problem({field: [detail]}) from None
        except ChangesRefused as refused:
            raise _build_changes_problem(refused) from None
        except ActionNotAllowed as too_late:
            extra = {"state": too_late.mail.status, "possible": requests.list_action_names(too_late.allowed)}
            code = "no_account_left" if isinstance(too_late, NoUntriedAccount) else "not_possible"
            raise Problem(409, code, str(too_late), extra=extra) from None
        if has_scope(request.user, request.auth, Scope.MAILS_READ):
            large_bodies.reserve(request, acted.mail.size)
            body = self._represent(acted.mail, find_obstacles(acted.mail), _read_whole(acted.mail))
        else:
            body = MailStateSerializer(context={"request": request}).to_representation(acted.mail)
        return Response(body, status=202 if acted.requested else 200)


def _submit(request: Request, submission: Submission) -> Stored:
    """Submit the request's email. Raises Problem for a refusal."""
    (receipt,) = accept([submission], client=_make_client(request))
    if not isinstance(receipt, NotStored):
        throttles.add_limits(request, receipt.limits)
    match receipt:
        case Stored():
            return receipt
        case Refused():
            raise _build_problem(request, receipt)
        case NotStored(error=error):
            raise error
        case never:
            assert_never(never)


def _make_client(request: Request) -> Client:
    user = request.user if isinstance(request.user, User) else None
    return Client(source=Source.API, api_key=get_key(request), user=user)


def _build_changes_problem(refused: ChangesRefused) -> Problem:
    errors = [
        FieldError(detail=detail, code=refused.code, pointer=build_pointer(field))
        for field, detail in refused.errors
        if field
    ]
    headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else None
    return Problem(refused.status, refused.code, str(refused), errors=errors, headers=headers)


def _build_problem(request: Request, refused: Refused) -> Problem:
    """Return a refusal as HTTP has it."""
    detail = refused.detail
    if refused.reason == RefusalReason.INVALID_MAIL:
        detail = "The email was not accepted; see errors. It is kept as rejected."
    return Problem(
        refused.reason.status,
        refused.reason,
        detail,
        errors=[_locate(error) for error in refused.errors],
        headers={"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else None,
        extra={"mail": build_mail_api_url(request, refused.mail_id)} if refused.mail_id else None,
    )


def _locate(error: InvalidField) -> FieldError:
    if error.field == IDEMPOTENCY_KEY:
        return FieldError(detail=error.detail, code=error.code, header=error.field)
    return FieldError(detail=error.detail, code=error.code, pointer=build_pointer(error.field, *error.path))


def _get_body(request: Request) -> Mapping[str, Any]:
    data = cast(Mapping[str, Any], request.data)  # after this the client is known to be allowed to submit
    return forms.read_mail(request) if request._request.content_type == forms.MEDIA_TYPE else data


def _read_whole(mail: Mail) -> ShownMessage:
    return read_messages([mail], room=mail.size)[mail.pk]
