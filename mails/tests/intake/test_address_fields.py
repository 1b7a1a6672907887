"""Who an email goes to, and where replies go: every form, and what is wrong with others."""

import json

import pytest

from mails.intake.submission import ValidSubmission, judge
from mails.message.addresses import split_mailboxes
from mails.message.message import Mailbox
from mails.tests.builders import HERA, IRIS, ZEUS

ARES = "ares@olimpus.com"


def submission_of(**fields):
    return {"sender": ZEUS, "content": "Hi", **fields}


def recipients_of(**fields):
    judged = judge(submission_of(**fields))
    assert isinstance(judged, ValidSubmission), judged.errors
    return [(recipient.kind.value, recipient.name, recipient.address) for recipient in judged.message.recipients]


def errors_of(**fields):
    return [(error.place, error.code) for error in judge(submission_of(**fields)).errors]


@pytest.mark.parametrize(
    ("to", "named"),
    [
        (f"Hera <{HERA}>", [("Hera", HERA)]),
        (
            f'"Hera, the queen" <{HERA}>, {IRIS},Ἶρις <i@olimpus.com>',
            [("Hera, the queen", HERA), ("", IRIS), ("Ἶρις", "i@olimpus.com")],
        ),
        ([f"Hera <{HERA}>", {"email": IRIS}], [("Hera", HERA), ("", IRIS)]),
        ([{"email": HERA, "name": 'Hera "the queen"'}], [('Hera "the queen"', HERA)]),
        ([{"email": HERA, "name": None}], [("", HERA)]),
        ([{"email": " hera@OLIMPUS.com ", "name": " Hera "}], [("Hera", HERA)]),
        ([{"email": HERA, "name": "Hera"}, HERA], [("Hera", HERA)]),
        (f"<{HERA}>", [("", HERA)]),
        (f'"a, b"@olimpus.com {HERA}', [("", '"a, b"@olimpus.com'), ("", HERA)]),
    ],
)
def test_recipients_may_have_names(to, named):
    assert recipients_of(to=to) == [("to", *each) for each in named]


def test_copies_are_recipients_too():
    found = recipients_of(to=HERA, cc=[{"email": IRIS, "name": "Iris"}], bcc=f"{ARES} zeus@olimpus.com")

    assert found == [("to", "", HERA), ("cc", "Iris", IRIS), ("bcc", "", ARES), ("bcc", "", ZEUS)]


def test_blind_copies_may_be_all():
    judged = judge(submission_of(bcc=[HERA, IRIS]))

    assert [recipient.kind for recipient in judged.message.recipients] == ["bcc", "bcc"]
    assert judged.message.columns["recipient"] == ""


