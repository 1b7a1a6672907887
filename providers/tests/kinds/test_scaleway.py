"""Scaleway: its requests and its answers. The answers of docs/providers/scaleway.md are tested by `test_docs`."""

import base64
import json

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.kinds.scaleway import MAX_ATTACHMENTS, MIN_LENGTH, SCALEWAY
from providers.outcomes import Accepted
from providers.reply_words import Topic
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi
from providers.transports.mime import HTML

PROJECT = "7f3a1c52-0d7c-4a52-9a53-6f2f2c6d1e10"
TEXT = "Χαῖρε, Ἥρα"  # of exactly ten characters


@pytest.fixture
def api():
    return SCALEWAY.open_api(clean_options("scaleway", {"project_id": PROJECT, "secret_key": "secret"}))


def _build(api, message):
    return json.loads(api.build_request(message).body)


def _answer(document, status=200):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _result(address, status="new", **changes):
    return {"id": f"id-of-{address}", "message_id": "<1@tem>", "mail_rcpt": address, "status": status, **changes}


def test_every_field_is_in_the_request(api):
    message = messages.build_bare(
        to=[messages.NAMED_HERA, IRIS],
        cc=[messages.ARES],
        bcc=[messages.ERIS],
        reply_to=["Ἥρα <hera@ida.gr>"],
        headers={"X-Order": "7", "X-God": "Ἥρα"},
    )
    message.attach_alternative("<p>Χαῖρε</p>", HTML)
    message.attach("bill.pdf", b"%PDF-1.7", "application/pdf")
    vars(message).update(tags=["welcome"], metadata={"order": "7", "mercury_id": accounts.MAIL_ID})

    request = api.build_request(message)

    assert (request.method, request.url) == ("POST", f"{SCALEWAY.regions['fr-par']}emails")
    assert request.headers == {"X-Auth-Token": "secret", "Content-Type": "application/json"}
    document = json.loads(request.body)
    headers = {header["key"]: header["value"] for header in document.pop("additional_headers")}
    assert document == {
        "project_id": PROJECT,
        "from": {"email": "zeus@olimpus.com", "name": "Zeus"},
        "to": [{"email": HERA, "name": "Hera, queen"}, {"email": IRIS}],
        "cc": [{"email": "ares@olimpus.com", "name": "Άρης"}],
        "bcc": [{"email": "eris@olimpus.com"}],
        "subject": "You made my day",
        "text": TEXT,
        "html": "<p>Χαῖρε</p>",
        "attachments": [
            {"name": "bill.pdf", "type": "application/pdf", "content": base64.b64encode(b"%PDF-1.7").decode()}
        ],
    }
    assert headers.pop("X-Mercury-ID") == accounts.MAIL_ID
    assert headers.pop("Reply-To").endswith(" <hera@ida.gr>")
    assert headers.pop("X-God") == f"=?utf-8?b?{base64.b64encode('Ἥρα'.encode()).decode()}?="
    assert headers == {"X-Order": "7"}  # neither tags nor metadata, which recipients could read


def test_html_alone_needs_no_text(api):
    message = messages.build_bare(body="<p>Hello</p>")
    message.content_subtype = "html"

    assert "text" not in _build(api, message)


def test_the_shortest_subject_and_text_are_sent(api):
    built = _build(api, messages.build_bare(subject="x" * MIN_LENGTH, body="y" * MIN_LENGTH))

    assert (built["subject"], built["text"]) == ("x" * MIN_LENGTH, "y" * MIN_LENGTH)


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "x" * (MIN_LENGTH - 1)},
        {"subject": ""},
        {"body": "y" * (MIN_LENGTH - 1)},
        {"body": ""},
        {"to": ["ήρα@olimpus.com"]},
    ],
)
def test_what_scaleway_would_refuse_is_refused_before_the_call(api, changes):
    with pytest.raises(ValueError, match="Scaleway does not support"):
        api.build_request(messages.build_bare(**changes))


def test_short_html_is_refused_before_the_call(api):
    message = messages.build_bare()
    message.attach_alternative("<p>Hi</p>"[:9], HTML)

    with pytest.raises(ValueError, match="a HTML of less than 10 characters"):
        api.build_request(message)


@pytest.mark.parametrize(
    ("attachments", "words"),
    [
        ([("run.exe", b"MZ", "application/x-msdownload")], "the type application/x-msdownload"),
        ([("bill.pdf", b"%PDF", "application/pdf")] * (MAX_ATTACHMENTS + 1), "more than 10 attachments"),
    ],
)
def test_attachments_that_scaleway_would_refuse_are_refused_before_the_call(api, attachments, words):
    message = messages.build_bare()
    for attachment in attachments:
        message.attach(*attachment)

    with pytest.raises(ValueError, match=words):
        api.build_request(message)


def test_an_inline_image_is_refused_before_the_call(api):
    message = messages.build_bare()
    messages.attach_logo(message)

    with pytest.raises(ValueError, match="inline attachments"):
        api.build_request(message)


def test_an_address_may_have_braces():
    options = {"project_id": PROJECT, "secret_key": "secret", "api_url": "https://proxy.olimpus.com/{region}/{0}"}

    request = SCALEWAY.open_api(clean_options("scaleway", options)).build_request(messages.build_bare())

    assert request.url == "https://proxy.olimpus.com/{region}/{0}/emails"


def test_each_recipient_has_an_email_of_its_own(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    answer = {"emails": [_result(HERA, "failed", status_details="blocked"), _result(IRIS)]}

    async def scenario():
        async with ScriptedApi(200, json.dumps(answer)) as provider:
            return await provider.send(SCALEWAY, messages.build_bare(to=[HERA, IRIS]))

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Accepted)
    assert outcome.provider_message_id == f"id-of-{IRIS}"
    assert [(refusal.address, refusal.reason) for refusal in outcome.refused] == [(HERA, "Scaleway: blocked")]


@pytest.mark.parametrize(
    "document",
    [{"emails": []}, {"emails": [{"id": "1"}]}, {"emails": [_result(HERA), "odd"]}, {"emails": "odd"}, {"id": "1"}],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


def test_the_words_of_an_error_are_its_type_its_message_and_its_arguments(api):
    details = [{"argument_name": "subject", "reason": "constraint", "help_message": "too short"}, "odd", {}]
    answer = _answer({"type": "invalid_arguments", "message": "invalid argument(s)", "details": details}, 400)

    assert api.read_error(answer) == "invalid_arguments: invalid argument(s); subject: too short"
    assert api.read_topic(answer) is None
    assert api.read_topic(_answer({"type": "quotas_exceeded"}, 403)) is Topic.QUOTA


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([{"argument_name": "to[1].email", "reason": f"{IRIS} is invalid"}], {IRIS: f"{IRIS} is invalid"}),
        ([{"argument_name": "to", "reason": "invalid"}], {}),
    ],
)
def test_a_refusal_may_be_about_recipients(api, details, expected):
    answer = _answer({"type": "invalid_arguments", "message": "…", "details": details}, 400)

    assert api.find_rejected(answer, [HERA, IRIS]) == RejectedRecipients(reasons=expected, has_unnamed=True)


@pytest.mark.parametrize(
    "details",
    [None, [], [{"argument_name": "subject"}], [{"argument_name": "to"}, {"argument_name": "html"}]],
)
def test_another_refusal_is_about_the_whole_email(api, details):
    answer = _answer({"type": "invalid_arguments", "message": "…", "details": details}, 400)

    assert api.find_rejected(answer, [HERA, IRIS]) == NONE_REJECTED
