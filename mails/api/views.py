"""The resources of the API: mails and their events. Each view translates, calls one function, and translates back."""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

import structlog
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import Http404, HttpResponseBase
from django.utils.cache import get_conditional_response
from rest_framework.request import Request
from rest_framework.response import Response

from mails import stops
from mails.access.api_keys import Scope
from mails.actions import apply
from mails.actions.apply import CannotBeUsed, Gone, NoAccountLeft, NotPossible
from mails.api import client_events, representation, schema, steering
from mails.api.permissions import has_scope, may_write_to
from mails.intake.accept import (
    Client,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    Receipt,
    SenderNotAllowed,
    accept,
)
from mails.lifecycle import writer
from mails.lifecycle.action_requests import Order
from mails.models import ApiKey, Content, Event, Mail
from mails.querysets import MailQuerySet
from mails.states import DUE, LEASED, Source
from mails.stops import NO_STOP, Surroundings
from mails.submission import InvalidSubmission
from mercury.lib.rest import large_bodies
from mercury.lib.rest.pagination import PARAMETERS, Page, paginate
from mercury.lib.rest.problems import Fault, Problem, pointer
from mercury.lib.rest.resource import Resource

LISTED_TEXT = 1_000_000  # bytes of text in one page of a list; a mail by itself has its whole text
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_EVENT_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # within 64 bits


@schema.mails
class Mails(Resource):
    """Mails of this client, newest first; and the door by which new ones come in."""

    required_scopes = {"GET": Scope.MAILS_READ, "POST": Scope.MAILS_SEND}
    query_parameters = {"GET": PARAMETERS}
    takes_mails = True

    def get(self, request: Request) -> Response:
        """List mails. With `expand=true` five queries more, however many mails the page holds, and LISTED_TEXT bytes of text at most."""
        page = paginate(request, _visible(request), representation.MAIL_FIELDS, default="-id")
        if page.expand:
            rows = list(page.rows.prefetch_related("recipients"))
            texts = _texts_within(rows, LISTED_TEXT)
            around = Surroundings.read() if any(mail.status in {*DUE, *LEASED} for mail in rows) else None
            shown = [
                representation.listed_mail(mail, texts.get(mail.pk), request, around.over(mail) if around else NO_STOP)
                for mail in rows
            ]
            return _listed(page, "mails", shown)
        ids = page.rows.values_list("id", flat=True)
        return _listed(page, "mails", [representation.mail_url(request, mail_id) for mail_id in ids])

    def post(self, request: Request) -> Response:
        """Take a mail. After the 202 it cannot be lost; the same Idempotency-Key gives the same answer for 24 hours."""
        receipt = _accepted(request)
        content = _body(request).get("content") or ""
        body = representation.new_mail(receipt.mail, content, request)
        headers = {"Location": body["url"], "MailId": body["id"]}
        if receipt.replayed:
            headers["Idempotency-Replayed"] = "true"
        return Response(body, status=202, headers=headers)


class OneMail(Resource):
    """One mail and where it stands."""

    required_scopes = {"GET": Scope.MAILS_READ}

    @schema.one_mail
    def get(self, request: Request, mail_id: str) -> HttpResponseBase:
        """Show a mail."""
        mail = _found(_visible(request).prefetch_related("recipients"), mail_id)
        large_bodies.hold(request, mail.size)
        stop = stops.over(mail)
        return _single(request, representation.mail(mail, request, stop), stop.mark)


