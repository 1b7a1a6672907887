"""What bad input gets: a clear 4xx that names field and problem, and nothing lost or half-written."""

import io
import json

import pytest
from django.contrib.auth.models import User

from mails.models import Event, Mail, Recipient
from mails.states import Status
from mails.tests.callers import HELLO, HERA, MAILS, ZEUS, caller, problem, send_raw

pytestmark = pytest.mark.django_db
LONE = "\\ud800"


@pytest.fixture
def zeus():
    return caller()


def nothing_waits_to_be_sent():
    return not Mail.objects.exclude(status=Status.REJECTED).exists() and not Recipient.objects.exists()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"hello", 400, "not_json"),
        (b"", 400, "invalid_mail"),
        (b'{"sender": "zeus@olimpus.com",', 400, "not_json"),
        (b"[]", 400, "not_an_object"),
        (b'"mail"', 400, "not_an_object"),
        (b"\xff\xfe", 400, "not_utf8"),
        (b"[" * 100_000, 400, "too_deep"),
        (b'{"content":' * 100_000, 400, "too_deep"),
        (json.dumps({"content": "x"}).encode()[:-1] + b', "content": "y"}', 400, "duplicate_key"),
        (b'{"subject": NaN}', 400, "not_json"),
        (b'{"subject": "\\u0000"}', 400, "forbidden_character"),
        (f'{{"content": "{LONE}"}}'.encode(), 400, "forbidden_character"),
        (f'{{"{LONE}": 1}}'.encode(), 400, "forbidden_character"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_body_that_cannot_be_read(zeus, body, status, code):
    problem(send_raw(zeus, body), status, code)

    assert nothing_waits_to_be_sent()


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"sender": 7}, ["/sender"]),
        ({"sender": [ZEUS]}, ["/sender"]),
        ({"sender": None}, ["/sender"]),
        ({"sender": ""}, ["/sender"]),
        ({"sender": f"{ZEUS}, {HERA}"}, ["/sender"]),
        ({"sender": "zeus"}, ["/sender"]),
        ({"sender": "z" * 300 + "@olimpus.com"}, ["/sender"]),
        ({"recipient": None}, ["/recipient"]),
        ({"recipient": []}, ["/recipient"]),
        ({"recipient": " , "}, ["/recipient"]),
        ({"recipient": {"to": HERA}}, ["/recipient"]),
        ({"recipient": [HERA, 7]}, ["/recipient/1"]),
        ({"recipient": [[HERA]]}, ["/recipient/0"]),
        ({"recipient": "hera@"}, ["/recipient"]),
        ({"recipient": "x" * 1_000_000}, ["/recipient"]),
        ({"recipient": [f"god{number}@olimpus.com" for number in range(10_000)]}, ["/recipient"]),
        ({"recipients": HERA}, ["/recipient"]),
        ({"subject": 7}, ["/subject"]),
        ({"subject": "x" * 513}, ["/subject"]),
        ({"subject": "Hi\r\nBcc: iris@olimpus.com"}, ["/subject"]),
        ({"subject": "\u202egnp.exe"}, ["/subject"]),
        ({"sender": "zeus@olimpus.com\r\nBcc: iris@olimpus.com"}, ["/sender"]),
        ({"recipient": "hera@olimpus.com\nBcc: iris@olimpus.com"}, ["/recipient"]),
        ({"content": {"text": "Hi"}}, ["/content"]),
        ({"delivery_guarantee": "never"}, ["/delivery_guarantee"]),
        ({"queue": "express"}, ["/queue"]),
        ({"subjet": "x"}, ["/subjet"]),
        ({"a/b~c": 1}, ["/a~1b~0c"]),
        ({"": 1}, ["/"]),
        ({"sender": "", "recipient": "", "subject": 1, "x": 2}, ["/x", "/sender", "/recipient", "/subject"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_mail_that_breaks_a_rule_is_kept_as_rejected(zeus, changes, pointers):
    found = problem(zeus.post(MAILS, HELLO | changes), 400, "invalid_mail")

    assert [error["pointer"] for error in found["errors"]] == pointers
    assert all(error["detail"] and error["code"] for error in found["errors"])
    mail = zeus.get(found["mail"]).json()
    assert mail["status"] == "rejected"
    assert [event.event for event in Event.objects.all()] == ["NEW", "BAD REQUEST"]
    assert nothing_waits_to_be_sent()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_a_413_and_is_not_read_to_its_end(zeus, settings, chunked):
    settings.MERCURY_MAX_SIZE = 1000
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000
    body = io.BytesIO(b"x" * 1_000_000)
    length = {"CONTENT_LENGTH": ""} if chunked else {"CONTENT_LENGTH": "1000000"}
    marks = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True} if chunked else {}

    answer = zeus.generic(
        "POST", MAILS, b"x", content_type="application/json", **{"wsgi.input": body}, **length, **marks
    )

    problem(answer, 413, "too_large")
    assert body.tell() <= 2001
    assert not Mail.objects.exists()


def test_a_chunked_mail_is_a_mail(zeus):
    body = io.BytesIO(json.dumps(HELLO).encode())
    marks = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "",
        "wsgi.input": body,
    }

    assert zeus.generic("POST", MAILS, b"x", content_type="application/json", **marks).status_code == 202


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "x",
        "/;",
    ],
)
def test_another_content_type_is_a_415(zeus, content_type):
    problem(send_raw(zeus, json.dumps(HELLO).encode(), content_type=content_type), 415)

    assert not Mail.objects.exists()


def test_a_compressed_body_is_a_415(zeus):
    problem(send_raw(zeus, b"\x1f\x8b", HTTP_CONTENT_ENCODING="gzip"), 415, "unsupported_encoding")


