"""Resend: its requests and its answers. The answers of docs/providers/resend.md are tested by `test_docs`."""

import base64
import json

import pytest
from jsonschema import Draft202012Validator

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.idempotency import make_key
from providers.kinds.name_value_tags import MAX_TAGS
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.kinds.resend import RESEND
from providers.outcomes import QuotaPeriod
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi
from providers.transports import mime

_FILLED = {"type": "string", "minLength": 1}
_ADDRESSES = {"type": "array", "items": _FILLED, "minItems": 1, "maxItems": 50}
_WORD = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,256}$"}


def _describe(required=(), **properties):
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


# The fields that Mercury uses, as Resend describes them.
REQUEST = Draft202012Validator(
    _describe(
        ("to", "subject", "from"),
        to=_ADDRESSES,
        cc=_ADDRESSES,
        bcc=_ADDRESSES,
        reply_to=_ADDRESSES,
        subject=_FILLED,
        text=_FILLED,
        html=_FILLED,
        headers={"type": "object", "additionalProperties": {"type": "string"}},
        tags={"type": "array", "items": _describe(("name", "value"), name=_WORD, value=_WORD)},
        attachments={
            "type": "array",
            "items": _describe(
                ("content", "filename"),
                content={"type": "string"},
                filename=_FILLED,
                content_type=_FILLED,
                content_id=_FILLED,
            ),
        },
        **{"from": _FILLED},
    )
)


@pytest.fixture
def api():
    return RESEND.open_api(clean_options("resend", {"api_key": "key"}))


def _build(api, message):
    document = json.loads(api.build_request(message).body)
    REQUEST.validate(document)
    return document


