"""MailerSend: its requests and its answers. The answers of docs/providers/mailersend.md are tested by `test_docs`."""

import base64
import json

import pytest
from django.core.mail import EmailAttachment

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpAnswer
from providers.kinds.mailersend import MAILERSEND, MAX_RECIPIENTS
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Accepted
from providers.reply_words import Topic
from providers.tests.support import messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi

SUPPRESSED = {"email": IRIS.upper(), "name": None, "reasons": ["hard_bounced", "unsubscribed"]}
REASON = "MailerSend suppresses this recipient: hard_bounced, unsubscribed"


@pytest.fixture
def api():
    return MAILERSEND.open_api(clean_options("mailersend", {"api_key": "key"}))


def _build(api, message):
    return json.loads(api.build_request(message).body)


def _answer(document, status=202, **headers):
    content = json.dumps(document).encode() if document is not None else b""
    return HttpAnswer(status_code=status, headers=headers, content=content)


def _warn(*entries, kind="SOME_SUPPRESSED"):
    warnings = [{"type": kind, "message": "…", "recipients": list(entries)}]
    return {"message": "There are some warnings for your request.", "warnings": warnings}


def _encode(content):
    return base64.b64encode(content).decode()


def test_every_field_is_in_the_request(api):
    message = messages.build_whole(headers={})

    request = api.build_request(message)

    assert (request.method, request.url) == ("POST", "https://api.mailersend.com/v1/email")
    assert request.headers["Authorization"] == "Bearer key"
    assert json.loads(request.body) == {
        "from": {"email": "zeus@olimpus.com", "name": "Zeus"},
        "to": [{"email": HERA, "name": "Hera, queen"}, {"email": IRIS}],
        "cc": [{"email": "ares@olimpus.com", "name": "Άρης"}],
        "bcc": [{"email": "eris@olimpus.com"}],
        "reply_to": {"email": "zeus@ida.gr", "name": "Zeus"},
        "subject": "You made my day",
        "text": "Χαῖρε, Ἥρα",
        "html": '<p>Χαῖρε <img src="cid:logo"></p>',
        "attachments": [
            {"filename": "bill.pdf", "content": _encode(b"%PDF-1.7"), "disposition": "attachment"},
            {"filename": "logo.png", "content": _encode(messages.LOGO), "disposition": "inline", "id": "logo"},
        ],
        "tags": ["welcome", "gods"],
    }


def test_a_space_replaces_an_empty_subject_and_text(api):
    built = _build(api, messages.build_bare(subject="", body=""))

    assert (built["subject"], built["text"]) == (" ", " ")


def test_an_attachment_without_a_name_gets_one_of_its_type(api):
    message = messages.build_bare()
    message.attachments = [EmailAttachment(None, b"%PDF-1.7", "application/pdf")]

    assert _build(api, message)["attachments"][0]["filename"] == "attachment.pdf"


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"X-Order": "7"}},
        {"headers": {"List-Unsubscribe": "<https://olimpus.com/leave>"}},
        {"reply_to": ["zeus@ida.gr", "hera@ida.gr"]},
    ],
)
def test_what_needs_an_enterprise_plan_is_refused_before_the_call(api, changes):
    with pytest.raises(ValueError, match="MailerSend does not support"):
        api.build_request(messages.build_bare(**changes))


@pytest.mark.parametrize(
    ("name", "content_type"), [("run.exe", "application/x-msdownload"), ("bill", "application/pdf")]
)
def test_a_file_that_mailersend_would_refuse_is_refused_before_the_call(api, name, content_type):
    message = messages.build_bare()
    message.attachments = [EmailAttachment(name, b"MZ", content_type)]

    with pytest.raises(ValueError, match="MailerSend carries no attachments"):
        api.build_request(message)


def test_only_five_tags_are_sent(api):
    message = messages.build_bare()
    message.tags = ["a", "b", "c", "d", "e", "f"]

    assert _build(api, message)["tags"] == ["a", "b", "c", "d", "e"]


