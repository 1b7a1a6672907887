"""Postmark: its requests and its answers. The answers of docs/providers/postmark.md are tested by `test_docs`."""

import base64
import json

import pytest
from jsonschema import Draft202012Validator

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.postmark import MAX_BODY, POSTMARK
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Accepted, FailureClass, Refused
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi

_TEXT = {"type": "string"}
_FILLED = {"type": "string", "minLength": 1}


def _describe(required=(), **properties):
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


# The fields that Mercury uses, as Postmark describes them.
REQUEST = Draft202012Validator(
    _describe(
        ("From", "To", "Subject"),
        From=_FILLED,
        To=_FILLED,
        Cc=_FILLED,
        Bcc=_FILLED,
        ReplyTo=_FILLED,
        Subject=_FILLED,
        TextBody=_FILLED,
        HtmlBody=_FILLED,
        Tag={"type": "string", "minLength": 1, "maxLength": 1000},
        MessageStream=_FILLED,
        Metadata={
            "type": "object",
            "maxProperties": 10,
            "propertyNames": {"maxLength": 20},
            "additionalProperties": {"type": "string", "maxLength": 80},
        },
        Headers={"type": "array", "items": _describe(("Name", "Value"), Name=_FILLED, Value=_TEXT)},
        Attachments={
            "type": "array",
            "items": _describe(
                ("Name", "Content", "ContentType"), Name=_FILLED, Content=_TEXT, ContentType=_FILLED, ContentID=_FILLED
            ),
        },
    )
)
INACTIVE = "Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."


@pytest.fixture
def api():
    return POSTMARK.open_api(clean_options("postmark", {"api_key": "key"}))


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

    assert (request.method, request.url) == ("POST", "https://api.postmarkapp.com/email")
    assert request.headers == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-Postmark-Server-Token": "key",
    }
    document = _build(api, message)
    headers = {header["Name"]: header["Value"] for header in document.pop("Headers")}
    assert headers == {
        "Message-ID": f"<{accounts.MAIL_ID}@olimpus.com>",
        "X-Mercury-ID": accounts.MAIL_ID,
        "X-Order": "Αρ. 7",
        "List-Unsubscribe": "<https://olimpus.com/leave>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "X-PM-KeepID": "true",
    }
    assert document == {
        "From": "Zeus <zeus@olimpus.com>",
        "To": '"Hera, queen" <hera@olimpus.com>, iris@olimpus.com',
        "Cc": "Άρης <ares@olimpus.com>",
        "Bcc": "eris@olimpus.com",
        "ReplyTo": "zeus@ida.gr, Iris <iris@ida.gr>",
        "Subject": "You made my day",
        "TextBody": "Χαῖρε, Ἥρα",
        "HtmlBody": '<p>Χαῖρε <img src="cid:logo"></p>',
        "Tag": "welcome",
        "Metadata": {"mercury_id": accounts.MAIL_ID, "order": "7"},
        "Attachments": [
            {"Name": "bill.pdf", "Content": _encode(b"%PDF-1.7"), "ContentType": "application/pdf"},
            {
                "Name": "logo.png",
                "Content": _encode(messages.LOGO),
                "ContentType": "image/png",
                "ContentID": "cid:logo",
            },
        ],
    }


def _encode(content):
    return base64.b64encode(content).decode()


def test_a_space_replaces_an_empty_subject_and_text(api):
    document = _build(api, messages.build_bare(subject="", body=""))

    assert (document["Subject"], document["TextBody"]) == (" ", " ")


def test_html_alone_goes_out_as_html(api):
    message = messages.build_bare(body="<p>Hi</p>")
    message.content_subtype = "html"

    document = _build(api, message)

    assert document["HtmlBody"] == "<p>Hi</p>"
    assert "TextBody" not in document


def test_international_domains_are_sent_in_ascii(api):
    document = _build(api, messages.build_bare(to=["Ἥρα <hera@bücher.example>"], from_email="zeus@bücher.example"))

    assert (document["To"], document["From"]) == (
        "Ἥρα <hera@xn--bcher-kva.example>",
        "zeus@xn--bcher-kva.example",
    )


def test_metadata_that_does_not_fit_is_left_out(api):
    message = messages.build_bare()
    message.metadata = {
        **{f"name-{number}": "x" for number in range(12)},
        "n" * 21: "x",
        "long": "x" * 81,
        "mercury_id": accounts.MAIL_ID,
    }

    metadata = _build(api, message)["Metadata"]

    assert list(metadata) == ["mercury_id", *(f"name-{number}" for number in range(9))]


