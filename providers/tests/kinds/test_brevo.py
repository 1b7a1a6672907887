"""Brevo: its requests and its answers. The answers of docs/providers/brevo.md are tested by `test_docs`."""

import base64
import json
from html.parser import HTMLParser

import pytest
from jsonschema import Draft202012Validator

from mercury.lib.runtime import event_loop
from providers.kinds.brevo import BREVO, MAX_TAGS, build_html
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Refused
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi
from providers.transports.mime import HTML
from providers.transports.mime_files import InlineFile

_FILLED = {"type": "string", "minLength": 1}


def _describe(required=(), **properties):
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


_ADDRESS = _describe(("email",), email=_FILLED, name=_FILLED)
_ADDRESSES = {"type": "array", "items": _ADDRESS, "minItems": 1, "maxItems": 99}
# The fields that Mercury uses, as Brevo describes them.
REQUEST = Draft202012Validator(
    _describe(
        ("sender", "to", "subject", "htmlContent"),
        sender=_ADDRESS,
        to=_ADDRESSES,
        cc=_ADDRESSES,
        bcc=_ADDRESSES,
        replyTo=_ADDRESS,
        subject=_FILLED,
        textContent=_FILLED,
        htmlContent=_FILLED,
        headers={"type": "object", "additionalProperties": {"type": "string", "pattern": "^[ -~]*$"}},
        tags={"type": "array", "items": _FILLED},
        attachment={"type": "array", "items": _describe(("name", "content"), name=_FILLED, content=_FILLED)},
    )
)


@pytest.fixture
def api():
    return BREVO.open_api(clean_options("brevo", {"api_key": "key"}))


def _build(api, message):
    document = json.loads(api.build_request(message).body)
    REQUEST.validate(document)
    return document


def _answer(document, status=400):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _build_carried(**changes):
    """Return an email with all that Brevo carries."""
    message = messages.build_bare(
        to=[messages.NAMED_HERA, IRIS], cc=[messages.ARES], bcc=["eris@olimpus.com"], reply_to=["Iris <iris@ida.gr>"]
    )
    message.attach_alternative("<p>Χαῖρε</p>", HTML)
    message.attach("bill.pdf", b"%PDF-1.7", "application/pdf")
    message.tags, message.metadata = ["welcome", "gods"], {"order": "7", "mercury_id": accounts.MAIL_ID}
    message.extra_headers |= {
        "X-Order": "7",
        "List-Unsubscribe": "<https://olimpus.com/leave>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        **changes,
    }
    return message


def test_every_field_is_in_the_request(api):
    request = api.build_request(_build_carried())

    assert (request.method, request.url) == ("POST", "https://api.brevo.com/v3/smtp/email")
    assert request.headers == {"api-key": "key", "Content-Type": "application/json"}
    assert _build(api, _build_carried()) == {
        "sender": {"email": "zeus@olimpus.com", "name": "Zeus"},
        "to": [{"email": HERA, "name": "Hera, queen"}, {"email": IRIS}],
        "cc": [{"email": "ares@olimpus.com", "name": "Άρης"}],
        "bcc": [{"email": "eris@olimpus.com"}],
        "replyTo": {"email": "iris@ida.gr", "name": "Iris"},
        "subject": "You made my day",
        "textContent": "Χαῖρε, Ἥρα",
        "htmlContent": "<p>Χαῖρε</p>",
        "headers": {
            "X-Mercury-ID": accounts.MAIL_ID,
            "X-Order": "7",
            "List-Unsubscribe": "<https://olimpus.com/leave>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "X-Mailin-custom": f'{{"mercury_id":"{accounts.MAIL_ID}"}}',
        },
        "tags": ["welcome", "gods"],
        "attachment": [{"name": "bill.pdf", "content": base64.b64encode(b"%PDF-1.7").decode()}],
    }


def test_text_alone_goes_out_as_html_too(api):
    document = _build(api, messages.build_bare(body="Hi <b> & you,\n  bye"))

    assert document["textContent"] == "Hi <b> & you,\n  bye"
    assert document["htmlContent"] == build_html("Hi <b> & you,\n  bye")