def test_no_request_has_more_recipients_than_may_be_in_cc(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    many = [f"god{number}@olimpus.com" for number in range(MAX_RECIPIENTS + 1)]

    async def scenario():
        async with ScriptedApi(202) as provider:
            return await provider.send(MAILERSEND, messages.build_bare(to=[HERA], cc=many)), provider.received[0]

    outcome, received = event_loop.run(scenario())

    document = json.loads(received.body)
    assert len(document["to"] + document["cc"]) == MAX_RECIPIENTS
    assert isinstance(outcome, Accepted)
    assert [refusal.next_call for refusal in outcome.refused] == [True, True]


def test_the_id_of_an_accepted_email_is_in_a_header(api):
    assert api.read_message_id(_answer(None, **{"X-Message-Id": "5e42"})) == "5e42"
    assert api.read_message_id(_answer(_warn(SUPPRESSED), **{"X-Message-Id": "5e42"})) == "5e42"
    assert api.read_message_id(_answer(_warn(SUPPRESSED, kind="ALL_SUPPRESSED"))) == ""


@pytest.mark.parametrize(
    "document",
    [
        {"message": "The bulk email is being processed.", "bulk_email_id": "1"},
        _warn(SUPPRESSED, kind="SOMETHING_ELSE"),
        _warn({"email": 3}),
        _warn("odd"),
        {"warnings": [{"type": "SOME_SUPPRESSED"}]},
        {"warnings": []},
        {"warnings": "odd"},
        ["odd"],
    ],
)
def test_another_document_accepts_nothing(api, document):
    answer = _answer(document, **{"X-Message-Id": "5e42"})

    assert api.read_message_id(answer) is None
    assert api.find_rejected(answer, [HERA, IRIS]) == NONE_REJECTED


def test_suppressed_recipients_get_nothing_and_the_others_do(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(202, json.dumps(_warn(SUPPRESSED)), headers={"X-Message-Id": "5e42"}) as provider:
            return await provider.send(MAILERSEND, messages.build_bare(to=[HERA, IRIS]))

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Accepted)
    assert outcome.provider_message_id == "5e42"
    assert [(refusal.address, refusal.reason, refusal.permanent) for refusal in outcome.refused] == [
        (IRIS, REASON, True)
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"email": IRIS, "reason": ["spam_complaint"]}, "spam_complaint"),
        ({"email": IRIS, "reasons": "blocklisted"}, "blocklisted"),
        ({"email": IRIS}, "no reason given"),
    ],
)
def test_a_suppression_is_explained(api, entry, words):
    reasons = api.find_rejected(_answer(_warn(entry)), [HERA, IRIS]).reasons

    assert reasons == {IRIS: f"MailerSend suppresses this recipient: {words}"}


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"to.1.email": ["The to.1.email must be valid."]}, {IRIS: "The to.1.email must be valid."}),
        ({"to.0.email": ["bad"], "cc.0.email": [f"{IRIS} is bad"]}, {HERA: "bad", IRIS: f"{IRIS} is bad"}),
    ],
)
def test_a_refusal_names_recipients(api, errors, expected):
    rejected = api.find_rejected(_answer({"message": "invalid", "errors": errors}, 422), [HERA, IRIS])

    assert rejected == RejectedRecipients(reasons=expected)


@pytest.mark.parametrize("field", ["to.7.email", "bcc.0.email"])
def test_a_refusal_may_be_about_a_recipient_without_naming_it(api, field):
    rejected = api.find_rejected(_answer({"message": "invalid", "errors": {field: ["bad"]}}, 422), [HERA, IRIS])

    assert rejected == RejectedRecipients(reasons={}, has_unnamed=True)


def test_another_refusal_is_about_the_whole_email(api):
    errors = {"to.1.email": ["bad"], "from.email": ["must be verified"]}

    assert api.find_rejected(_answer({"message": "invalid", "errors": errors}, 422), [HERA, IRIS]) == NONE_REJECTED


def test_the_words_of_an_error_follow_its_fields(api):
    errors = {"from.email": ["must be verified. #MS42207"], "subject": "is required"}
    answer = _answer({"message": "The given data was invalid.", "errors": errors}, 422)

    assert api.read_error(answer) == "from.email: must be verified. #MS42207; subject: is required"
    assert api.read_topic(answer) is Topic.IDENTITY
    assert api.read_error(_answer({"message": "Unauthenticated."}, 401)) == "Unauthenticated."
