"""Mandrill: its requests and its answers. The answers of docs/providers/mandrill.md are tested by `test_docs`."""

import base64
import json

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.mandrill import MANDRILL, MAX_METADATA, MAX_TAG
from providers.kinds.options import clean_options
from providers.outcomes import Accepted, FailureClass, Refused
from providers.reply_words import Topic
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi

KEY = "md-Zx81/Secret_key"


@pytest.fixture
def api():
    return MANDRILL.open_api(clean_options("mandrill", {"api_key": "key"}))


@pytest.fixture
def _local_host(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


def _build(api, message):
    return json.loads(api.build_request(message).body)["message"]


def _answer(document, status=200):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _result(email, status="queued", reason=None, **changes):
    return {"email": email, "status": status, "_id": f"id-of-{email}", "reject_reason": reason, **changes}


def _encode(content):
    return base64.b64encode(content).decode()


def test_every_field_is_in_the_request(api):
    request = api.build_request(messages.build_whole())

    assert (request.method, request.url) == ("POST", "https://mandrillapp.com/api/1.0/messages/send.json")
    assert json.loads(request.body) == {
        "key": "key",
        "message": {
            "preserve_recipients": True,
            "from_email": "zeus@olimpus.com",
            "from_name": "Zeus",
            "to": [
                {"email": HERA, "name": "Hera, queen", "type": "to"},
                {"email": IRIS, "type": "to"},
                {"email": "ares@olimpus.com", "name": "Άρης", "type": "cc"},
                {"email": "eris@olimpus.com", "type": "bcc"},
            ],
            "subject": "You made my day",
            "text": "Χαῖρε, Ἥρα",
            "html": '<p>Χαῖρε <img src="cid:logo"></p>',
            "headers": {
                "Reply-To": "Zeus <zeus@ida.gr>",
                "Message-ID": f"<{accounts.MAIL_ID}@olimpus.com>",
                "X-Mercury-ID": accounts.MAIL_ID,
                "X-Order": "7",
            },
            "attachments": [{"type": "application/pdf", "name": "bill.pdf", "content": _encode(b"%PDF-1.7")}],
            "images": [{"type": "image/png", "name": "logo", "content": _encode(messages.LOGO)}],
            "tags": ["welcome", "gods"],
            "metadata": {"order": "7", "mercury_id": accounts.MAIL_ID},
        },
    }


def test_subject_and_text_may_be_empty(api):
    built = _build(api, messages.build_bare(subject="", body=""))

    assert (built["subject"], built["text"]) == ("", "")


def test_several_addresses_to_reply_to_are_one_header_in_ascii(api):
    built = _build(api, messages.build_bare(reply_to=["Ἥρα <hera@ολυμπος.gr>", "zeus@ida.gr"]))

    assert built["headers"]["Reply-To"].isascii()
    assert built["headers"]["Reply-To"].endswith("<hera@xn--wxachcenr.gr>, zeus@ida.gr")


def test_list_unsubscribe_goes_out_as_a_header(api):
    built = _build(api, messages.build_bare(headers={"List-Unsubscribe": "<https://olimpus.com/leave>"}))

    assert built["headers"]["List-Unsubscribe"] == "<https://olimpus.com/leave>"


def test_only_tags_that_mandrill_takes_are_sent(api):
    message = messages.build_bare()
    message.tags = ["_reserved", "t" * (MAX_TAG + 1), "t" * MAX_TAG]

    assert _build(api, message)["tags"] == ["t" * MAX_TAG]


def test_metadata_beyond_the_limit_is_left_out(api):
    message = messages.build_bare()
    message.metadata = {"note": "x" * MAX_METADATA, "order": "7", "mercury_id": accounts.MAIL_ID}

    assert _build(api, message)["metadata"] == {"mercury_id": accounts.MAIL_ID, "order": "7"}


@pytest.mark.usefixtures("_local_host")
@pytest.mark.parametrize("status", [200, 401, 500])
def test_an_error_that_repeats_the_key_is_stored_without_it(status):
    words = f"Invalid API key {KEY}, in the document {json.dumps({'key': KEY})}"
    error = {"status": "error", "code": -1, "name": "Invalid_Key", "message": words}

    async def scenario():
        async with ScriptedApi(status, json.dumps(error)) as provider:
            return await provider.send(MANDRILL, api_key=KEY)

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    assert (outcome.failure_class, outcome.status_code) == (FailureClass.ACCOUNT, status)
    assert KEY not in outcome.reason
    assert outcome.reason.count("[secret]") == 2


@pytest.mark.usefixtures("_local_host")
def test_a_web_page_that_repeats_the_request_is_stored_without_the_key():
    async def scenario():
        async with ScriptedApi(502, f"<html>{json.dumps({'key': KEY})}</html>") as provider:
            return await provider.send(MANDRILL, api_key=KEY)

    assert KEY not in event_loop.run(scenario()).reason


@pytest.mark.usefixtures("_local_host")
def test_each_recipient_has_its_own_result():
    answer = json.dumps([_result(HERA, "rejected", "hard-bounce"), _result(IRIS, "sent"), _result("x@y.z", "invalid")])

    async def scenario():
        async with ScriptedApi(200, answer) as provider:
            return await provider.send(MANDRILL, messages.build_bare(to=[HERA, IRIS, "x@y.z"]))

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Accepted)
    assert outcome.provider_message_id == f"id-of-{IRIS}"
    assert {refusal.address: refusal.reason for refusal in outcome.refused} == {
        HERA: "Mandrill: rejected, hard-bounce",
        "x@y.z": "Mandrill: invalid, no reason given",
    }


@pytest.mark.parametrize(
    "document",
    [[], [_result(HERA), "odd"], [_result(HERA, "lost")], [{"email": HERA}], {"status": "error"}, [_result(3)]],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


@pytest.mark.parametrize(
    ("name", "status", "topic"),
    [
        ("Invalid_Key", 401, Topic.AUTHENTICATION),
        ("PaymentRequired", 402, Topic.SUSPENDED),
        ("PoorReputation", 403, Topic.REPUTATION),
        ("Unknown_Subaccount", 404, Topic.OPTIONS),
        ("ValidationError", 422, None),
        ("ServiceUnavailable", 503, None),
        ("GeneralError", 500, None),
        ("Something_New", 500, None),
    ],
)
def test_the_name_of_an_error_says_what_its_500_means(api, name, status, topic):
    answer = _answer({"status": "error", "code": -1, "name": name, "message": "No."}, 500)

    assert (api.read_status(answer), api.read_topic(answer), api.read_error(answer)) == (status, topic, f"{name}: No.")


@pytest.mark.parametrize(("reason", "topic"), [("invalid-sender", Topic.IDENTITY), ("test-mode-limit", Topic.QUOTA)])
def test_a_reason_that_is_not_about_recipients_is_the_accounts_if_it_rejects_all(api, reason, topic):
    answer = _answer([_result(HERA, "rejected", reason), _result(IRIS, "rejected", "unsigned")])

    assert (api.read_status(answer), api.read_topic(answer)) == (403, topic)
    assert api.read_error(answer) == f"Mandrill rejected all recipients: {reason}"


@pytest.mark.parametrize("other", [_result(IRIS), _result(IRIS, "rejected", "spam")])
def test_the_same_reason_is_a_recipients_if_others_have_another(api, other):
    answer = _answer([_result(HERA, "rejected", "invalid-sender"), other])

    assert api.read_status(answer) == 200
    assert HERA in api.find_rejected(answer, [HERA, IRIS]).reasons