@pytest.mark.parametrize("text", ["Hi", 'Hi <b> & "you",\r\n\r\n  it\'s\rbye\n', "<script>alert(1)</script>", " "])
def test_a_text_looks_the_same_as_html(text):
    seen = []
    parser = HTMLParser()
    parser.handle_data = seen.append
    parser.handle_starttag = lambda tag, _: seen.append("\n") if tag == "br" else None

    parser.feed(build_html(text))
    parser.close()

    assert "".join(seen) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_html_alone_goes_out_as_html(api):
    message = messages.build_bare(body="<p>Hi</p>")
    message.content_subtype = "html"

    document = _build(api, message)

    assert document["htmlContent"] == "<p>Hi</p>"
    assert "textContent" not in document


def test_a_space_replaces_an_empty_subject_and_text(api):
    document = _build(api, messages.build_bare(subject="", body=""))

    assert (document["subject"], document["textContent"]) == (" ", " ")


def test_international_domains_are_sent_in_ascii(api):
    document = _build(api, messages.build_bare(to=["Ἥρα <hera@bücher.example>"], from_email="zeus@bücher.example"))

    assert document["to"] == [{"email": "hera@xn--bcher-kva.example", "name": "Ἥρα"}]
    assert document["sender"] == {"email": "zeus@xn--bcher-kva.example"}


def test_tags_that_do_not_fit_are_left_out(api):
    message = messages.build_bare()
    message.tags = ["t" * 65, *["gods"] * 20]

    assert _build(api, message)["tags"] == ["gods"] * MAX_TAGS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reply_to": ["zeus@ida.gr", "hera@ida.gr"]}, "multiple reply_to addresses"),
        ({"headers": {"X-Order": "Αρ. 7"}}, "non-ASCII characters"),
        ({"subject": "{{ name }}"}, "Brevo would replace"),
        ({"body": "{% if name %}"}, "Brevo would replace"),
    ],
)
def test_what_brevo_would_change_is_refused_before_the_call(api, changes, words):
    with pytest.raises(ValueError, match=words):
        api.build_request(messages.build_bare(**changes))


def test_a_template_in_html_is_refused_before_the_call(api):
    message = messages.build_bare()
    message.attach_alternative("<p>{{ name }}</p>", HTML)

    with pytest.raises(ValueError, match="Brevo would replace"):
        api.build_request(message)


def test_an_inline_image_is_refused_before_the_call(api):
    message = messages.build_bare()
    message.attach(InlineFile("logo.png", messages.LOGO, "image/png", "logo"))

    with pytest.raises(ValueError, match="inline attachments"):
        api.build_request(message)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("setup.exe", "Brevo carries no attachments of the type .exe."),
        ("app.yml", "Brevo carries no attachments of the type .yml."),
        ("LICENSE", "Brevo carries no attachments without an extension."),
    ],
)
def test_an_attachment_of_another_type_is_refused_before_the_call(api, name, words):
    message = messages.build_bare()
    message.attach(name, b"content", "application/octet-stream")

    with pytest.raises(ValueError, match=words):
        api.build_request(message)


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"messageId": "<1@smtp-relay.mailin.fr>"}, "1@smtp-relay.mailin.fr"),
        ({"messageId": ""}, None),
        ({"messageId": 7}, None),
        ({"messageIds": ["<1@smtp-relay.mailin.fr>"]}, None),
        (["<1@smtp-relay.mailin.fr>"], None),
    ],
)
def test_the_id_of_an_accepted_email_is_in_the_body(api, document, name):
    assert api.read_message_id(_answer(document, 201)) == name


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("email is not valid in to", RejectedRecipients(reasons={}, has_unnamed=True)),
        (f"{IRIS} is not valid in bcc", RejectedRecipients(reasons={IRIS: "…"}, has_unnamed=True)),
        ("email is not valid in sender", NONE_REJECTED),
        ("subject is missing", NONE_REJECTED),
    ],
)
def test_an_error_is_about_recipients_if_it_says_so(api, message, expected):
    rejected = api.find_rejected(_answer({"code": "invalid_parameter", "message": message}), [HERA, IRIS])

    assert (set(rejected.reasons), rejected.has_unnamed) == (set(expected.reasons), expected.has_unnamed)


def test_the_wait_of_a_limit_is_in_a_header_of_its_own(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(429, "{}", headers={"x-sib-ratelimit-reset": "42"}) as provider:
            return await provider.send(BREVO)

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    assert outcome.retry_after == 42
