"""Postal: its requests and its answers. The answers of docs/providers/postal.md are tested by `test_docs`."""

import base64
import email
import email.policy
import json

import pytest
from django.core.exceptions import ImproperlyConfigured

from mercury.lib.runtime import event_loop
from providers.accounts.config import AccountConfig
from providers.accounts.environment import parse_account
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.postal import POSTAL
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Refused
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi
from providers.transports import mime

KEY = "postal-Secret/key"


@pytest.fixture
def api():
    return POSTAL.open_api(clean_options("postal", {"api_key": "key", "api_url": "https://postal.olimpus.com"}))


def _build(api, message):
    document = json.loads(api.build_request(message).body)
    return document, base64.b64decode(document.pop("data"), validate=True)


def _answer(document, status=200):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _accept(**messages_by_recipient):
    return {"status": "success", "time": 0.1, "flags": {}, "data": {"messages": messages_by_recipient}}


def test_a_request_has_the_very_bytes_of_the_email(api):
    message = messages.build_whole()

    document, source = _build(api, message)

    assert document == {
        "mail_from": "zeus@olimpus.com",
        "rcpt_to": [HERA, IRIS, "ares@olimpus.com", "eris@olimpus.com"],
    }
    assert source == mime.build_content(message)


def test_every_field_is_in_the_bytes(api):
    message = messages.build_bare(
        to=[messages.NAMED_HERA, IRIS],
        cc=[messages.ARES],
        bcc=[messages.ERIS],
        reply_to=[messages.REPLY_TO],
        headers={"List-Unsubscribe": "<https://olimpus.com/leave>"},
    )
    message.attach_alternative("<p>Χαῖρε</p>", mime.HTML)

    parsed = email.message_from_bytes(_build(api, message)[1], policy=email.policy.default)

    assert parsed["Message-ID"] == f"<{accounts.MAIL_ID}@olimpus.com>"
    assert [address.addr_spec for address in parsed["To"].addresses] == [HERA, IRIS]
    assert [address.display_name for address in parsed["Cc"].addresses] == ["Άρης"]
    assert parsed["Bcc"] is None
    assert parsed["List-Unsubscribe"] == "<https://olimpus.com/leave>"
    assert parsed.get_body(("html",)).get_content().strip() == "<p>Χαῖρε</p>"
    assert parsed.get_body(("plain",)).get_content().strip() == "Χαῖρε, Ἥρα"


def test_a_request_for_some_names_all(api):
    document, source = _build(api, mime.narrow(messages.build_whole(), [IRIS]))

    assert document["rcpt_to"] == [IRIS]
    assert source == mime.build_content(messages.build_whole())


def test_international_domains_are_sent_in_ascii(api):
    document, _ = _build(api, messages.build_bare(to=["Ἥρα <hera@ολυμπος.gr>"]))

    assert document["rcpt_to"] == ["hera@xn--wxachcenr.gr"]


def test_letters_beyond_ascii_before_the_at_are_refused_before_the_call(api):
    with pytest.raises(ValueError, match="beyond ASCII before the @"):
        api.build_request(messages.build_bare(to=["ήρα@olimpus.com"]))


@pytest.mark.parametrize(
    ("url", "api_url"),
    [
        ("postal://:key@postal.olimpus.com", "https://postal.olimpus.com"),
        ("postal://:key@postal.olimpus.com:8443", "https://postal.olimpus.com:8443"),
        ("postal://:key@[2001:db8::1]", "https://[2001:db8::1]"),
        ("postal://:key@?api_url=http://10.0.0.7:5000/api/v1/", "http://10.0.0.7:5000"),
    ],
)
def test_the_url_of_an_account_has_the_host(url, api_url):
    assert parse_account("olympus", url).options["api_url"] == api_url


def test_an_account_needs_a_host():
    with pytest.raises(ImproperlyConfigured, match=r"api_url: It is required\."):
        parse_account("olympus", "postal://:key@")


def test_a_private_server_has_to_be_allowed(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = []
    options = clean_options("postal", {"api_key": "key", "api_url": "https://10.0.0.7"})

    outcome = event_loop.run(accounts.send(AccountConfig(name="olympus", kind="postal", options=options)))

    assert isinstance(outcome, NotAttempted)
    assert (outcome.cause, outcome.reason_code) == (Cause.ACCOUNT, "destination-refused")


def test_each_recipient_has_an_email_of_its_own(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    answer = _accept(**{HERA: {"id": 7, "token": "x"}})

    async def scenario():
        async with ScriptedApi(200, json.dumps(answer)) as provider:
            return await provider.send(POSTAL, messages.build_bare(to=[HERA, IRIS])), provider.received[0]

    outcome, received = event_loop.run(scenario())

    assert received.path == "/v3/api/v1/send/raw"
    assert isinstance(outcome, Accepted)
    assert outcome.provider_message_id == "7"
    assert [(refusal.address, refusal.reason) for refusal in outcome.refused] == [
        (IRIS, "Postal stored no email for this recipient.")
    ]


def test_an_error_that_repeats_the_key_is_stored_without_it(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    data = {"code": "InvalidServerAPIKey", "message": f"The token {KEY} was not valid.", "token": KEY}

    async def scenario():
        async with ScriptedApi(200, json.dumps({"status": "error", "data": data})) as provider:
            return await provider.send(POSTAL, api_key=KEY)

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    assert outcome.failure_class is FailureClass.ACCOUNT
    assert outcome.reason == "InvalidServerAPIKey: The token [secret] was not valid."


@pytest.mark.parametrize(
    "document",
    [
        _accept(),
        _accept(**{HERA: {"id": "7"}}),
        _accept(**{HERA: "odd"}),
        {"status": "success", "data": []},
        {"status": "error", "data": {"messages": {HERA: {"id": 7}}}},
        {"messages": {HERA: {"id": 7}}},
    ],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({"status": "error", "data": {"code": "UnauthenticatedFromAddress"}}, 403, "UnauthenticatedFromAddress"),
        ({"status": "error", "data": {"code": "NoContent", "message": "Empty."}}, 422, "NoContent: Empty."),
        ({"status": "parameter-error", "data": {"message": "missing"}}, 422, "parameter-error: missing"),
        ({"status": "error", "data": {}}, 200, ""),
        ({"status": "error"}, 200, ""),
    ],
)
def test_the_code_of_an_error_says_what_its_200_means(api, document, status, words):
    assert (api.read_status(_answer(document)), api.read_error(_answer(document))) == (status, words)