def test_an_address_in_several_fields_gets_one_copy_where_it_is_named_first():
    assert recipients_of(to=f"{HERA} {IRIS}", cc=[IRIS, ARES], bcc=["hera@OLIMPUS.com", ARES]) == [
        ("to", "", HERA),
        ("to", "", IRIS),
        ("cc", "", ARES),
    ]


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({}, [("recipient", "required")]),
        ({"to": "", "cc": [], "bcc": None}, [("recipient", "required")]),
        ({"cc": IRIS}, [("recipient", "required")]),
        ({"cc": IRIS, "bcc": HERA}, [("recipient", "required")]),
        ({"to": HERA, "recipient": IRIS}, [("recipient", "ambiguous")]),
        ({"to": HERA, "recipients": IRIS}, [("recipient", "ambiguous")]),
        ({"to": "nobody"}, [("to", "invalid_address")]),
        ({"recipients": "nobody"}, [("recipients", "invalid_address")]),
        ({"to": [HERA, "nobody", 7]}, [("to/1", "invalid_address"), ("to/2", "wrong_type")]),
        ({"to": HERA, "cc": [[IRIS]]}, [("cc/0", "wrong_type")]),
        ({"to": HERA, "cc": {"email": IRIS}}, [("cc", "wrong_type")]),
        ({"to": HERA, "cc": 3}, [("cc", "wrong_type")]),
        ({"to": [{"name": "Hera"}]}, [("to/0/email", "required")]),
        ({"to": [{}]}, [("to/0/email", "required")]),
        ({"to": [{"email": [HERA]}]}, [("to/0/email", "wrong_type")]),
        ({"to": [{"email": HERA, "name": 7}]}, [("to/0/name", "wrong_type")]),
        ({"to": [{"email": HERA, "name": "x" * 257}]}, [("to/0/name", "too_long")]),
        ({"to": [{"email": HERA, "kind": "bcc"}]}, [("to/0/kind", "unknown_field")]),
        ({"to": [{"email": HERA, "name": "Hera\r\nBcc: x@y.z"}]}, [("to/0/name", "forbidden_character")]),
        ({"to": [{"email": HERA, "name": "areH\u202e"}]}, [("to/0/name", "forbidden_character")]),
        ({"to": [{"email": HERA, "name": "\u2067Hera\u2069"}]}, [("to/0/name", "forbidden_character")]),
        ({"to": [{"email": HERA, "name": "=?utf-8?q?a=0D=0ABcc:_x?="}]}, [("to/0/name", "forbidden_character")]),
        ({"to": [f"{'x' * 300}=?utf-8?q?a=0D=0ABcc:_x?={'x' * 300} <{HERA}>"]}, [("to/0", "forbidden_character")]),
        ({"to": [{"email": f"{HERA}\n", "name": ""}]}, [("to/0/email", "forbidden_character")]),
        ({"to": HERA, "bcc": ["\ud800"]}, [("bcc/0", "forbidden_character")]),
        ({"to": HERA, "reply_to": "nobody"}, [("reply_to", "invalid_address")]),
        ({"to": HERA, "reply_to": [HERA, "nobody"]}, [("reply_to/1", "invalid_address")]),
        ({"to": HERA, "reply_to": f"{HERA}\r\nX-A: 1"}, [("reply_to", "forbidden_character")]),
        ({"to": HERA, "reply_to": [f"a{number}@b.co" for number in range(11)]}, [("reply_to", "too_many")]),
        ({"to": f"Hera <{HERA}> Iris <{IRIS}>"}, [("to", "several")]),
        ({"to": f"hera@olimpus.com <{HERA}>"}, [("to", "several")]),
    ],
)
def test_what_is_wrong_is_named(fields, errors):
    assert errors_of(**fields) == errors


def test_the_number_of_recipients_is_bounded_in_each_field_and_in_all(settings):
    many = [f"a{number}@b.co" for number in range(50)]

    assert errors_of(to=[*many, HERA]) == [("to", "too_many")]
    assert errors_of(to=[{"email": address} for address in [*many, HERA]]) == [("to", "too_many")]
    assert errors_of(to=many[:30], cc=many[20:40], bcc=[*many[40:], HERA]) == [("cc", "too_many")]
    assert len(recipients_of(to=many[:30], cc=many[20:], bcc=many)) == 50


@pytest.mark.parametrize("form", [" ".join, ", ".join, list, lambda found: [{"email": each} for each in found]])
def test_ten_thousand_recipients_are_refused_at_once(form):
    assert errors_of(to=form([f"a{number}@b.co" for number in range(10_000)])) == [("to", "too_many")]


def test_errors_of_one_list_are_named_up_to_a_number(settings):
    settings.MERCURY_MAX_RECIPIENTS = 100_000

    assert len(errors_of(to=["nobody"] * 50_000)) == 20


def test_replies_go_to_mailboxes():
    message = judge(submission_of(to=HERA, reply_to=[f"Iris <{IRIS}>", {"email": ARES}])).message

    assert message.reply_to == (Mailbox(address=IRIS, name="Iris"), Mailbox(address=ARES))
    assert json.dumps(message.other_fields) == json.dumps(
        {"reply_to": [{"address": IRIS, "name": "Iris"}, {"address": ARES, "name": ""}]}
    )


@pytest.mark.parametrize(
    "text", ['"' * 1_000_000 + "<", '\\"' * 1_000_000 + "<", '"\\' + '\\"' * 1_000_000 + "<", "<" * 1_000_000]
)
def test_no_text_takes_long_to_split(text):
    assert "".join(split_mailboxes(text)) == text.strip()