def test_another_charset_is_a_400(zeus):
    for charset in ("latin-1", "utf-16", "nonsense"):
        found = send_raw(zeus, json.dumps(HELLO).encode(), content_type=f"application/json; charset={charset}")
        problem(found, 400, "wrong_charset")
    for charset in ("utf-8", "UTF-8", '"utf8"'):
        found = send_raw(zeus, json.dumps(HELLO).encode(), content_type=f"application/json; charset={charset}")
        assert found.status_code == 202


@pytest.mark.parametrize("method", ["put", "patch", "delete", "trace"])
def test_a_wrong_method_is_a_405(zeus, method):
    mail = zeus.post(MAILS, HELLO).json()

    for url in (MAILS, mail["url"], mail["events"]):
        problem(zeus.generic(method.upper(), url), 405, "method_not_allowed")


def test_an_answer_that_cannot_be_given_is_a_406(zeus):
    problem(zeus.get(MAILS, HTTP_ACCEPT="image/png"), 406, "not_acceptable")


def test_a_sender_that_the_key_may_not_use_is_a_403_that_says_whom_it_may(zeus):
    found = problem(zeus.post(MAILS, HELLO | {"sender": HERA}), 403, "sender_not_allowed")

    assert ZEUS in found["detail"]
    assert found["errors"][0]["pointer"] == "/sender"
    assert not Mail.objects.exists()


@pytest.mark.parametrize(
    "mail_id",
    [
        "1",
        "x",
        "01a20dd7-8056-7204-87e3-78623fd27ee0",
        "{01a20dd7-8056-7204-87e3-78623fd27ee0}",
        "9" * 5000,
        "%00",
        "%F0%9F",
        "..%2F",
    ],
    ids=lambda value: value[:12],
)
def test_an_unknown_or_malformed_id_is_a_404(zeus, mail_id):
    for path in (mail_id, f"{mail_id}/", f"{mail_id}/events/", f"{mail_id}/events/1"):
        problem(zeus.get(MAILS + path), 404, "not_found")
    assert zeus.post(f"{MAILS}{mail_id}/events/", {"event": "READ"}).status_code == 404


@pytest.mark.parametrize("event_id", ["0", "-1", "x", "1e3", "9" * 18, "9" * 19, "9" * 5000, "٣", "%00"])
def test_an_unknown_or_malformed_event_id_is_a_404(zeus, event_id):
    events = zeus.post(MAILS, HELLO).json()["events"]

    problem(zeus.get(events + event_id), 404, "not_found")


def test_an_event_of_another_mail_is_a_404(zeus):
    one, other = zeus.post(MAILS, HELLO).json(), zeus.post(MAILS, HELLO).json()
    event = zeus.get(one["events"]).json()["events"][0]

    problem(zeus.get(event.replace(one["id"], other["id"])), 404)


@pytest.mark.parametrize(
    ("event", "pointers"),
    [
        ({}, ["/event"]),
        ({"event": None}, ["/event"]),
        ({"event": ""}, ["/event"]),
        ({"event": " DONE"}, ["/event"]),
        ({"event": "x" * 65}, ["/event"]),
        ({"event": "READ\r\n"}, ["/event"]),
        ({"event": "DO\u200bNE"}, ["/event"]),
        ({"event": 7}, ["/event"]),
        ({"event": "READ", "blob": {"a": 1}}, ["/blob"]),
        ({"event": "READ", "blob": "x" * 65_537}, ["/blob"]),
        ({"event": "READ", "note": "x"}, ["/note"]),
        ({"event": "", "blob": 1, "note": "x"}, ["/note", "/event", "/blob"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_event_that_breaks_a_rule_is_not_recorded(zeus, event, pointers):
    events = zeus.post(MAILS, HELLO).json()["events"]

    found = problem(zeus.post(events, event), 400, "invalid_event")

    assert [error["pointer"] for error in found["errors"]] == pointers
    assert Event.objects.count() == 3


def test_the_longest_event_passes(zeus):
    events = zeus.post(MAILS, HELLO).json()["events"]

    assert zeus.post(events, {"event": "ä" * 64, "blob": "x" * 65_536}).status_code == 201


@pytest.mark.parametrize("key", ["", " "])
def test_a_blank_idempotency_key_is_a_400_that_names_it(zeus, key):
    found = problem(zeus.post(MAILS, HELLO, HTTP_IDEMPOTENCY_KEY=key), 400, "invalid_idempotency_key")

    assert found["errors"][0]["header"] == "Idempotency-Key"
    assert found["message"].startswith("Idempotency-Key: It is blank.")
    assert not Mail.objects.exists()


def test_blank_credentials_are_not_those_of_a_session(client):
    client.force_login(User.objects.create_superuser("hermes"))

    problem(client.get(MAILS, HTTP_AUTHORIZATION=""), 401, "wrong_scheme")


@pytest.mark.parametrize("field", ["delivery_guarantee", "queue"])
def test_a_blank_choice_is_not_the_same_as_none(zeus, field):
    assert problem(zeus.post(MAILS, HELLO | {field: ""}), 400)["errors"][0]["pointer"] == f"/{field}"
    assert zeus.post(MAILS, HELLO | {field: None}).status_code == 202


def test_a_blank_account_is_not_the_same_as_none(zeus):
    mail = zeus.post(MAILS, HELLO).json()

    assert problem(zeus.post(f"{mail['url']}/reprocess", {"via": ""}), 400)["errors"][0]["pointer"] == "/via"


def test_an_email_with_replies_and_another_error_is_kept_and_shown(zeus):
    for reply_to in ("Hermes <hermes@olimpus.com>", ["nobody"], 7):
        found = problem(zeus.post(MAILS, HELLO | {"reply_to": reply_to, "subject": 7}), 400, "invalid_mail")

        assert zeus.get(found["mail"]).status_code == 200
