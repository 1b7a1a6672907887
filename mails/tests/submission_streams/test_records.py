"""A record is a submission, or a reason why it is none."""

import json

import pytest

from mails.intake.submission import Submission
from mails.submission_streams.records import Rejection, StreamRecord, read

EMAIL = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": "Hi", "content": "Hi"}
POSITION = "redis:mercury:submissions/1-0"


def a_record(value: object, **headers: str) -> StreamRecord:
    body = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    named = {name.replace("_key", "-key"): text for name, text in headers.items()}
    return StreamRecord(value=body, position=POSITION, origin={}, headers=named, handle=None)


def read_key(value: object, **headers: str) -> str | None:
    submission = read(a_record(value, **headers))
    assert isinstance(submission, Submission)
    assert submission.fields == EMAIL
    return submission.idempotency_key


def test_the_key_is_that_of_the_header_then_of_the_field_then_of_the_event_then_the_place():
    assert read_key(EMAIL | {"idempotency_key": "b"}, idempotency_key="a", ce_id="7") == "a"
    assert read_key(EMAIL | {"idempotency_key": "b"}, ce_id="7") == "b"
    assert read_key(EMAIL, ce_id="7", ce_source="/shop") == "/shop#7"
    assert read_key(EMAIL) == POSITION


def test_the_data_of_a_cloud_event_are_the_email():
    assert read_key({"specversion": "1.0", "id": "7", "source": "/shop", "type": "t", "data": EMAIL}) == "/shop#7"


def test_an_event_whose_id_is_no_key_has_one_that_follows_from_it():
    key = read_key(EMAIL, ce_id="7" * 300, ce_source="/shop")

    assert key is not None
    assert key.startswith("sha256:")
    assert key == read_key(EMAIL, ce_id="7" * 300, ce_source="/shop")
    assert key != read_key(EMAIL, ce_id="8" * 300, ce_source="/shop")


@pytest.mark.parametrize(
    ("value", "code", "pointer"),
    [
        (None, "empty", ""),
        (b"", "empty", ""),
        (b"{", "not_json", ""),
        (b"\xff\xfe", "not_utf8", ""),
        (b"[]", "not_an_object", ""),
        (b"[" * 5000, "too_deep", ""),
        (b" " * 10_600_000, "too_large", ""),
        ({"specversion": "1.0", "data": "text"}, "not_an_object", "/data"),
        ({"idempotency_key": 7}, "invalid_idempotency_key", "/idempotency_key"),
    ],
)
def test_what_is_no_submission_is_rejected_with_the_reason(settings, value, code, pointer):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_500_000

    rejection = read(a_record(value))

    assert isinstance(rejection, Rejection)
    assert rejection.code == code
    [error] = json.loads(rejection.encode())["errors"]
    assert error["pointer"] == pointer
    assert error["code"] == code
