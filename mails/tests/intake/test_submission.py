"""The rule book, field by field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.intake import submission, submission_fields
from mails.intake.errors import InvalidSubmission
from mails.intake.submission import parse_submission
from mails.message import addresses
from mails.tests.builders import HELLO, HERA, IRIS, ZEUS


def errors_of(**changes):
    with pytest.raises(InvalidSubmission) as caught:
        parse_submission({**HELLO, **changes})
    return [(error.field, error.code) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("recipient", "addresses"),
    [
        (HERA, (HERA,)),
        (f"{HERA}, {IRIS}", (HERA, IRIS)),
        (f"{HERA} {IRIS}", (HERA, IRIS)),
        (f" {HERA},,{IRIS}, ", (HERA, IRIS)),
        ([HERA, IRIS], (HERA, IRIS)),
        (f"{HERA} {HERA}", (HERA,)),
        ("hera@OLIMPUS.com hera@olimpus.com", (HERA,)),
        ("hera@faß.de", ("hera@xn--fa-hia.de",)),
    ],
)
def test_recipients_in_every_form(recipient, addresses):
    assert parse_submission({**HELLO, "recipient": recipient}).recipients == addresses


def test_recipients_is_another_name_of_recipient():
    assert parse_submission({"sender": ZEUS, "recipients": [HERA]}).recipients == (HERA,)
    assert errors_of(recipients=HERA) == [("recipient", "ambiguous")]


@pytest.mark.parametrize("sender", [ZEUS, f"Zeus <{ZEUS}>", f'"Zeus, father" <{ZEUS}>', f"Ζεύς <{ZEUS}>"])
def test_a_sender_may_carry_a_name(sender):
    wanted = parse_submission({**HELLO, "sender": sender})

    assert wanted.sender == sender
    assert addresses.extract_address(wanted.sender) == ZEUS


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("sender", None, "required"),
        ("sender", "", "required"),
        ("sender", f"{ZEUS}, {HERA}", "several"),
        ("sender", f"{HERA}, Zeus <{ZEUS}>", "several"),
        ("sender", f"<{HERA}> <{ZEUS}>", "several"),
        ("sender", 7, "wrong_type"),
        ("sender", [ZEUS], "wrong_type"),
        ("sender", "zeus", "invalid_address"),
        ("sender", "zeus@olimpus", "invalid_address"),
        ("sender", f"{'z' * 250}@olimpus.com", "too_long"),
        ("sender", f"Zeus\r\nBcc: {HERA} <{ZEUS}>", "forbidden_character"),
        ("sender", f"Z\u202eeus <{ZEUS}>", "forbidden_character"),
        ("recipient", None, "required"),
        ("recipient", " , ", "required"),
        ("recipient", [], "required"),
        ("recipient", {"a": 1}, "wrong_type"),
        ("recipient", [1], "wrong_type"),
        ("recipient", "hera@olimpus.com zeus@", "invalid_address"),
        ("recipient", "grüße@olimpus.com", "invalid_address"),
        ("recipient", f"{'a' * 5_000_000}@olimpus.com", "invalid_address"),
        ("recipient", " ".join(f"a{number}@b.co" for number in range(10_000)), "too_many"),
        ("recipient", f"{HERA}\r\nX: y", "forbidden_character"),
        ("subject", "s" * 513, "too_long"),
        ("subject", "one\ntwo", "forbidden_character"),
        ("subject", "=?utf-8?q?one=0D=0ABcc:_hera=40olimpus.com?=", "forbidden_character"),
        ("subject", "Hi =?UTF-8?B?4oCuZ25wLmV4ZQ==?=", "forbidden_character"),
        ("sender", f"=?utf-8?q?Z=E2=80=AEeus?= <{ZEUS}>", "forbidden_character"),
        ("subject", "=?utf-8?q?=FF?= =?utf-8?q?a=0D=0ABcc:_x?=", "forbidden_character"),
        ("subject", "=?nonsense?q?a=0D=0ABcc:_x?=", "forbidden_character"),
        ("subject", "=?utf-8?q?=E2=80?= =?utf-8?q?=AE?=", "forbidden_character"),
        ("sender", f"=?utf-8?b?!?= =?utf-8?q?Z=E2=80=AEeus?= <{ZEUS}>", "forbidden_character"),
        ("subject", "nul\0", "forbidden_character"),
        ("subject", "\ud800", "forbidden_character"),
        ("subject", "line\u2028separator", "forbidden_character"),
        ("subject", ["You"], "wrong_type"),
        ("content", "nul\0", "forbidden_character"),
        ("content", "\udfff", "forbidden_character"),
        ("content", True, "wrong_type"),
        ("delivery_guarantee", "twice", "invalid"),
        ("queue", "text", "invalid"),
        ("queue", "express", "invalid"),
        ("queue", ["bulk"], "wrong_type"),
        ("subjet", "misspelt", "unknown_field"),
    ],
)
def test_what_is_wrong_is_named(field, value, code):
    assert errors_of(**{field: value}) == [(field, code)]


@pytest.mark.parametrize(
    "subject", ["=?utf-8?q?caf=C3=A9?=", "=?nonsense?q?=FF?=", "What =? and ?= mean", "=?utf-8?b?!?="]
)
def test_encoded_words_pass_as_they_are(subject):
    assert parse_submission({**HELLO, "subject": subject}).subject == subject


def test_all_errors_are_reported_together():
    assert {field for field, _ in errors_of(sender="zeus", recipient="", subject="\n", x=1)} == {
        "sender",
        "recipient",
        "subject",
        "x",
    }


def test_a_misspelt_field_is_guessed():
    with pytest.raises(InvalidSubmission, match="Did you mean 'subject'"):
        parse_submission({**HELLO, "subjet": "x"})


def test_a_mail_read_from_the_api_can_be_posted_again():
    assert parse_submission({**HELLO, "id": "1", "url": "http://x", "events": "http://y"}).sender == ZEUS


def test_subject_and_content_may_be_absent_or_null():
    wanted = parse_submission({"sender": ZEUS, "recipient": HERA, "subject": None})

    assert (wanted.subject, wanted.text) == ("", "")


@pytest.mark.parametrize(("asked", "queue"), [({}, "text"), ({"queue": None}, "text"), ({"queue": "bulk"}, "bulk")])
def test_a_mail_is_bulk_where_that_is_asked_for(asked, queue):
    assert parse_submission({**HELLO, **asked}).queue == queue


def test_an_impossible_value_is_refused_with_the_possible_ones():
    with pytest.raises(InvalidSubmission, match=r"'text' is not allowed\. Write one of: bulk; or omit the field"):
        parse_submission({**HELLO, "queue": "text"})


def test_the_size_is_bounded(settings):
    settings.MERCURY_MAX_SIZE = 10

    assert parse_submission({**HELLO, "content": "1234567890"}).text == "1234567890"
    assert errors_of(content="123456789é") == [("content", "too_large")]


@given(
    st.dictionaries(
        st.sampled_from([*submission.FIELDS, "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_any_input_is_valid_or_an_error_with_text(data):
    try:
        wanted = parse_submission(data)
    except InvalidSubmission as invalid:
        shown = "".join(f"{error.field}{error.code}{error.detail}" for error in invalid.errors)
    else:
        shown = wanted.sender + wanted.subject + "".join(wanted.recipients)

    assert shown
    assert "\n" not in shown
    assert shown.encode()


@given(st.text())
def test_legible_text_fits_any_database(text):
    kept = submission_fields.make_storable(text, 50)

    assert "\0" not in kept
    assert len(kept.encode()) <= 200