def test_tags_that_do_not_fit_are_left_out(api):
    message = messages.build_bare()
    message.tags = ["t" * 1001, "gods"]

    assert _build(api, message)["Tag"] == "gods"


@pytest.mark.parametrize("kind", ["plain", "html"])
def test_a_body_has_five_megabytes_at_most(api, kind):
    largest, larger = (messages.build_bare(body="ö" * (MAX_BODY // 2) + more) for more in ("", "!"))
    largest.content_subtype = larger.content_subtype = kind

    _build(api, largest)
    with pytest.raises(ValueError, match="at most 5,000,000 bytes"):
        api.build_request(larger)


@pytest.mark.parametrize("name", ["setup.exe", "Setup.EXE", "bill.pdf.scr"])
def test_a_program_is_refused_before_the_call(api, name):
    message = messages.build_bare()
    message.attach(name, b"MZ", "application/octet-stream")

    with pytest.raises(ValueError, match="Postmark carries no attachments of the type"):
        api.build_request(message)


def test_an_account_may_have_a_message_stream():
    options = clean_options("postmark", {"api_key": "key", "message_stream": "broadcast"})

    assert _build(POSTMARK.open_api(options), messages.build_bare())["MessageStream"] == "broadcast"


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"ErrorCode": 0, "Message": "OK", "MessageID": "b7bc2f4a", "To": HERA}, "b7bc2f4a"),
        ({"Message": "Message accepted, but delivery may be delayed.", "MessageID": "b7bc2f4a"}, "b7bc2f4a"),
        ({"ErrorCode": 300, "Message": "Invalid", "MessageID": "b7bc2f4a"}, None),
        ({"ErrorCode": 0, "Message": "OK"}, None),
        ({"ErrorCode": 0, "Message": "OK", "MessageID": 7}, None),
        ([{"ErrorCode": 0, "Message": "OK", "MessageID": "b7bc2f4a"}], None),
    ],
)
def test_the_id_of_an_accepted_email_is_in_the_body(api, document, name):
    assert api.read_message_id(_answer(document, 200)) == name


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (300, f"Invalid 'To' address: '{IRIS}'.", RejectedRecipients(reasons={IRIS: "…"}, has_unnamed=True)),
        (300, "Error parsing 'Cc': Illegal email domain.", RejectedRecipients(reasons={}, has_unnamed=True)),
        (300, f"Invalid 'From' address: '{IRIS}'.", NONE_REJECTED),
        (300, "Invalid metadata content.", NONE_REJECTED),
        (
            406,
            f"Found inactive addresses: {HERA}, {IRIS}.\n{INACTIVE}",
            RejectedRecipients(reasons={HERA: "…", IRIS: "…"}),
        ),
        (
            0,
            f"Message OK, but will not deliver to these inactive addresses: {IRIS.upper()}. {INACTIVE}",
            RejectedRecipients(reasons={IRIS: "…"}),
        ),
        (0, "OK", NONE_REJECTED),
        (400, f"inactive addresses: {IRIS}. {INACTIVE}", NONE_REJECTED),
    ],
)
def test_an_answer_names_the_recipients_that_get_nothing(api, code, message, expected):
    rejected = api.find_rejected(_answer({"ErrorCode": code, "Message": message}), [HERA, IRIS])

    assert (set(rejected.reasons), rejected.has_unnamed) == (set(expected.reasons), expected.has_unnamed)
    assert set(rejected.reasons.values()) <= {message}


@pytest.fixture
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


def _send(answer, message):
    async def scenario():
        async with ScriptedApi(200, json.dumps(answer)) as provider:
            return await provider.send(POSTMARK, message)

    return event_loop.run(scenario())


@pytest.mark.usefixtures("_local_hosts")
def test_an_accepted_email_is_refused_for_an_inactive_recipient():
    words = f"Message OK, but will not deliver to these inactive addresses: {IRIS}. {INACTIVE}"

    outcome = _send(
        {"ErrorCode": 0, "Message": words, "MessageID": "b7bc2f4a"}, messages.build_bare(to=[HERA, IRIS.upper()])
    )

    assert isinstance(outcome, Accepted)
    assert [(refusal.address, refusal.permanent) for refusal in outcome.refused] == [(IRIS.upper(), True)]


@pytest.mark.usefixtures("_local_hosts")
def test_an_email_whose_recipients_are_all_inactive_is_refused():
    words = f"Message OK, but will not deliver to these inactive addresses: {HERA}. {INACTIVE}"

    outcome = _send({"ErrorCode": 0, "Message": words, "MessageID": "b7bc2f4a"}, messages.build_bare())

    assert isinstance(outcome, Refused)
    assert outcome.failure_class is FailureClass.MESSAGE
