"""Mailjet: its requests and its answers. The answers of docs/providers/mailjet.md are tested by `test_docs`."""

import base64
import json

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.mailjet import MAILJET, MAX_SUBJECT
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.reply_words import Topic
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi

TO = {"Email": HERA, "MessageUUID": "124", "MessageID": 20547681647433000, "MessageHref": "…"}


@pytest.fixture
def api():
    return MAILJET.open_api(clean_options("mailjet", {"api_key": "key", "secret_key": "secret"}))


def _build(api, message):
    return json.loads(api.build_request(message).body)["Globals"]


def _answer(document, status=200):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _refuse(*errors, status=400):
    return _answer({"Messages": [{"Status": "error", "Errors": list(errors)}]}, status)


def _encode(content):
    return base64.b64encode(content).decode()


def test_every_field_is_in_the_request(api):
    request = api.build_request(messages.build_whole())

    assert (request.method, request.url) == ("POST", "https://api.mailjet.com/v3.1/send")
    assert request.headers == {"Authorization": f"Basic {_encode(b'key:secret')}", "Content-Type": "application/json"}
    document = json.loads(request.body)
    assert json.loads(document["Globals"].pop("EventPayload")) == {"order": "7", "mercury_id": accounts.MAIL_ID}
    assert document == {
        "Messages": [{"To": [{"Email": HERA, "Name": "Hera, queen"}, {"Email": IRIS}]}],
        "Globals": {
            "From": {"Email": "zeus@olimpus.com", "Name": "Zeus"},
            "Cc": [{"Email": "ares@olimpus.com", "Name": "Άρης"}],
            "Bcc": [{"Email": "eris@olimpus.com"}],
            "ReplyTo": {"Email": "zeus@ida.gr", "Name": "Zeus"},
            "Subject": "You made my day",
            "TextPart": "Χαῖρε, Ἥρα",
            "HTMLPart": '<p>Χαῖρε <img src="cid:logo"></p>',
            "Headers": {"X-Mercury-ID": accounts.MAIL_ID, "X-Order": "7"},
            "Attachments": [
                {"ContentType": "application/pdf", "Filename": "bill.pdf", "Base64Content": _encode(b"%PDF-1.7")}
            ],
            "InlinedAttachments": [
                {
                    "ContentType": "image/png",
                    "Filename": "logo.png",
                    "Base64Content": _encode(messages.LOGO),
                    "ContentID": "logo",
                }
            ],
            "CustomID": accounts.MAIL_ID,
            "CustomCampaign": "welcome",
        },
    }


def test_a_space_replaces_an_empty_text_but_not_an_empty_subject(api):
    built = _build(api, messages.build_bare(subject="", body=""))

    assert (built["Subject"], built["TextPart"]) == ("", " ")


def test_html_alone_goes_out_as_html(api):
    message = messages.build_bare(body="<p>Hi</p>")
    message.content_subtype = "html"

    built = _build(api, message)

    assert built["HTMLPart"] == "<p>Hi</p>"
    assert "TextPart" not in built


def test_letters_beyond_ascii_are_sent_in_an_address(api):
    document = json.loads(api.build_request(messages.build_bare(to=["ήρα@ολυμπος.gr"])).body)

    assert document["Messages"] == [{"To": [{"Email": "ήρα@xn--wxachcenr.gr"}]}]


def test_values_of_headers_are_sent_in_ascii(api):
    headers = _build(api, messages.build_bare(headers={"X-God": "Ἥρα"}))["Headers"]

    assert headers["X-God"] == f"=?utf-8?b?{_encode('Ἥρα'.encode())}?="


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "x" * (MAX_SUBJECT + 1)},
        {"reply_to": ["zeus@ida.gr", "hera@ida.gr"]},
        {"headers": {"List-Id": "<gods.olimpus.com>"}},
        {"headers": {"X-Mailer": "Hermes"}},
        {"headers": {"X-Mailjet-Campaign": "gods"}},
        {"headers": {"X-MJ-CustomID": "7"}},
    ],
)
def test_what_mailjet_would_refuse_is_refused_before_the_call(api, changes):
    with pytest.raises(ValueError, match="Mailjet does not support"):
        api.build_request(messages.build_bare(**changes))


def test_the_longest_subject_is_sent(api):
    assert _build(api, messages.build_bare(subject="é" * MAX_SUBJECT))["Subject"] == "é" * MAX_SUBJECT


