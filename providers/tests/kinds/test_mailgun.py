"""Mailgun: its requests and its answers. The answers of docs/providers/mailgun.md are tested by `test_docs`."""

import email
import json
from urllib.parse import parse_qs

import pytest
from django.core.mail import EmailMultiAlternatives

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.mailgun import MAILGUN
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.tests.support import accounts
from providers.tests.support.scripted_api import ScriptedApi

HERA, IRIS = "hera@olimpus.com", "iris@olimpus.com"
WORDS = "'to' parameter is not a valid address. please check documentation"


@pytest.fixture
def api():
    return MAILGUN.open_api(clean_options("mailgun", {"api_key": "key"}))


def _build(api, message):
    request = api.build_request(message)
    return request, parse_qs(request.body.decode(), keep_blank_values=True)


def _answer(document):
    return HttpAnswer(status_code=400, headers={}, content=json.dumps(document).encode())


def test_a_request_has_the_key_the_ids_and_the_recipients(api):
    request, form = _build(api, accounts.mail(to=[HERA, IRIS]))

    assert (request.method, request.url) == ("POST", "https://api.mailgun.net/v3/olimpus.com/messages")
    assert request.headers["Authorization"] == "Basic YXBpOmtleQ=="
    assert form["to"] == [HERA, IRIS]
    assert form["v:mercury_id"] == [accounts.MAIL_ID]
    assert form["h:Message-Id"] == [f"<{accounts.MAIL_ID}@olimpus.com>"]


def test_all_kinds_of_recipients_go_out_with_their_names(api):
    named = f'"Iris, the rainbow" <{IRIS}>'

    _, form = _build(api, accounts.mail(to=[HERA], cc=[named], bcc=["ares@olimpus.com"]))

    assert (form["to"], form["cc"], form["bcc"]) == ([HERA], [named], ["ares@olimpus.com"])


def test_html_alone_goes_out_as_html(api):
    message = accounts.mail(body="<p>Hi</p>")
    message.content_subtype = "html"

    _, form = _build(api, message)

    assert form["html"] == ["<p>Hi</p>"]
    assert "text" not in form


def test_a_space_replaces_an_empty_text_but_not_an_empty_subject(api):
    _, form = _build(api, accounts.mail(subject="", body=""))

    assert (form["subject"], form["text"]) == ([""], [" "])


def test_no_space_is_shown_in_place_of_an_html_body(api):
    message = EmailMultiAlternatives("You made my day", "", "zeus@olimpus.com", [HERA])
    message.attach_alternative("<p>Hi</p>", "text/html")

    _, form = _build(api, message)

    assert (form["html"], form.get("text", [""])) == (["<p>Hi</p>"], [""])


def test_the_sending_domain_is_in_the_path():
    options = clean_options("mailgun", {"api_key": "key", "sender_domain": "bücher.example"})

    request = MAILGUN.open_api(options).build_request(accounts.mail())

    assert request.url == "https://api.mailgun.net/v3/xn--bcher-kva.example/messages"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("https://api.mailgun.net/v3", "https://api.mailgun.net/v3"),
        ("https://api.mailgun.net/v3/", "https://api.mailgun.net/v3/"),
        ("https://api.mailgun.net/v3/mg.olimpus.com", "https://api.mailgun.net/v3"),
        ("https://api.mailgun.net/v3/mg.olimpus.com/messages", "https://api.mailgun.net/v3"),
        ("https://proxy.olimpus.com/mailgun/v3", "https://proxy.olimpus.com/mailgun/v3"),
    ],
)
def test_the_address_ends_with_its_version(typed, stored):
    assert clean_options("mailgun", {"api_key": "key", "api_url": typed})["api_url"] == stored


def test_the_id_of_an_accepted_email_is_in_the_body(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(200, '{"id": "<1@mg.olimpus.com>", "message": "Queued. Thank you."}') as provider:
            return await provider.send(MAILGUN)

    assert event_loop.run(scenario()).provider_message_id == "1@mg.olimpus.com"


@pytest.mark.parametrize(
    "document",
    [
        {"id": ["?"], "message": "Queued. Thank you."},
        {"id": "<1@mg.olimpus.com>", "message": "Mailgun Magnificent API"},
        {"id": "<1@mg.olimpus.com>", "message": 3},
        {"id": "<1@mg.olimpus.com>"},
        ["Queued. Thank you."],
        None,
    ],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


def test_the_words_of_an_error_are_its_message(api):
    assert api.read_error(_answer({"message": "Domain not found"})) == "Domain not found"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (WORDS, RejectedRecipients(reasons={}, has_unnamed=True)),
        (
            f"to parameter is not a valid address: {IRIS}",
            RejectedRecipients(reasons={IRIS: f"to parameter is not a valid address: {IRIS}"}, has_unnamed=True),
        ),
        ("'bcc' parameter is not a valid address", RejectedRecipients(reasons={}, has_unnamed=True)),
        ("'from' parameter is not a valid address. please check documentation", NONE_REJECTED),
        ("Need at least one of 'text' or 'html'", NONE_REJECTED),
        (None, NONE_REJECTED),
    ],
)
def test_an_error_is_about_recipients_if_it_says_so(api, message, expected):
    assert api.find_rejected(_answer({"message": message}), [HERA, IRIS]) == expected


def test_a_large_form_goes_out_as_multipart(api):
    text = "Ζεύς & Ἥρα\n" * 10_000

    request = api.build_request(accounts.mail(body=text, to=[HERA, IRIS]))

    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + request.body).get_payload()
    form = [(part.get_param("name", header="Content-Disposition"), part.get_payload(decode=True)) for part in parts]
    assert [value for name, value in form if name == "to"] == [HERA.encode(), IRIS.encode()]
    assert ("text", text.encode()) in form
    assert not any(part.get_filename() for part in parts)