class Steering(Resource):
    """Something asked of one mail: done at once, or stored as a wish while a call is under way."""

    required_scopes = {"POST": Scope.MAILS_STEER}
    verb = ""

    def post(self, request: Request, mail_id: str) -> Response:
        """Do it. 200 when it is done (or was before), 202 when it waits for a call to end, 409 when it is too late."""
        mail = _found(_visible(request).only("id"), mail_id)
        by = client_events.recorded_by(_key(request), request.user)
        wanted = steering.parse(self.verb, _body(request))
        try:
            acted = apply.act(mail.pk, Order(wanted.action, by, wanted.note, how=wanted.how))
        except Gone:
            raise Http404 from None
        except CannotBeUsed as wrong:
            detail = f"No account '{wrong.account}' can be used: there is none of this name, or it takes no mail."
            faults = [
                Fault(detail, "invalid", "/via")
            ]  # without the names of the others, which may not be this key's to see
            raise Problem(400, "invalid_action", "Nothing was done; see errors.", errors=faults) from None
        except NotPossible as too_late:
            extra = {"state": too_late.mail.status, "possible": steering.verbs(too_late.possible)}
            code = "no_account_left" if isinstance(too_late, NoAccountLeft) else "not_possible"
            raise Problem(409, code, str(too_late), extra=extra) from None
        if has_scope(request.user, request.auth, Scope.MAILS_READ):
            large_bodies.hold(request, acted.mail.size)
            body = representation.mail(acted.mail, request, stops.over(acted.mail))
        else:
            body = representation.state(acted.mail, request)
        return Response(body, status=202 if acted.wished else 200)


@schema.cancel
class Cancel(Steering):
    """Take a mail back."""

    verb = "cancel"


@schema.hold
class Hold(Steering):
    """Keep a mail back until it is released."""

    verb = "hold"


@schema.release
class Release(Steering):
    """Let a held mail go on, or take back what was asked for during a call."""

    verb = "release"


@schema.reprocess
class Reprocess(Steering):
    """Send a mail anew that was given up, waits, or is held."""

    verb = "reprocess"


@schema.settle
class Settle(Steering):
    """Say what became of a mail whose outcome is unknown."""

    verb = "settle"


@schema.events
class Events(Resource):
    """What happened to a mail, in order; clients may append events of their own."""

    required_scopes = {"GET": Scope.MAILS_READ, "POST": Scope.EVENTS_WRITE}
    query_parameters = {"GET": PARAMETERS}

    def get(self, request: Request, mail_id: str) -> Response:
        """List the events of a mail."""
        rows = Event.objects.of(_found(_visible(request).only("id"), mail_id).pk)
        page = paginate(request, rows, representation.EVENT_FIELDS, default="id")
        if page.expand:
            return _listed(page, "events", [representation.event(event, request) for event in page.rows])
        ids = page.rows.values_list("id", flat=True)
        return _listed(page, "events", [representation.event_url(request, mail_id, event_id) for event_id in ids])

    def post(self, request: Request, mail_id: str) -> Response:
        """Append an event. It never moves the mail."""
        mail = _found(_visible(request), mail_id)
        if not may_write_to(mail, request.user, request.auth):
            detail = (
                "You may read this mail. To append events to mails of others takes the permission 'mails.add_event'."
            )
            raise Problem(403, "permission_denied", detail)
        wanted = client_events.parse(_body(request))
        if wanted.is_system and not has_scope(request.user, request.auth, Scope.EVENTS_SYSTEM):
            detail = f"'{wanted.name}' is a name of Mercury's own: to write it takes the scope '{Scope.EVENTS_SYSTEM}'."
            raise Problem(403, "missing_scope", detail, errors=[Fault(detail, "missing_scope", "/event")])
        by = client_events.recorded_by(_key(request), request.user)
        try:
            event = writer.append_client_event(mail, event=wanted.name, blob=wanted.blob, by=by)
        except writer.TooManyEvents:
            detail = (
                f"Clients may append {writer.CLIENT_EVENTS:,} events to one mail, with blobs of "
                f"{writer.CLIENT_BLOBS:,} characters in all. This one was not recorded."
            )
            raise Problem(409, "too_many_events", detail) from None
        body = representation.event(event, request)
        return Response(body, status=201, headers={"Location": body["url"]})