def test_an_account_in_the_us_is_called_there():
    options = {"api_key": "key", "secret_key": "secret", "api_url": MAILJET.regions["us"]}

    request = MAILJET.open_api(clean_options("mailjet", options)).build_request(messages.build_bare())

    assert request.url == "https://api.us.mailjet.com/v3.1/send"


def test_the_id_of_an_accepted_email_is_that_of_its_first_recipient(api):
    assert api.read_message_id(_answer({"Messages": [{"Status": "success", "To": [TO]}]})) == "20547681647433000"


@pytest.mark.parametrize(
    "document",
    [
        {"Messages": [{"Status": "error", "Errors": []}]},
        {"Messages": [{"Status": "success", "To": []}]},
        {"Messages": [{"Status": "success", "To": [{"MessageID": "1"}]}]},
        {"Messages": []},
        {"Sent": [{"Email": HERA, "MessageID": 1}]},
    ],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


def test_the_words_of_an_error_follow_the_fields_that_it_is_about(api):
    errors = [
        {"ErrorMessage": "Type mismatch.", "ErrorRelatedTo": ["HTMLPart", "TemplateID"]},
        {"ErrorMessage": "No."},
        {"ErrorMessage": 3},
        "odd",
    ]

    assert api.read_error(_refuse(*errors)) == "HTMLPart, TemplateID: Type mismatch.; No."


def test_the_code_of_an_error_says_what_it_is_about(api):
    assert api.read_topic(_refuse({"ErrorCode": "mj-0003"}, {"ErrorCode": "send-0008"})) is Topic.IDENTITY
    assert api.read_topic(_refuse({"ErrorCode": ["send-0008"]})) is None


def test_errors_in_a_200_have_a_status_of_their_own(api):
    assert api.read_status(_refuse({"StatusCode": 400}, {"StatusCode": 403}, {"StatusCode": "401"}, status=200)) == 403
    assert api.read_status(_refuse({"StatusCode": 500}, status=200)) == 200
    assert api.read_status(_refuse({"StatusCode": 403}, status=400)) == 400


def _invalid(words, *fields):
    return {"ErrorCode": "mj-0013", "ErrorMessage": words, "ErrorRelatedTo": list(fields)}


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (
            [_invalid(f'"{IRIS}" is an invalid email address.', "Email")],
            {IRIS: f'"{IRIS}" is an invalid email address.'},
        ),
        ([_invalid("Invalid.", "To[1].Email")], {IRIS: "Invalid."}),
        ([_invalid("Invalid.", "To[0].Email"), _invalid("Bad.", "To[1].Email")], {HERA: "Invalid.", IRIS: "Bad."}),
    ],
)
def test_a_refusal_names_recipients(api, errors, expected):
    assert api.find_rejected(_refuse(*errors), [HERA, IRIS]) == RejectedRecipients(reasons=expected)


@pytest.mark.parametrize("field", ["To[7].Email", "Cc[0].Email", "To"])
def test_a_refusal_may_be_about_a_recipient_without_naming_it(api, field):
    rejected = api.find_rejected(_refuse(_invalid("Invalid.", field)), [HERA, IRIS])

    assert rejected == RejectedRecipients(reasons={}, has_unnamed=True)


@pytest.mark.parametrize(
    "errors",
    [
        [],
        [_invalid("Invalid.", "From.Email")],
        [_invalid("Invalid.")],
        [{"ErrorCode": "mj-0003", "ErrorRelatedTo": ["To"]}],
        [_invalid("Invalid.", "To[1].Email"), {"ErrorCode": "send-0003", "ErrorRelatedTo": ["HTMLPart"]}],
    ],
)
def test_another_refusal_is_about_the_whole_email(api, errors):
    rejected = api.find_rejected(_refuse(*errors), [HERA, IRIS])

    assert rejected == NONE_REJECTED


def test_a_bad_recipient_costs_the_others_nothing(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    refusal = json.dumps({"Messages": [{"Status": "error", "Errors": [_invalid("Invalid.", "To[1].Email")]}]})

    async def scenario():
        async with ScriptedApi(400, refusal) as provider:
            return await provider.send(MAILJET, messages.build_bare(to=[HERA, IRIS])), provider.received

    _, received = event_loop.run(scenario())

    assert [[to["Email"] for to in json.loads(request.body)["Messages"][0]["To"]] for request in received] == [
        [HERA, IRIS],
        [HERA],
    ]
