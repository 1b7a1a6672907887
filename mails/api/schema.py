"""The description (OpenAPI 3.1) of mails and events: what goes in, what comes out, with examples."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view

from mails.actions.apply import MAX_NOTE
from mails.api import client_events, representation
from mails.lanes import Lane
from mails.lifecycle.action_requests import MAX_NAME
from mails.states import Action, Policy, RecipientState, Status
from mails.submission import LANES, MAX_IDEMPOTENCY_KEY, MAX_SENDER, MAX_SUBJECT
from mercury.lib.rest.openapi import (
    ETAG,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    REQUEST_ID,
    Schema,
    answer_header,
    component,
    integer,
    moment,
    obj,
    page_of,
    page_parameters,
    problems,
    rate_headers,
    text,
    url,
)


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """`Authorization: Bearer mk_…`."""

    target_class = "mails.api.authentication.KeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """The key as OpenAPI calls it."""
        return {"type": "http", "scheme": "bearer", "description": "An API key: `mk_<prefix>_<secret>`."}


_ADDRESSES = component(
    "Addresses",
    {
        "description": "The addresses it goes to. Give them as `recipient` or as `recipients`, which are two names of one "
        "field that is needed: one address, several separated by commas or spaces, or a list.",
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "null"},
        ],
    },
)
_NEW_MAIL_FIELDS: dict[str, Schema] = {
    "id": text("The mail's id: a UUID of version 7; treat it as opaque.", format="uuid"),
    "url": url("The mail itself."),
    "events": url("Its events."),
    "sender": text("The address the mail comes from."),
    "recipient": text("The addresses the mail goes to, separated by commas."),
    "recipients": text("The same text under its other name."),
    "subject": text("May be empty."),
    "content": text("The body, as plain text."),
    "created": moment("When it was accepted."),
    "created_at": integer("The same in nanoseconds since the Unix epoch."),
    "lane": text("The queue it waits in.", enum=Lane.values),
    "policy": text("What follows a call whose outcome is not known.", enum=Policy.values),
}
NEW_MAIL = component("AcceptedMail", obj(_NEW_MAIL_FIELDS, description="What of a mail never changes."))
_STATE_FIELDS: dict[str, Schema] = {
    "status": text("Where it stands.", enum=Status.values),
    "provider": text("The account that had it last; empty before the first call."),
    "attempts": integer("Calls of providers so far.", minimum=0),
    "fault": text("Whose fault the last refusal was: message, account, recipient, rate, provider, local."),
    "reason_code": text("Why it stands there; stable and short, for grouping."),
    "possibly_twice": {"type": "boolean", "description": "An outcome is unknown: it may have been sent twice."},
    "wish": {
        "type": ["string", "null"],
        "enum": [Action.CANCEL.value, Action.HOLD.value, Action.SENT.value, None],
        "description": "What was asked for during the call under way; carried out when that is closed.",
    },
    "next_attempt": moment("When it is due.", nullable=True),
    "expires": moment("When it will no longer be tried."),
    "finished": moment("When it reached its end.", nullable=True),
    "text_removed": moment("When retention removed its text; `content` is empty since.", nullable=True),
}
_MAIL_FIELDS: dict[str, Schema] = {
    **_NEW_MAIL_FIELDS,
    **_STATE_FIELDS,
    "content": text(
        "The body, as plain text. Null in a list that has no room for it, see `content_left_out`.",
        type=["string", "null"],
    ),
    "content_left_out": {
        "type": "boolean",
        "description": "This page of a list holds one megabyte of bodies without it; the mail's `url` has it whole.",
    },
    "verdict": text("The same in one sentence, with the reason; for people."),
    "obstacles": {
        "type": "array",
        "description": "While no account can take it: each account, why not, and when it can again.",
        "items": obj(
            {
                "account": text("The account's name."),
                "reason": text("Why it cannot take the email now; for people."),
                "until": moment("When it can, where time alone settles that.", nullable=True),
            }
        ),
    },
    "outcomes": {
        "type": "array",
        "description": "What became of each recipient.",
        "items": obj(
            {
                "address": text("The recipient."),
                "state": text("Its outcome.", enum=RecipientState.values),
                "reason": text("The provider's words, if it refused."),
            }
        ),
    },
}
MAIL = component("Mail", obj(_MAIL_FIELDS))
STEERED_MAIL = component(
    "SteeredMail",
    obj(
        _MAIL_FIELDS,
        required=("id", "url", *_STATE_FIELDS),
        description="The mail; for a client without the scope `mails:read` only where it stands.",
    ),
)
SUBMISSION = component(
    "Submission",
    obj(
        {
            "sender": text("One address, with or without a display name.", minLength=3, maxLength=MAX_SENDER),
            "recipient": _ADDRESSES,
            "recipients": _ADDRESSES,
            "subject": {"type": ["string", "null"], "maxLength": MAX_SUBJECT},
            "content": {"type": ["string", "null"], "description": "The body, as plain text."},
            "policy": {"type": ["string", "null"], "enum": [*Policy.values, None]},
            "lane": {
                "type": ["string", "null"],
                "enum": [*LANES, None],
                "description": "`bulk`: it waits in the lane of mass mail, and keeps no other mail waiting. Left out, Mercury chooses.",
            },
            "id": {"description": "Ignored, as are `url` and `events`: a mail that was read can be posted again."},
            "url": {"description": "Ignored."},
            "events": {"description": "Ignored."},
        },
        required=("sender",),
        additionalProperties=False,
    ),
)
EVENT = component(
    "Event",
    obj(
        {
            "id": integer("Grows with each event."),
            "url": url("The event itself."),
            "mail_id": text("The mail's id.", format="uuid"),
            "mail": url("The mail."),
            "event": text("Its name, of the sending model (`NEW`, `SEND`, `DONE` …) or a client's own."),
            "created_at": integer("Nanoseconds since the Unix epoch."),
            "created": moment("The same, to the microsecond."),
            "created_by": text("Who recorded it: `Mail Service`, `Dispatcher`, an account's attempt, `key:…`."),
            "blob": text("More about it, usually JSON as text."),
        }
    ),
)
NEW_EVENT = component(
    "NewEvent",
    obj(
        {
            "event": text("Its name.", minLength=1, maxLength=client_events.MAX_NAME),
            "blob": {"type": ["string", "null"], "maxLength": client_events.MAX_BLOB},
        }
        | {name: {"description": "Ignored; the server fills it in."} for name in sorted(client_events.IGNORED)},
        required=("event",),
        additionalProperties=False,
    ),
)

_MAIL_ID = OpenApiParameter("mail_id", str, OpenApiParameter.PATH, description="The mail's id.")
_EVENT_ID = OpenApiParameter("event_id", str, OpenApiParameter.PATH, description="The event's id.")
_COUNTED = (202, 400, 403, 409, 413, 415, 422, 429, 503)  # the answers that tell a key's rate
_HELLO = {
    "sender": "mercury@olimpus.com",
    "recipient": "zeus@olimpus.com",
    "subject": "You made my day",
    "content": "Hi",
}

mails = extend_schema_view(
    get=extend_schema(
        operation_id="list_mails",
        tags=["Mails"],
        summary="List mails",
        parameters=[*page_parameters(representation.MAIL_FIELDS), IF_NONE_MATCH, ETAG, REQUEST_ID],
        responses={200: OpenApiResponse(page_of("mails", MAIL), description="A page.")}
        | NOT_MODIFIED
        | problems(400, 404),
    ),
    post=extend_schema(
        operation_id="create_mail",
        tags=["Mails"],
        summary="Create a mail",
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_IDEMPOTENCY_KEY,
                    "pattern": "^[!-~]([ -~]*[!-~])?$",
                },
                OpenApiParameter.HEADER,
                description="Makes a repeated request harmless: for 24 hours the same key and body get the first answer.",
            ),
            answer_header("Location", "The mail's URL.", 202),
            answer_header("MailId", "The mail's id.", 202),
            answer_header("Idempotency-Replayed", "`true` where this is the first answer again.", 202),
            *rate_headers(*_COUNTED),
            REQUEST_ID,
        ],
        request={"application/json": SUBMISSION},
        responses={202: OpenApiResponse(NEW_MAIL, description="Stored for sending; it cannot be lost any more.")}
        | problems(400, 409, 413, 415, 422, 429),
        examples=[OpenApiExample("A mail", _HELLO, request_only=True)],
    ),
)
one_mail = extend_schema(
    operation_id="read_mail",
    tags=["Mails"],
    summary="Read a mail",
    parameters=[_MAIL_ID, IF_NONE_MATCH, ETAG, REQUEST_ID],
    responses={200: OpenApiResponse(MAIL, description="The mail, and where it stands.")} | NOT_MODIFIED | problems(404),
)
_NOTE: Schema = {
    "type": ["string", "null"],
    "maxLength": MAX_NOTE,
    "description": "Why; kept in the event.",
}


def _steering(
    verb: str,
    summary: str,
    description: str,
    *,
    required: Mapping[str, Schema] = MappingProxyType({}),
    optional: Mapping[str, Schema] = MappingProxyType({}),
) -> Any:
    """One of the verbs for a mail in flight."""
    fields = {**required, **optional, "note": _NOTE}
    body = obj(fields, required=tuple(required), additionalProperties=False)
    example = {name: field["enum"][0] for name, field in required.items()} | {"note": "Hera asked for it."}
    post = extend_schema(
        operation_id=f"{verb}_mail",
        tags=["Mails"],
        summary=summary,
        description=description,
        parameters=[_MAIL_ID, *rate_headers(200, 202, 400, 404, 409, 413, 415, 429), REQUEST_ID],
        request={"application/json": component(f"{verb.capitalize()}Mail", body)},
        responses={
            200: OpenApiResponse(STEERED_MAIL, description="Done, or it was so before. The mail as it stands now."),
            202: OpenApiResponse(
                STEERED_MAIL, description="A call is under way; it is done when that is closed, see `wish`."
            ),
        }
        | problems(400, 404, 409, 413, 415, 429),
        examples=[OpenApiExample("With a reason", example, request_only=True)],
    )
    return extend_schema_view(post=post)


cancel = _steering("cancel", "Cancel a mail", "It is not sent any more; a call under way may still take it.")
hold = _steering("hold", "Hold a mail", "It stays where it is until it is released or cancelled.")
release = _steering(
    "release", "Release a mail", "A held mail is due at once; what was asked for during a call is taken back."
)
reprocess = _steering(
    "reprocess",
    "Reprocess a mail",
    "A mail that was discarded, has expired, waits to retry or is held begins again with all accounts, "
    "with the same id and Message-ID. One whose outcome is unknown must be settled instead. `via` or `not_tried` bind it "
    "to some accounts, in all rounds; 409 `no_account_left` says that it was tried with every one that can be used.",
    optional={
        "via": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": MAX_NAME,
            "description": "Only through this account.",
        },
        "not_tried": {
            "type": ["boolean", "null"],
            "description": "Only through accounts that it has no attempt on record with. Not beside `via`.",
        },
    },
)
settle = _steering(
    "settle",
    "Settle a mail",
    "Say what became of a held mail whose outcome is unknown: `sent` ends it, `not-sent` queues it for the next account.",
    required={
        "outcome": {
            "type": "string",
            "enum": [Action.SENT.value, Action.NOT_SENT.value],
            "description": "What happened.",
        },
    },
)
events = extend_schema_view(
    get=extend_schema(
        operation_id="list_events",
        tags=["Events"],
        summary="List the events of a mail",
        parameters=[_MAIL_ID, *page_parameters(representation.EVENT_FIELDS), IF_NONE_MATCH, ETAG, REQUEST_ID],
        responses={200: OpenApiResponse(page_of("events", EVENT), description="A page.")}
        | NOT_MODIFIED
        | problems(400, 404),
    ),
    post=extend_schema(
        operation_id="append_event",
        tags=["Events"],
        summary="Append an event to a mail",
        description="Only `event` must be sent. An appended event never moves the mail; the names of the sending model "
        "and of Mercury's own take the scope `events:system`. A mail has room for 1,000 of them and a million characters of "
        "blobs: 409 `too_many_events` beyond.",
        parameters=[
            _MAIL_ID,
            answer_header("Location", "The event's URL.", 201),
            *rate_headers(201, 400, 404, 409, 413, 415, 429),
            REQUEST_ID,
        ],
        request={"application/json": NEW_EVENT},
        responses={201: OpenApiResponse(EVENT, description="Recorded.")} | problems(400, 404, 409, 413, 415, 429),
        examples=[OpenApiExample("An event", {"event": "READ BY HERA", "blob": ""}, request_only=True)],
    ),
)
one_event = extend_schema(
    operation_id="read_event",
    tags=["Events"],
    summary="Read an event",
    parameters=[_MAIL_ID, _EVENT_ID, IF_NONE_MATCH, ETAG, REQUEST_ID],
    responses={200: OpenApiResponse(EVENT, description="The event.")} | NOT_MODIFIED | problems(404),
)