class OneEvent(Resource):
    """One event of a mail."""

    required_scopes = {"GET": Scope.MAILS_READ}

    @schema.one_event
    def get(self, request: Request, mail_id: str, event_id: str) -> HttpResponseBase:
        """Show an event."""
        if not _UUID.fullmatch(mail_id) or not _EVENT_ID.fullmatch(event_id):
            raise Http404
        event = Event.objects.of(uuid.UUID(mail_id)).filter(pk=int(event_id), mail__in=_visible(request)).first()
        if event is None:
            raise Http404
        return _single(request, representation.event(event, request))


def _accepted(request: Request) -> Receipt:
    """Hand the request to intake, and say its refusals in HTTP."""
    key = request.headers.get("Idempotency-Key")  # blank is another thing than none
    try:
        return accept(_body(request), client=_client(request), idempotency_key=key)
    except InvalidSubmission as invalid:
        faults = [Fault(error.detail, error.code, pointer(error.field)) for error in invalid.errors]
        extra = {"mail": representation.mail_url(request, invalid.mail_id)} if invalid.mail_id else {}
        detail = "The mail was not taken; see errors. It is kept as rejected."
        raise Problem(400, "invalid_mail", detail, errors=faults, extra=extra) from None
    except SenderNotAllowed as refused:
        fault = Fault(str(refused), "sender_not_allowed", "/sender")
        raise Problem(403, fault.code, fault.detail, errors=[fault]) from None
    except InvalidIdempotencyKey as invalid_key:
        fault = Fault(str(invalid_key).partition(": ")[2], "invalid_idempotency_key", header="Idempotency-Key")
        raise Problem(400, fault.code, str(invalid_key), errors=[fault]) from None
    except IdempotencyKeyReused as reused:
        raise Problem(422, "idempotency_key_reused", str(reused)) from None
    except IdempotencyKeyInUse as in_use:
        raise Problem(409, "idempotency_key_in_use", str(in_use), headers={"Retry-After": "1"}) from None


def _client(request: Request) -> Client:
    user = request.user if isinstance(request.user, User) else None
    return Client(source=Source.API, api_key=_key(request), user=user)


def _body(request: Request) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], request.data)  # StrictJSONParser gives nothing else


def _key(request: Request) -> ApiKey | None:
    return request.auth if isinstance(request.auth, ApiKey) else None


def _visible(request: Request) -> MailQuerySet:
    return Mail.objects.visible_to(api_key=_key(request), user=request.user)


def _found(rows: QuerySet[Mail], mail_id: str) -> Mail:
    """The mail of this id among `rows`. A malformed id, an unknown one and somebody else's are all the same 404."""
    mail = rows.filter(pk=uuid.UUID(mail_id)).first() if _UUID.fullmatch(mail_id) else None
    if mail is None:
        raise Http404
    structlog.contextvars.bind_contextvars(mail=str(mail.pk))  # in every log line of the rest of this request
    return mail


def _texts_within(mails: Sequence[Mail], limit: int) -> dict[uuid.UUID, str]:
    """Return the texts of these mails in their order, without each one that does not fit into `limit` bytes beside those before it."""
    fitting, left = [], limit
    for mail in mails:
        if mail.size <= left:
            fitting.append(mail.pk)
            left -= mail.size
    found = dict(Content.objects.filter(mail__in=fitting).values_list("mail", "text"))
    return {pk: found.get(pk, "") for pk in fitting}  # retention removes a text; its mail has an empty one then


def _listed(page: Page[Any], name: str, items: list[Any]) -> Response:
    return Response({name: items, "meta": page.meta}, headers={"Link": page.link})


def _single(request: Request, body: dict[str, Any], also: object = None) -> HttpResponseBase:
    """One resource with its ETag; 304 for a client that has it as it is. The browsable page is made anew each time.

    The verdict is left out of the ETag: it may tell an age, which is another one each second. What else it tells that is
    nowhere in the body is handed in as `also`.
    """
    if request.accepted_renderer.format != "json":
        return Response(body)
    digest = hashlib.sha256(json.dumps({**body, "verdict": "", "also": also}).encode()).hexdigest()
    etag = f'"{digest[:32]}"'
    response = Response(body, headers={"ETag": etag})
    return get_conditional_response(request._request, etag=etag, response=response) or response
