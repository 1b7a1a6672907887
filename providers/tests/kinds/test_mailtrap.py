"""Mailtrap: its requests and its answers. The answers of docs/providers/mailtrap.md are tested by `test_docs`."""

import base64
import json

import pytest

from mercury.lib.runtime import event_loop
from providers.accounts.environment import parse_account
from providers.kinds.base import OptionsInvalid
from providers.kinds.http_api import HttpAnswer
from providers.kinds.mailtrap import MAILTRAP, MAX_CATEGORY
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Accepted
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi


@pytest.fixture
def api():
    return MAILTRAP.open_api(clean_options("mailtrap", {"api_key": "key"}))


def _build(api, message):
    return json.loads(api.build_request(message).body)


def _answer(document, status=200):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _encode(content):
    return base64.b64encode(content).decode()


def test_every_field_is_in_the_request(api):
    request = api.build_request(messages.build_whole())

    assert (request.method, request.url) == ("POST", "https://send.api.mailtrap.io/api/send")
    assert request.headers["Api-Token"] == "key"
    assert json.loads(request.body) == {
        "from": {"email": "zeus@olimpus.com", "name": "Zeus"},
        "to": [{"email": HERA, "name": "Hera, queen"}, {"email": IRIS}],
        "cc": [{"email": "ares@olimpus.com", "name": "Άρης"}],
        "bcc": [{"email": "eris@olimpus.com"}],
        "reply_to": {"email": "zeus@ida.gr", "name": "Zeus"},
        "subject": "You made my day",
        "text": "Χαῖρε, Ἥρα",
        "html": '<p>Χαῖρε <img src="cid:logo"></p>',
        "headers": {"X-Mercury-ID": accounts.MAIL_ID, "X-Order": "7"},
        "attachments": [
            {"filename": "bill.pdf", "type": "application/pdf", "content": _encode(b"%PDF-1.7")},
            {
                "filename": "logo.png",
                "type": "image/png",
                "content": _encode(messages.LOGO),
                "disposition": "inline",
                "content_id": "logo",
            },
        ],
        "category": "welcome",
        "custom_variables": {"order": "7", "mercury_id": accounts.MAIL_ID},
    }


def test_a_space_replaces_an_empty_subject_and_text(api):
    built = _build(api, messages.build_bare(subject="", body=""))

    assert (built["subject"], built["text"]) == (" ", " ")


def test_several_addresses_to_reply_to_are_a_header(api):
    headers = _build(api, messages.build_bare(reply_to=["zeus@ida.gr", "Ἥρα <hera@ida.gr>"]))["headers"]

    assert headers["Reply-To"].isascii()
    assert headers["Reply-To"].startswith("zeus@ida.gr, =?utf-8?")


def test_only_a_tag_that_fits_is_sent(api):
    message = messages.build_bare()
    message.tags = ["t" * (MAX_CATEGORY + 1), "t" * MAX_CATEGORY, "gods"]

    assert _build(api, message)["category"] == "t" * MAX_CATEGORY


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("mailtrap://:key@", "https://send.api.mailtrap.io/api/send"),
        ("mailtrap://:key@?region=bulk", "https://bulk.api.mailtrap.io/api/send"),
        ("mailtrap://:key@?sandbox_id=4009396", "https://sandbox.api.mailtrap.io/api/send/4009396"),
        ("mailtrap://:key@?region=sandbox&sandbox_id=7", "https://sandbox.api.mailtrap.io/api/send/7"),
        ("mailtrap://:key@?api_url=https://proxy.example/&sandbox_id=7", "https://proxy.example/send/7"),
    ],
)
def test_the_url_of_an_account_says_what_is_called(url, called):
    config = parse_account("olympus", url)

    assert MAILTRAP.open_api(config.options).build_request(messages.build_bare()).url == called


@pytest.mark.parametrize(
    "options",
    [
        {"api_url": MAILTRAP.regions["sandbox"]},
        {"api_url": MAILTRAP.regions["bulk"], "sandbox_id": "7"},
        {"sandbox_id": "../7"},
        {"sandbox_id": "٧"},
    ],
)
def test_a_sandbox_needs_its_number(options):
    with pytest.raises(OptionsInvalid) as caught:
        clean_options("mailtrap", {"api_key": "key", **options})

    assert list(caught.value.errors) == ["sandbox_id"]


def test_a_sandbox_answers_with_one_id_for_all(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(200, '{"success": true, "message_ids": ["5e42"]}') as provider:
            return await provider.send(MAILTRAP, messages.build_bare(to=[HERA, IRIS]), sandbox_id="7")

    assert event_loop.run(scenario()) == Accepted(provider_message_id="5e42", status_code=200)


@pytest.mark.parametrize(
    "document",
    [
        {"success": False, "message_ids": ["1"]},
        {"success": True, "message_ids": []},
        {"success": True, "message_ids": [1]},
        {"success": True},
        [],
    ],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


def test_the_words_of_an_error_are_all_of_its_errors(api):
    assert api.read_error(_answer({"success": False, "errors": ["'subject' is required", 3, "No"]}, 400)) == (
        "'subject' is required; No"
    )


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([f"'to' address {IRIS} is invalid"], {IRIS: f"'to' address {IRIS} is invalid"}),
        (["'bcc' address is not a valid one"], {}),
    ],
)
def test_a_refusal_may_be_about_recipients(api, errors, expected):
    rejected = api.find_rejected(_answer({"success": False, "errors": errors}, 400), [HERA, IRIS])

    assert rejected == RejectedRecipients(reasons=expected, has_unnamed=True)


@pytest.mark.parametrize(
    "errors", [[], ["'to' is required"], [f"'to' address {IRIS} is invalid", "'subject' is required"]]
)
def test_another_refusal_is_about_the_whole_email(api, errors):
    assert api.find_rejected(_answer({"success": False, "errors": errors}, 400), [HERA, IRIS]) == NONE_REJECTED
