"""SparkPost: its requests and its answers. The answers of docs/providers/sparkpost.md are tested by `test_docs`."""

import base64
import json

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.kinds.sparkpost import MAX_TAG, SPARKPOST
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi
from providers.transports import mime

SHOWN = '"Hera, queen" <hera@olimpus.com>, iris@olimpus.com'
CREATED = {"message": "transmission created, but with validation errors", "code": "2000"}


@pytest.fixture
def api():
    return SPARKPOST.open_api(clean_options("sparkpost", {"api_key": "key"}))


def _build(api, message):
    return json.loads(api.build_request(message).body)


def _answer(document, status=200):
    return HttpAnswer(status_code=status, headers={}, content=json.dumps(document).encode())


def _accept(accepted, rejected, *errors):
    counts = {"id": "1", "total_accepted_recipients": accepted, "total_rejected_recipients": rejected}
    return _answer({"errors": [CREATED], "results": counts | {"rcpt_to_errors": list(errors)}})


def test_every_field_is_in_the_request(api):
    request = api.build_request(messages.build_whole())

    assert (request.method, request.url) == ("POST", "https://api.sparkpost.com/api/v1/transmissions/")
    assert request.headers == {"Authorization": "key", "Content-Type": "application/json"}
    assert json.loads(request.body) == {
        "options": {"perform_substitutions": False, "transactional": True},
        "recipients": [
            {"address": {"email": address, "header_to": SHOWN}}
            for address in (HERA, IRIS, "ares@olimpus.com", "eris@olimpus.com")
        ],
        "content": {
            "from": "Zeus <zeus@olimpus.com>",
            "subject": "You made my day",
            "reply_to": "Zeus <zeus@ida.gr>",
            "headers": {"Cc": "Άρης <ares@olimpus.com>", "X-Mercury-ID": accounts.MAIL_ID, "X-Order": "7"},
            "text": "Χαῖρε, Ἥρα",
            "html": '<p>Χαῖρε <img src="cid:logo"></p>',
            "attachments": [{"name": "bill.pdf", "type": "application/pdf", "data": _encode(b"%PDF-1.7")}],
            "inline_images": [{"name": "logo", "type": "image/png", "data": _encode(messages.LOGO)}],
        },
        "campaign_id": "welcome",
        "metadata": {"order": "7", "mercury_id": accounts.MAIL_ID},
    }


def _encode(content):
    return base64.b64encode(content).decode()


def test_a_request_for_some_names_all_in_to_and_cc(api):
    part = mime.narrow(messages.build_whole(), ["eris@olimpus.com"])

    document = _build(api, part)

    assert document["recipients"] == [{"address": {"email": "eris@olimpus.com", "header_to": SHOWN}}]
    assert document["content"]["headers"]["Cc"] == "Άρης <ares@olimpus.com>"


def test_a_blind_copy_without_other_recipients_names_its_own_alone(api):
    message = messages.build_bare(to=[], bcc=[messages.ERIS, IRIS])

    document = _build(api, mime.narrow(message, [messages.ERIS]))

    assert document["recipients"] == [{"address": {"email": messages.ERIS, "header_to": messages.ERIS}}]


def test_a_space_replaces_an_empty_subject_and_text(api):
    content = _build(api, messages.build_bare(subject="", body=""))["content"]

    assert (content["subject"], content["text"]) == (" ", " ")


def test_html_alone_goes_out_as_html(api):
    message = messages.build_bare(body="<p>Hi</p>")
    message.content_subtype = "html"

    content = _build(api, message)["content"]

    assert content["html"] == "<p>Hi</p>"
    assert "text" not in content


def test_international_domains_are_sent_in_ascii(api):
    document = _build(api, messages.build_bare(to=["Ἥρα <hera@ολυμπος.gr>"], from_email="zeus@ολυμπος.gr"))

    assert document["recipients"][0]["address"] == {
        "email": "hera@xn--wxachcenr.gr",
        "header_to": "Ἥρα <hera@xn--wxachcenr.gr>",
    }
    assert document["content"]["from"] == "zeus@xn--wxachcenr.gr"


