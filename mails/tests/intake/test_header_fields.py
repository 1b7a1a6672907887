"""Headers of the sender's own, tags, metadata and how to unsubscribe: what is allowed, and what is wrong with the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.intake import header_fields
from mails.intake.submission import InvalidSubmission, ValidSubmission, judge
from mails.tests.builders import HELLO
from mercury.lib.mail import printable

BYTES = st.text(st.characters(codec=None), max_size=40)


def message_of(**fields):
    judged = judge({**HELLO, **fields})
    assert isinstance(judged, ValidSubmission), judged.errors
    return judged.message


def errors_of(**fields):
    return [(error.place, error.code) for error in judge({**HELLO, **fields}).errors]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("X-Campaign", "spring"),
        ("x-entity-ref-id", "17"),
        ("X-Grüße".replace("ü", "u").replace("ß", "ss"), "Grüße, Ἥρα"),
        ("In-Reply-To", "<1@olimpus.com>"),
        ("REFERENCES", " ".join(f"<{number}@olimpus.com>" for number in range(90))),
        ("Precedence", "bulk"),
        ("Auto-Submitted", "auto-generated"),
        ("Importance", "high"),
        ("X-Priority", "1 (Highest)"),
        ("List-Id", "News <news.olimpus.com>"),
        ("List-Unsubscribe", "<mailto:stop@olimpus.com>"),
        ("Feedback-ID", "1:2:3:olimpus"),
    ],
)
def test_a_sender_may_have_headers_of_its_own(name, text):
    assert message_of(headers={name: f" {text} "}).headers == {name: text}


@pytest.mark.parametrize(
    ("headers", "errors"),
    [
        ({"Bcc": "a@b.co"}, [("headers/Bcc", "reserved_header")]),
        ({"BCC": "a@b.co"}, [("headers/BCC", "reserved_header")]),
        ({"from": "a@b.co", "To": "a@b.co"}, [("headers/from", "reserved_header"), ("headers/To", "reserved_header")]),
        ({"Reply-To": "a@b.co"}, [("headers/Reply-To", "reserved_header")]),
        ({"Message-ID": "<1@b.co>"}, [("headers/Message-ID", "reserved_header")]),
        ({"Date": "x"}, [("headers/Date", "reserved_header")]),
        ({"Content-Type": "text/html"}, [("headers/Content-Type", "reserved_header")]),
        ({"MIME-Version": "2.0"}, [("headers/MIME-Version", "reserved_header")]),
        ({"DKIM-Signature": "x"}, [("headers/DKIM-Signature", "reserved_header")]),
        ({"Return-Path": "<a@b.co>"}, [("headers/Return-Path", "reserved_header")]),
        ({"Received": "x"}, [("headers/Received", "reserved_header")]),
        ({"X-Mercury-ID": "1"}, [("headers/X-Mercury-ID", "reserved_header")]),
        ({"x-smtpapi": '{"to": ["a@b.co"]}'}, [("headers/x-smtpapi", "reserved_header")]),
        ({"X-SES-CONFIGURATION-SET": "x"}, [("headers/X-SES-CONFIGURATION-SET", "reserved_header")]),
        ({"X-MC-Autotext": "x"}, [("headers/X-MC-Autotext", "reserved_header")]),
        ({"X-Mailgun-Drop-Message": "yes"}, [("headers/X-Mailgun-Drop-Message", "reserved_header")]),
        ({"X-A\r\nBcc": "a@b.co"}, [("headers/X-A\ufffd\ufffdBcc", "reserved_header")]),
        ({"X-A: 1\nBcc": "a@b.co"}, [("headers/X-A: 1\ufffdBcc", "reserved_header")]),
        ({"X-A:": "1"}, [("headers/X-A:", "reserved_header")]),
        ({"X-": "1"}, [("headers/X-", "reserved_header")]),
        ({"X-Ä": "1"}, [("headers/X-Ä", "reserved_header")]),
        ({"X A": "1"}, [("headers/X A", "reserved_header")]),
        ({"": "1"}, [("headers/", "reserved_header")]),
        ({"X-" + "a" * 63: "1"}, [("headers/X-" + "a" * 63, "too_long")]),
        ({"X-A": "a\r\nBcc: a@b.co"}, [("headers/X-A", "forbidden_character")]),
        ({"X-A": "a\nb"}, [("headers/X-A", "forbidden_character")]),
        ({"X-A": "a\rb"}, [("headers/X-A", "forbidden_character")]),
        ({"X-A": "a\0"}, [("headers/X-A", "forbidden_character")]),
        ({"X-A": "\x7f"}, [("headers/X-A", "forbidden_character")]),
        ({"X-A": "\ud800"}, [("headers/X-A", "forbidden_character")]),
        ({"X-A": "\u202egnp"}, [("headers/X-A", "forbidden_character")]),
        ({"X-A": "x" * 700 + " =?utf-8?q?a=0D=0ABcc:_x?="}, [("headers/X-A", "forbidden_character")]),
        ({"References": "<ä@b.co>"}, [("headers/References", "forbidden_character")]),
        ({"X-A": "x" * 901}, [("headers/X-A", "too_long")]),
        ({"X-A": "x " * 1001}, [("headers/X-A", "too_long")]),
        ({"X-A": ""}, [("headers/X-A", "empty")]),
        ({"X-A": None}, [("headers/X-A", "empty")]),
        ({"X-A": 1}, [("headers/X-A", "wrong_type")]),
        ({"X-A": ["1"]}, [("headers/X-A", "wrong_type")]),
        ({"X-A": "1", "x-a": "2"}, [("headers/X-A", "repeated")]),
        ({"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}, [("headers/List-Unsubscribe-Post", "not_allowed")]),
        ([["X-A", "1"]], [("headers", "wrong_type")]),
        ("X-A: 1", [("headers", "wrong_type")]),
        ({f"X-{number}": "1" for number in range(31)}, [("headers", "too_many")]),
    ],
)
def test_other_headers_are_refused_by_name(headers, errors):
    assert errors_of(headers=headers) == errors


def test_a_reserved_header_says_which_field_to_use():
    (error,) = judge({**HELLO, "headers": {"bcc": "a@b.co"}}).errors

    assert error.detail == "'bcc' is not a header of your own: use the field 'bcc'."


@pytest.mark.parametrize("tags", [["welcome"], ["a", "b", "a"], ["v1.0/new_user:eu-west+1@x=#1"], [], None])
def test_tags_are_words(tags):
    assert message_of(tags=tags).tags == tuple(dict.fromkeys(tags or ()))


@pytest.mark.parametrize(
    ("tags", "errors"),
    [
        ("welcome", [("tags", "wrong_type")]),
        ({"a": "b"}, [("tags", "wrong_type")]),
        (["a", 7, "b c", None], [("tags/1", "wrong_type"), ("tags/2", "invalid_tag"), ("tags/3", "wrong_type")]),
        ([""], [("tags/0", "invalid_tag")]),
        (["a,b"], [("tags/0", "invalid_tag")]),
        (["a\r\nb"], [("tags/0", "invalid_tag")]),
        (["ä"], [("tags/0", "invalid_tag")]),
        (["x" * 65], [("tags/0", "invalid_tag")]),
        (["\ud800"], [("tags/0", "forbidden_character")]),
        (["a"] * 11, [("tags", "too_many")]),
        (["a"] * 1_000_000, [("tags", "too_many")]),
    ],
)
def test_other_tags_are_refused(tags, errors):
    assert errors_of(tags=tags) == errors


def test_metadata_are_texts_by_name():
    metadata = {"order": "17", "customer.name": "Ἥρα", "empty": ""}

    assert message_of(metadata=metadata).metadata == metadata


@pytest.mark.parametrize(
    ("metadata", "errors"),
    [
        (["order"], [("metadata", "wrong_type")]),
        ("order", [("metadata", "wrong_type")]),
        ({"order": 17}, [("metadata/order", "wrong_type")]),
        ({"order": None}, [("metadata/order", "wrong_type")]),
        ({"order": {"id": "17"}}, [("metadata/order", "wrong_type")]),
        ({"order": "1\r\n7"}, [("metadata/order", "forbidden_character")]),
        ({"order": "\0"}, [("metadata/order", "forbidden_character")]),
        ({"order": "x" * 501}, [("metadata/order", "too_long")]),
        ({"x" * 41: "1"}, [("metadata/" + "x" * 41, "too_long")]),
        ({"a b": "1"}, [("metadata/a b", "invalid_name")]),
        ({"a,b": "1"}, [("metadata/a,b", "invalid_name")]),
        ({"": "1"}, [("metadata/", "invalid_name")]),
        ({"mercury_id": "1"}, [("metadata/mercury_id", "reserved_name")]),
        ({str(number): "1" for number in range(21)}, [("metadata", "too_many")]),
    ],
)
def test_other_metadata_are_refused(metadata, errors):
    assert errors_of(metadata=metadata) == errors


def test_one_click_needs_https_and_one_line():
    url = "https://olimpus.com/stop?who=hera%40olimpus.com"
    message = message_of(unsubscribe_url=url, unsubscribe_mailto="mailto:stop@OLIMPUS.com?subject=stop%20it")

    assert message.unsubscribe_headers == {
        "List-Unsubscribe": f"<{url}>, <mailto:stop@olimpus.com?subject=stop%20it>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_an_address_alone_has_no_one_click():
    assert message_of(unsubscribe_mailto="stop@olimpus.com").unsubscribe_headers == {
        "List-Unsubscribe": "<mailto:stop@olimpus.com>"
    }


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("unsubscribe_url", "http://olimpus.com/stop", "invalid_url"),
        ("unsubscribe_url", "javascript:alert(1)", "invalid_url"),
        ("unsubscribe_url", "https://", "invalid_url"),
        ("unsubscribe_url", "https://zeus:secret@olimpus.com/", "invalid_url"),
        ("unsubscribe_url", "https://olimpus.com/a>, <https://ares.com/", "invalid_url"),
        ("unsubscribe_url", "https://olimpus.com/ü", "invalid_url"),
        ("unsubscribe_url", "https://olimpus.com/\r\nBcc: a@b.co", "forbidden_character"),
        ("unsubscribe_url", "https://olimpus.com/" + "x" * 800, "too_long"),
        ("unsubscribe_url", 7, "wrong_type"),
        ("unsubscribe_mailto", "stop", "invalid_address"),
        ("unsubscribe_mailto", "stop@olimpus.com, hera@olimpus.com", "invalid_address"),
        ("unsubscribe_mailto", "stop@olimpus.com>, <https://ares.com", "invalid_address"),
        ("unsubscribe_mailto", "stop@olimpus.com?subject=a%0d%0aBcc:x", "invalid_mailto"),
        ("unsubscribe_mailto", "stop@olimpus.com?bcc=hera@olimpus.com", "invalid_mailto"),
        ("unsubscribe_mailto", "stop@olimpus.com?subject=a&bcc=hera@olimpus.com", "invalid_mailto"),
        ("unsubscribe_mailto", "stop@olimpus.com?subject=" + "x" * 800, "too_long"),
        ("unsubscribe_mailto", ["stop@olimpus.com"], "wrong_type"),
    ],
)
def test_other_ways_to_unsubscribe_are_refused(field, value, code):
    assert errors_of(**{field: value}) == [(field, code)]


def test_the_header_and_the_field_exclude_each_other():
    header = {"list-unsubscribe": "<https://olimpus.com/stop>"}

    assert errors_of(headers=header, unsubscribe_url="https://olimpus.com/stop") == [
        ("headers/list-unsubscribe", "ambiguous")
    ]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "headers": st.dictionaries(
                BYTES | st.sampled_from(["X-A", "References"]) | BYTES.map(lambda text: f"X-{text}"), BYTES, max_size=3
            ),
            "tags": st.lists(BYTES, max_size=3),
            "metadata": st.dictionaries(BYTES, BYTES, max_size=3),
            "unsubscribe_url": BYTES | BYTES.map(lambda text: f"https://olimpus.com/{text}"),
            "unsubscribe_mailto": BYTES | BYTES.map(lambda text: f"stop@olimpus.com?subject={text}"),
        },
    )
)
def test_whatever_is_accepted_fits_on_one_line(fields):
    judged = judge({**HELLO, **fields})
    if isinstance(judged, InvalidSubmission):
        assert not any(printable.find_unprintable(error.place + error.detail) for error in judged.errors)
        return
    message = judged.message
    texts = [*message.headers.items(), *message.unsubscribe_headers.items(), *message.metadata.items()]
    for text in (*(text for pair in texts for text in pair), *message.tags):
        assert not {*text} & {*map(chr, range(32)), "\x7f"}
        text.encode()


def test_the_fields_fit_into_a_header_line():
    assert header_fields.MAX_UNSUBSCRIBE + len("List-Unsubscribe: <mailto:>,") < 998
