"""The description (OpenAPI 3.1) of provider accounts."""

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view

from mercury.lib import rates
from mercury.lib.rest.openapi import (
    ETAG,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    PROBLEM,
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
from mercury.lib.rest.problems import CONTENT_TYPE
from providers.api import account_fields, representation
from providers.kinds.capabilities import KINDS, ProviderKind
from providers.models import AccountSource, BreakerMode, BreakerState

_WRITABLE: dict[str, Schema] = {
    "options": {
        "type": "object",
        "description": 'The account\'s options, by its kind. Secrets are never shown, only as "set, ends …4fA".',
        "additionalProperties": {"type": ["string", "integer", "null"]},
    },
    "weight": integer("Share of the weighted draw; 0 is never drawn.", minimum=0, maximum=10_000),
    "rate": {
        "type": ["number", "null"],
        "minimum": rates.SLOWEST,
        "maximum": rates.FASTEST,
        "description": "Calls a second; null is no limit.",
    },
    "trust_500": {"type": "boolean", "description": 'Its 500s are known to mean "not taken".'},
    "enabled": {"type": "boolean", "description": "False: it is not drawn."},
}
_IGNORED: dict[str, Schema] = {name: {"description": "Ignored."} for name in sorted(account_fields.IGNORED)}

ACCOUNT = component(
    "ProviderAccount",
    obj(
        {
            "id": integer("The account's id."),
            "url": url("The account itself."),
            "name": text("Its name, as events have it."),
            "kind": text("What it speaks to.", enum=list(KINDS)),
            "source": text("Where its options come from.", enum=AccountSource.values),
            **_WRITABLE,
            "configured": {"type": "boolean", "description": "False: this process lacks its options."},
            "in_use": {"type": "boolean", "description": "It may be drawn, as far as its breaker allows."},
            "breaker": obj(
                {
                    "mode": text("Who decides.", enum=BreakerMode.values),
                    "state": text("What it lets through.", enum=BreakerState.values),
                    "says": text('In words: "1 fault of 5", "probe in 26 s".'),
                }
            ),
            "created": moment("When it was first seen."),
        }
    ),
)


def _name(kind: ProviderKind) -> str:
    return "".join(filter(str.isalnum, kind.label))


def _options(kind: ProviderKind) -> Schema:
    """The options of one kind, as `capabilities` checks them."""
    described: dict[str, Schema] = {}
    for option in kind.options:
        words = f"{option.label}. {option.help}".strip() + (" Never shown again." if option.secret else "")
        described[option.name] = {"type": "string", "description": words}
        if option.most is not None:
            described[option.name] |= {"type": "integer", "minimum": 1, "maximum": option.most}
        if option.choices:
            described[option.name]["enum"] = list(option.choices)
    required = tuple(option.name for option in kind.options if option.required)
    return component(f"{_name(kind)}Options", obj(described, required=required, additionalProperties=False))


def _new_account(kind: ProviderKind) -> Schema:
    """A new account of one kind; `options` may be left out where no option is required."""
    options = _options(kind)
    is_required = any(option.required for option in kind.options)
    fields = {
        "name": text("Lower case letters, digits and single dashes.", maxLength=64, pattern="^[a-z0-9]+(-[a-z0-9]+)*$"),
        "kind": text("What it speaks to.", enum=[kind.key]),
        **_WRITABLE,
        "options": options,
        **_IGNORED,
    }
    required = ("name", "kind", *(["options"] if is_required else []))
    return component(f"New{_name(kind)}Account", obj(fields, required=required, additionalProperties=False))


_NEW_ACCOUNTS = {key: _new_account(kind) for key, kind in KINDS.items()}
NEW_ACCOUNT = component(
    "NewProviderAccount",
    {
        "oneOf": list(_NEW_ACCOUNTS.values()),
        "discriminator": {
            "propertyName": "kind",
            "mapping": {key: found["$ref"] for key, found in _NEW_ACCOUNTS.items()},
        },
    },
)
CHANGED_ACCOUNT = component(
    "ChangedProviderAccount",
    obj(
        {
            "name": text("An account keeps its name: give it as it is, or not at all."),
            "kind": text("An account keeps its kind: give it as it is, or not at all."),
            **_WRITABLE,
            **_IGNORED,
        },
        required=(),
        additionalProperties=False,
    ),
)

_ID = OpenApiParameter("account_id", str, OpenApiParameter.PATH, description="The account's id.")
_FIXED = {
    (409, CONTENT_TYPE): OpenApiResponse(
        PROBLEM, description="The account is not made here; the text says where it is."
    )
}
_MAILGUN = {
    "name": "mailgun-eu",
    "kind": "mailgun",
    "options": {
        "api_key": "key-of-your-account",
        "sender_domain": "mg.olimpus.com",
        "api_url": "https://api.eu.mailgun.net/v3",
    },
    "weight": 2,
    "rate": 14,
}

accounts = extend_schema_view(
    get=extend_schema(
        operation_id="list_providers",
        tags=["Providers"],
        summary="List provider accounts",
        parameters=[*page_parameters(representation.FIELDS), IF_NONE_MATCH, ETAG, REQUEST_ID],
        responses={200: OpenApiResponse(page_of("providers", ACCOUNT), description="A page.")}
        | NOT_MODIFIED
        | problems(400, 404),
    ),
    post=extend_schema(
        operation_id="register_provider",
        tags=["Providers"],
        summary="Register a provider account",
        parameters=[
            answer_header("Location", "The account's URL.", 201),
            *rate_headers(201, 400, 413, 415, 429),
            REQUEST_ID,
        ],
        request={"application/json": NEW_ACCOUNT},
        responses={201: OpenApiResponse(ACCOUNT, description="Registered; it may be drawn at once.")}
        | problems(400, 413, 415, 429),
        examples=[OpenApiExample("Mailgun in the EU", _MAILGUN, request_only=True)],
    ),
)
one_account = extend_schema_view(
    get=extend_schema(
        operation_id="read_provider",
        tags=["Providers"],
        summary="Read a provider account",
        parameters=[_ID, IF_NONE_MATCH, ETAG, REQUEST_ID],
        responses={200: OpenApiResponse(ACCOUNT, description="The account, and how it does.")}
        | NOT_MODIFIED
        | problems(404),
    ),
    put=extend_schema(
        operation_id="update_provider",
        tags=["Providers"],
        summary="Change a provider account",
        description="What is left out stays as it is, so does a secret that is given as it was shown. The options of an "
        "account of the environment are changed there.",
        parameters=[_ID, *rate_headers(200, 400, 404, 413, 415, 429), REQUEST_ID],
        request={"application/json": CHANGED_ACCOUNT},
        responses={200: OpenApiResponse(ACCOUNT, description="As it is now.")}
        | problems(400, 404, 413, 415, 429)
        | _FIXED,
        examples=[OpenApiExample("A pause", {"enabled": False}, request_only=True)],
    ),
    delete=extend_schema(
        operation_id="remove_provider",
        tags=["Providers"],
        summary="Remove a provider account",
        description="Mails and events keep its name.",
        parameters=[_ID, *rate_headers(204, 404, 429), REQUEST_ID],
        responses={204: OpenApiResponse(description="Removed.")} | problems(404, 429) | _FIXED,
    ),
)