def test_what_looks_like_a_variable_stays_in_a_body(api):
    assert _build(api, messages.build_bare(body="Dear {{name}}"))["content"]["text"] == "Dear {{name}}"


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "{{name}}, you made my day"},
        {"to": ['"{{name}}" <hera@olimpus.com>']},
        {"from_email": '"{{name}}" <zeus@olimpus.com>'},
        {"reply_to": ['"{{name}}" <zeus@olimpus.com>']},
        {"headers": {"X-Order": "{{number}}"}},
        {"headers": {"List-Unsubscribe": "<https://olimpus.com/leave>"}},
        {"headers": {"list-unsubscribe": "<https://olimpus.com/leave>"}},
    ],
)
def test_what_sparkpost_would_change_is_refused_before_the_call(api, changes):
    with pytest.raises(ValueError, match="SparkPost does not support"):
        api.build_request(messages.build_bare(**changes))


def test_only_a_tag_that_fits_is_sent(api):
    message = messages.build_bare()
    message.tags = ["é" * (MAX_TAG // 2 + 1), "t" * MAX_TAG, "gods"]

    assert _build(api, message)["campaign_id"] == "t" * MAX_TAG


def test_an_account_in_the_eu_is_called_there():
    options = clean_options("sparkpost", {"api_key": "key", "api_url": SPARKPOST.regions["eu"]})

    request = SPARKPOST.open_api(options).build_request(messages.build_bare())

    assert request.url == "https://api.eu.sparkpost.com/api/v1/transmissions/"


def test_the_id_of_an_accepted_email_is_that_of_its_transmission(api):
    assert api.read_message_id(_accept(2, 0)) == "1"


@pytest.mark.parametrize(
    "document",
    [
        {"results": {"id": "1"}},
        {"results": {"id": 1, "total_accepted_recipients": 1, "total_rejected_recipients": 0}},
        {"results": {"id": "1", "total_accepted_recipients": "1", "total_rejected_recipients": 0}},
        {"results": ["1"]},
        {"errors": [CREATED]},
    ],
)
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document)) is None


def test_a_recipient_that_an_accepted_answer_names_gets_nothing(api):
    answer = _accept(1, 1, {"message": "invalid address", "description": f"{IRIS} is not valid"})

    assert api.read_message_id(answer) == "1"
    assert api.find_rejected(answer, [HERA, IRIS]).reasons == {IRIS: f"invalid address: {IRIS} is not valid"}


def test_an_answer_that_rejects_a_recipient_without_naming_it_is_unknown(api):
    assert api.read_message_id(_accept(1, 1, {"message": "required field is missing"})) is None


def test_an_accepted_answer_may_reject_all(api):
    answer = _accept(0, 2, {"message": "invalid address", "description": f"{IRIS} is not valid"})

    rejected = api.find_rejected(answer, [HERA, IRIS])

    assert set(rejected.reasons) == {HERA, IRIS}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"errors": [{"message": "Invalid domain"}]}, NONE_REJECTED),
        (
            {"errors": [{"message": "no"}], "results": {"rcpt_to_errors": [{"message": f"bad address {IRIS}"}]}},
            RejectedRecipients(reasons={IRIS: f"bad address {IRIS}"}, has_unnamed=True),
        ),
        (
            {"errors": [{"message": "no"}], "results": {"rcpt_to_errors": [{"message": "bad address"}]}},
            RejectedRecipients(reasons={}, has_unnamed=True),
        ),
    ],
)
def test_a_refusal_is_about_recipients_if_it_says_so(api, document, expected):
    assert api.find_rejected(_answer(document, 400), [HERA, IRIS]) == expected


def test_the_words_of_an_error_are_message_and_description(api):
    errors = [{"message": "Invalid domain", "description": "Unconfigured sending domain.", "code": "7001"}, {}, 3]

    assert api.read_error(_answer({"errors": errors}, 400)) == "Invalid domain: Unconfigured sending domain."


def test_an_account_sends_with_its_key(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    answer = json.dumps({"results": {"id": "1", "total_accepted_recipients": 4, "total_rejected_recipients": 0}})

    async def scenario():
        async with ScriptedApi(200, answer) as provider:
            return await provider.send(SPARKPOST, messages.build_whole()), provider.received[0]

    outcome, received = event_loop.run(scenario())

    assert outcome.provider_message_id == "1"
    assert received.path == "/v3/transmissions/"
    assert received.headers["Authorization"] == "a-key"
