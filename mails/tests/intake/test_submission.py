"""The rules, field by field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError

from mails.intake import address_fields, idempotency, submission, submission_fields
from mails.intake.submission import InvalidSubmission, ValidSubmission, judge
from mails.message import addresses
from mails.models import Mail
from mails.tests.builders import HELLO, HERA, IRIS, ZEUS


def errors_of(**changes):
    return [(error.field, error.code) for error in judge({**HELLO, **changes}).errors]


def addresses_of(fields):
    return tuple(recipient.address for recipient in judge(fields).message.recipients)


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
    assert addresses_of({**HELLO, "recipient": recipient}) == addresses


def test_recipients_is_another_name_of_recipient():
    assert addresses_of({"sender": ZEUS, "recipients": [HERA]}) == (HERA,)
    assert errors_of(recipients=HERA) == [("recipient", "ambiguous")]


@pytest.mark.parametrize("sender", [ZEUS, f"Zeus <{ZEUS}>", f'"Zeus, father" <{ZEUS}>', f"Ζεύς <{ZEUS}>"])
def test_a_sender_may_carry_a_name(sender):
    message = judge({**HELLO, "sender": sender}).message

    assert message.sender == sender
    assert addresses.extract_address(message.sender) == ZEUS


def test_an_address_may_be_optional_and_keeps_its_own_limit():
    field = address_fields.AddressField(max_length=30)

    assert field.run_validation(None) == field.run_validation(" ") == ""
    assert field.run_validation("Zeus <zeus@olimpus.com>") == "Zeus <zeus@olimpus.com>"
    with pytest.raises(ValidationError, match="at most 30"):
        field.run_validation("The father of all <zeus@olimpus.com>")


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
    assert judge({**HELLO, "subject": subject}).message.subject == subject


def test_all_errors_are_reported_together():
    assert {field for field, _ in errors_of(sender="zeus", recipient="", subject="\n", x=1)} == {
        "sender",
        "recipient",
        "subject",
        "x",
    }


def test_a_misspelt_field_is_guessed():
    (error,) = judge({**HELLO, "subjet": "x"}).errors

    assert "Did you mean 'subject'" in error.detail


def test_a_mail_read_from_the_api_can_be_posted_again():
    assert isinstance(judge({**HELLO, "id": "1", "url": "http://x", "events": "http://y"}), ValidSubmission)


def test_subject_and_content_may_be_absent_or_null():
    message = judge({"sender": ZEUS, "recipient": HERA, "subject": None}).message

    assert (message.subject, message.text) == ("", "")


@pytest.mark.parametrize(("asked", "queue"), [({}, "text"), ({"queue": None}, "text"), ({"queue": "bulk"}, "bulk")])
def test_a_mail_is_bulk_where_that_is_asked_for(asked, queue):
    assert judge({**HELLO, **asked}).queue == queue


def test_an_impossible_value_is_refused_with_the_possible_ones():
    (error,) = judge({**HELLO, "queue": "text"}).errors

    assert error.detail == "'text' is not allowed. Write one of: bulk; or omit the field."


def test_the_size_is_bounded(settings):
    settings.MERCURY_MAX_SIZE = 10

    assert judge({**HELLO, "content": "1234567890"}).message.text == "1234567890"
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
    judged = judge(data)
    if isinstance(judged, InvalidSubmission):
        shown = "".join(f"{error.field}{error.code}{error.detail}" for error in judged.errors)
    else:
        shown = judged.message.sender + judged.message.subject + judged.message.columns["recipient"]

    assert shown
    assert "\n" not in shown
    assert shown.encode()


@given(st.text())
def test_legible_text_fits_any_database(text):
    kept = submission_fields.make_storable(text, 50)

    assert "\0" not in kept
    assert len(kept.encode()) <= 200


def test_a_rejected_email_keeps_the_beginning_of_its_html_and_names_no_blind_copy():
    invalid = judge({"to": [HERA, "nobody"], "html": "x" * 5000, "cc": IRIS, "bcc": ZEUS, "reply_to": "nobody"})

    assert invalid.message.html == "x" * submission_fields.KEPT_OF_A_REJECTED
    assert invalid.recipient == f"{HERA}, nobody"
    assert invalid.message.reply_to == ()


def test_a_field_counts_for_a_key_where_it_is_given():
    without = hash_of(HELLO)

    assert hash_of({**HELLO, "html": "", "cc": [], "bcc": None, "reply_to": ""}) == without
    assert hash_of({"to": HERA, "text": "Hi", **{name: HELLO[name] for name in ("sender", "subject")}}) == without
    different = ({"html": "<p>Hi"}, {"cc": IRIS}, {"bcc": IRIS}, {"reply_to": IRIS})
    assert len({without, *(hash_of({**HELLO, **changes}) for changes in different)}) == 5


def hash_of(fields):
    return idempotency.build_key("k", judge(fields), owner="command", mail=Mail()).body_hash


@pytest.mark.parametrize(
    ("changes", "queue"),
    [({"html": "<p>Hi"}, "html"), ({"html": "<p>Hi", "queue": "bulk"}, "bulk"), ({"html": ""}, "text")],
)
def test_the_queue_follows_from_what_the_email_carries(changes, queue):
    assert judge({**HELLO, **changes}).queue == queue


def test_text_is_another_name_of_content():
    assert judge({"sender": ZEUS, "to": HERA, "text": "Hi"}).message.text == "Hi"
    assert errors_of(text="Hi") == [("content", "ambiguous")]
