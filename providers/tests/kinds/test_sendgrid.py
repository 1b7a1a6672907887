"""SendGrid: its requests and its answers. The answers of docs/providers/sendgrid.md are tested by `test_docs`."""

import json
from email.mime.image import MIMEImage

import pytest
from django.core.mail import EmailMultiAlternatives

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.kinds.sendgrid import SENDGRID
from providers.tests.support import accounts
from providers.tests.support.scripted_api import ScriptedApi

HERA, IRIS = "hera@olimpus.com", "iris@olimpus.com"


@pytest.fixture
def api():
    return SENDGRID.open_api(clean_options("sendgrid", {"api_key": "SG.key"}))


def _build(api, message):
    request = api.build_request(message)
    return request, json.loads(request.body)


def _answer(document):
    return HttpAnswer(status_code=400, headers={}, content=json.dumps(document).encode())


def test_a_request_has_the_key_the_ids_and_the_recipients(api):
    request, document = _build(api, accounts.mail(to=[HERA, IRIS]))

    assert (request.method, request.url) == ("POST", "https://api.sendgrid.com/v3/mail/send")
    assert request.headers["Authorization"] == "Bearer SG.key"
    assert document["personalizations"] == [{"to": [{"email": HERA}, {"email": IRIS}]}]
    assert document["custom_args"] == {"mercury_id": accounts.MAIL_ID}
    assert document["headers"]["Message-ID"] == f"<{accounts.MAIL_ID}@olimpus.com>"


def test_all_kinds_of_recipients_go_out_with_their_names(api):
    _, document = _build(api, accounts.mail(to=[HERA], cc=[f'"Iris, the rainbow" <{IRIS}>'], bcc=["ares@olimpus.com"]))

    assert document["personalizations"] == [
        {
            "to": [{"email": HERA}],
            "cc": [{"email": IRIS, "name": "Iris, the rainbow"}],
            "bcc": [{"email": "ares@olimpus.com"}],
        }
    ]


def test_a_space_replaces_an_empty_subject_and_text(api):
    _, document = _build(api, accounts.mail(subject="", body=""))

    assert (document["subject"], document["content"]) == (" ", [{"type": "text/plain", "value": " "}])


def test_no_space_is_shown_in_place_of_an_html_body(api):
    message = EmailMultiAlternatives("You made my day", "", "zeus@olimpus.com", [HERA])
    message.attach_alternative("<p>Hi</p>", "text/html")

    _, document = _build(api, message)

    assert document["content"] == [{"type": "text/html", "value": "<p>Hi</p>"}]


def test_all_parts_of_a_message_are_in_the_document(api):
    message = accounts.mail(
        cc=["iris@olimpus.com"],
        reply_to=["Zeus <zeus@ida.gr>"],
        headers={"X-Mercury-ID": accounts.MAIL_ID, "List-Id": "<gods.olimpus.com>"},
        attachments=[("hello.txt", "Grüße", "text/plain"), ("seal.bin", b"\0\1", "application/octet-stream")],
    )
    image = MIMEImage(b"\x89PNG", "png")
    image["Content-ID"], image["Content-Disposition"] = "<seal>", 'inline; filename="seal.png"'
    message.attach(image)
    message.tags, message.metadata = ["welcome"], {"order": "7"}

    _, document = _build(api, message)

    assert document["reply_to_list"] == [{"email": "zeus@ida.gr", "name": "Zeus"}]
    assert document["headers"] == {"X-Mercury-ID": accounts.MAIL_ID, "List-Id": "<gods.olimpus.com>"}
    assert (document["categories"], document["custom_args"]) == (["welcome"], {"order": "7"})
    assert document["attachments"] == [
        {"content": "R3LDvMOfZQ==", "type": "text/plain", "filename": "hello.txt"},
        {"content": "AAE=", "type": "application/octet-stream", "filename": "seal.bin"},
        {
            "content": "iVBORw==",
            "type": "image/png",
            "filename": "seal.png",
            "disposition": "inline",
            "content_id": "seal",
        },
    ]


@pytest.mark.parametrize("address", ["ζεύς@olimpus.com", "zeus@ολυμπος.gr", "not an address"])
def test_an_address_that_it_cannot_carry_is_refused_before_the_call(api, address):
    with pytest.raises(ValueError, match=r"ASCII|Invalid"):
        api.build_request(accounts.mail(to=[HERA, address]))


def test_a_region_has_an_address_of_its_own():
    options = clean_options("sendgrid", {"api_key": "SG.key", "api_url": SENDGRID.regions["eu"]})

    request = SENDGRID.open_api(options).build_request(accounts.mail())

    assert request.url == "https://api.eu.sendgrid.com/v3/mail/send"


def test_the_id_of_an_accepted_email_is_in_a_header(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(202, headers={"x-message-id": "14c5d75ce93"}) as provider:
            return await provider.send(SENDGRID)

    assert event_loop.run(scenario()).provider_message_id == "14c5d75ce93"


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([{"message": "required", "field": "from"}, {"message": "also"}], "from: required; also"),
        ([{"message": ["odd"], "field": 3}, "odd"], ""),
        ("odd", ""),
    ],
)
def test_the_words_of_an_error_follow_its_field(api, errors, words):
    assert api.read_error(_answer({"errors": errors})) == words


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([{"field": "personalizations.0.to.1.email", "message": "no"}], RejectedRecipients(reasons={IRIS: "no"})),
        (
            [{"field": "personalizations.0.to", "message": f"not valid: {HERA}"}],
            RejectedRecipients(reasons={HERA: f"not valid: {HERA}"}),
        ),
        ([{"field": "personalizations.0.to", "message": "no"}], RejectedRecipients(reasons={}, has_unnamed=True)),
        (
            [{"field": "personalizations.0.to.9.email", "message": "no"}],
            RejectedRecipients(reasons={}, has_unnamed=True),
        ),
        (
            [{"field": "personalizations.0.to.1.email", "message": "no"}, {"field": "subject", "message": "no"}],
            NONE_REJECTED,
        ),
        (
            [{"field": "personalizations.0.cc.0.email", "message": "no"}],
            RejectedRecipients(reasons={}, has_unnamed=True),
        ),
        (
            [{"field": "personalizations.0.bcc.0.email", "message": f"not valid: {IRIS}"}],
            RejectedRecipients(reasons={IRIS: f"not valid: {IRIS}"}),
        ),
        ([{"field": "personalizations.0.subject", "message": "no"}], NONE_REJECTED),
        ([{"field": None, "message": "no"}], NONE_REJECTED),
        (["no"], NONE_REJECTED),
        ("no", NONE_REJECTED),
    ],
)
def test_an_error_names_recipients_by_their_field(api, errors, expected):
    assert api.find_rejected(_answer({"errors": errors}), [HERA, IRIS]) == expected