def _answer(document, status=422):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def test_every_field_is_in_the_request(api):
    message = messages.build_whole(
        reply_to=["zeus@ida.gr", "Iris <iris@ida.gr>"],
        headers={
            "X-Order": "Αρ. 7",
            "List-Unsubscribe": "<https://olimpus.com/leave>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )

    request = api.build_request(message)

    assert (request.method, request.url) == ("POST", "https://api.resend.com/emails")
    assert request.headers == {
        "Authorization": "Bearer key",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": make_key(message),
    }
    assert _build(api, message) == {
        "from": "Zeus <zeus@olimpus.com>",
        "to": ['"Hera, queen" <hera@olimpus.com>', "iris@olimpus.com"],
        "cc": ["Άρης <ares@olimpus.com>"],
        "bcc": ["eris@olimpus.com"],
        "reply_to": ["zeus@ida.gr", "Iris <iris@ida.gr>"],
        "subject": "You made my day",
        "text": "Χαῖρε, Ἥρα",
        "html": '<p>Χαῖρε <img src="cid:logo"></p>',
        "headers": {
            "X-Mercury-ID": accounts.MAIL_ID,
            "X-Order": "Αρ. 7",
            "List-Unsubscribe": "<https://olimpus.com/leave>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "tags": [
            {"name": "mercury_id", "value": accounts.MAIL_ID},
            {"name": "order", "value": "7"},
            {"name": "tag", "value": "welcome"},
            {"name": "tag_2", "value": "gods"},
        ],
        "attachments": [
            {"filename": "bill.pdf", "content": _encode(b"%PDF-1.7"), "content_type": "application/pdf"},
            {
                "filename": "logo.png",
                "content": _encode(messages.LOGO),
                "content_type": "image/png",
                "content_id": "logo",
            },
        ],
    }


def _encode(content):
    return base64.b64encode(content).decode()


def test_a_repeated_request_has_the_same_key_and_the_same_body(api):
    first, second = (api.build_request(messages.build_whole()) for _ in range(2))

    assert (first.headers, first.body) == (second.headers, second.body)
    assert 1 <= len(first.headers["Idempotency-Key"]) <= 256


def test_a_request_for_other_recipients_has_another_key(api):
    whole = messages.build_whole()

    part = api.build_request(mime.narrow(whole, [HERA]))

    assert part.headers["Idempotency-Key"] != api.build_request(whole).headers["Idempotency-Key"]


def test_a_space_replaces_an_empty_subject_and_text(api):
    document = _build(api, messages.build_bare(subject="", body=""))

    assert (document["subject"], document["text"]) == (" ", " ")


def test_html_alone_goes_out_as_html(api):
    message = messages.build_bare(body="<p>Hi</p>")
    message.content_subtype = "html"

    document = _build(api, message)

    assert document["html"] == "<p>Hi</p>"
    assert "text" not in document


def test_international_domains_are_sent_in_ascii(api):
    document = _build(api, messages.build_bare(to=["Ἥρα <hera@bücher.example>"], from_email="zeus@bücher.example"))

    assert (document["to"], document["from"]) == (
        ["Ἥρα <hera@xn--bcher-kva.example>"],
        "zeus@xn--bcher-kva.example",
    )


def test_tags_without_metadata_are_sent(api):
    message = messages.build_bare()
    message.metadata, message.tags = {}, ["welcome"]

    assert _build(api, message)["tags"] == [{"name": "tag", "value": "welcome"}]


def test_what_a_tag_cannot_have_is_left_out(api):
    message = messages.build_bare()
    message.metadata = {"näme": "x", "long": "x" * 257, "empty": "", "two words": "x", "tag": "own"}
    message.metadata |= {"mercury_id": accounts.MAIL_ID}
    message.tags = ["a word", "welcome"]

    assert _build(api, message)["tags"] == [
        {"name": "mercury_id", "value": accounts.MAIL_ID},
        {"name": "tag", "value": "own"},
        {"name": "tag_3", "value": "welcome"},
    ]


def test_an_email_has_a_limited_number_of_tags(api):
    message = messages.build_bare()
    message.tags = ["welcome"] * 100

    assert len(_build(api, message)["tags"]) == MAX_TAGS


@pytest.mark.parametrize(
    ("name", "content_type", "words"),
    [
        ("bill.pdf", "image/png", "Resend does not support attachments of type image/png with name 'bill.pdf'"),
        ("setup.exe", "application/octet-stream", "Resend carries no attachments of the type .exe"),
    ],
)
def test_an_attachment_that_resend_would_drop_is_refused_before_the_call(api, name, content_type, words):
    message = messages.build_bare()
    message.attach(name, b"content", content_type)

    with pytest.raises(ValueError, match=words):
        api.build_request(message)


@pytest.mark.parametrize("document", [{"id": ""}, {"id": 7}, {"data": [{"id": "49a3999c"}]}, ["49a3999c"], None])
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document, 200)) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Invalid `to` field. It needs to follow a format.", RejectedRecipients(reasons={}, has_unnamed=True)),
        (f"Invalid `cc` field: {IRIS}", RejectedRecipients(reasons={IRIS: "…"}, has_unnamed=True)),
        (f"Invalid `from` field: {IRIS}", NONE_REJECTED),
        ("Missing `subject` field.", NONE_REJECTED),
    ],
)
def test_an_error_is_about_recipients_if_it_says_so(api, message, expected):
    error = {"statusCode": 422, "name": "validation_error", "message": message}

    rejected = api.find_rejected(_answer(error), [HERA, IRIS])

    assert (set(rejected.reasons), rejected.has_unnamed) == (set(expected.reasons), expected.has_unnamed)


def test_the_id_of_an_accepted_email_is_in_the_body(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(200, '{"id": "49a3999c"}') as provider:
            return await provider.send(RESEND, messages.build_whole()), provider.received

    outcome, received = event_loop.run(scenario())

    assert outcome.provider_message_id == "49a3999c"
    assert received[0].headers["Idempotency-Key"] == make_key(messages.build_whole())


@pytest.mark.parametrize(
    ("name", "period"),
    [("daily_quota_exceeded", QuotaPeriod.DAY), ("monthly_quota_exceeded", QuotaPeriod.MONTH)],
)
def test_the_name_of_the_error_has_the_period_of_a_used_up_quota(name, period):
    body = json.dumps({"statusCode": 429, "name": name, "message": "You have reached your email quota."})
    answer = HttpAnswer(status_code=429, headers={}, content=body.encode())

    assert RESEND.open_api(clean_options("resend", {"api_key": "re_key"})).read_quota_period(answer) is period
