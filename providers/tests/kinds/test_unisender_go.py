"""Unisender Go: its requests and its answers. The answers of docs/providers/unisender_go.md are tested by `test_docs`."""

import base64
import json

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.unisender_go import MAX_METADATA, MAX_TAG, MAX_TAGS, UNISENDER_GO
from providers.outcomes import Accepted, Refused
from providers.reply_words import Topic
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi


@pytest.fixture
def api():
    return UNISENDER_GO.open_api(
        clean_options("unisender_go", {"api_key": "key", "api_url": UNISENDER_GO.regions["go2"]})
    )


def _build(api, message):
    return json.loads(api.build_request(message).body)["message"]


def _answer(document, status=200):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _accept(emails, **failed):
    return {"status": "success", "job_id": "1ZymBc-00041N-9X", "emails": emails, "failed_emails": failed}


def _encode(content):
    return base64.b64encode(content).decode()


def test_every_field_is_in_the_request(api):
    request = api.build_request(messages.build_whole(bcc=[]))

    assert (request.method, request.url) == (
        "POST",
        "https://go2.unisender.ru/ru/transactional/api/v1/email/send.json",
    )
    assert request.headers["X-API-KEY"] == "key"
    document = json.loads(request.body)["message"]
    headers = document.pop("headers")
    assert document == {
        "template_engine": "none",
        "recipients": [
            {"email": HERA, "substitutions": {"to_name": "Hera, queen"}},
            {"email": IRIS},
            {"email": "ares@olimpus.com", "substitutions": {"to_name": "Άρης"}},
        ],
        "from_email": "zeus@olimpus.com",
        "from_name": "Zeus",
        "reply_to": "zeus@ida.gr",
        "reply_to_name": "Zeus",
        "subject": "You made my day",
        "body": {"plaintext": "Χαῖρε, Ἥρα", "html": '<p>Χαῖρε <img src="cid:logo"></p>'},
        "attachments": [{"content": _encode(b"%PDF-1.7"), "type": "application/pdf", "name": "bill.pdf"}],
        "inline_attachments": [{"content": _encode(messages.LOGO), "type": "image/png", "name": "logo"}],
        "tags": ["welcome", "gods"],
        "global_metadata": {"mercury_id": accounts.MAIL_ID, "order": "7"},
    }
    assert headers.pop("to").endswith(f" <{HERA}>, {IRIS}")
    assert headers.pop("cc").isascii()
    assert headers == {"X-Mercury-ID": accounts.MAIL_ID, "X-Order": "7"}


def test_a_space_replaces_an_empty_subject_and_text(api):
    built = _build(api, messages.build_bare(subject="", body=""))

    assert (built["subject"], built["body"]) == (" ", {"plaintext": " "})


def test_the_same_email_is_the_same_request_each_time(api):
    message = messages.build_whole(bcc=[])

    assert api.build_request(message) == api.build_request(message)


def test_values_of_headers_are_sent_in_ascii(api):
    assert _build(api, messages.build_bare(headers={"X-God": "Ἥρα"}))["headers"]["X-God"].isascii()


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"List-Unsubscribe": "<https://olimpus.com/leave>"}},
        {"headers": {"In-Reply-To": "<1@olimpus.com>"}},
        {"reply_to": ["zeus@ida.gr", "hera@ida.gr"]},
        {"attachments": [("a/b.pdf", b"%PDF", "application/pdf")]},
    ],
)
def test_what_unisender_go_would_leave_out_or_refuse_is_refused_before_the_call(api, changes):
    with pytest.raises(ValueError, match="Unisender Go does not support"):
        api.build_request(messages.build_bare(**changes))


def test_our_id_has_a_place_in_the_metadata_whatever_else_there_is(api):
    message = messages.build_bare()
    message.metadata = {f"name{number}": "x" for number in range(MAX_METADATA)} | {"mercury_id": accounts.MAIL_ID}

    sent = _build(api, message)["global_metadata"]

    assert len(sent) == MAX_METADATA
    assert sent["mercury_id"] == accounts.MAIL_ID


def test_only_tags_that_fit_are_sent(api):
    message = messages.build_bare()
    message.tags = ["t" * (MAX_TAG + 1), *(f"tag{number}" for number in range(MAX_TAGS + 1))]

    assert _build(api, message)["tags"] == [f"tag{number}" for number in range(MAX_TAGS)]


def test_each_failed_recipient_is_named(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    failed = {IRIS: "permanent_unavailable", HERA: "duplicate"}

    async def scenario():
        async with ScriptedApi(200, json.dumps(_accept([HERA], **failed))) as provider:
            return await provider.send(UNISENDER_GO, messages.build_bare(to=[HERA, IRIS]))

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Accepted)
    assert outcome.provider_message_id == "1ZymBc-00041N-9X"
    assert [(refusal.address, refusal.reason) for refusal in outcome.refused] == [
        (IRIS, "Unisender Go: permanent_unavailable")
    ]


def test_a_refusal_names_the_failed_recipients_too(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    error = {"status": "error", "message": "No valid recipients", "code": 204, "failed_emails": {HERA: "invalid"}}

    async def scenario():
        async with ScriptedApi(400, json.dumps(error)) as provider:
            return await provider.send(UNISENDER_GO, messages.build_bare())

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    assert [(refusal.address, refusal.reason) for refusal in outcome.refused] == [(HERA, "Unisender Go: invalid")]


@pytest.mark.parametrize(
    "document",
    [
        {"status": "error", "job_id": "1", "emails": []},
        {"status": "success", "job_id": 1, "emails": [HERA]},
        {"status": "success", "job_id": "1", "emails": HERA},
        {"status": "success", "job_id": "1"},
        [],
    ],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


def test_the_code_of_an_error_may_be_about_the_key(api):
    answer = _answer({"status": "error", "message": "User with id 7 not found", "code": 114}, 400)

    assert api.read_topic(answer) is Topic.AUTHENTICATION
    assert api.read_error(answer) == "User with id 7 not found"
    assert api.read_topic(_answer({"status": "error", "message": "…", "code": 204}, 400)) is None
