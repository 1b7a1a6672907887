"""Headers as bytes: what the sender wrote is what a mail program reads (RFC 5322, RFC 2047), in lines that every server takes."""

import datetime as dt
import email
import re
import uuid
from email.header import decode_header, make_header
from email.utils import getaddresses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mails.intake.submission import ValidSubmission, judge
from mails.message import mime
from mails.message.message import Mailbox
from mails.tests.builders import HERA, IRIS, ZEUS
from providers.transports.mime import MAX_LINE, build_content

NOON = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
MAIL_ID = uuid.UUID(int=7)
SHARP = st.text("aZ1 \"\\,;:<>()@[]=?_.'äΩ語😀\u200d\xa0", max_size=60)
LINE = SHARP | st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=80)


def bytes_of(**fields):
    judged = judge({"sender": ZEUS, "text": "Hi"} | fields)
    if not isinstance(judged, ValidSubmission):
        return None, judged.errors
    return judged.message, build_content(mime.build_message(MAIL_ID, judged.message, accepted_at=NOON))


def read(value):
    """The text of a header (RFC 2047 §6.2). Python's newer policy keeps the blank between two encoded words of a name."""
    return flat(str(make_header(decode_header(value)))) if value else ""


def read_mailboxes(value):
    return [(read(name), address) for name, address in getaddresses([value])]


def assert_is_wire_format(source):
    assert source.isascii()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", source)
    assert max(map(len, source.split(b"\r\n"))) <= MAX_LINE
    head = source.partition(b"\r\n\r\n")[0]
    assert all(re.match(rb"[!-9;-~]+: ?|[ \t]+\S", line) for line in head.split(b"\r\n"))


def flat(text):
    """The text as a mail program shows it: what folds a line is one blank."""
    return " ".join(text.split())


@settings(deadline=None, max_examples=300)
@given(name=LINE, cc=LINE, sender=LINE, subject=LINE, header=LINE)
def test_names_and_headers_are_read_as_they_were_written(name, cc, sender, subject, header):
    fields = {
        "to": [{"email": HERA, "name": name}, IRIS],
        "cc": [{"email": "ares@olimpus.com", "name": cc}],
        "reply_to": [{"email": ZEUS, "name": cc}],
        "sender": Mailbox(address=ZEUS, name=sender).shown,
        "subject": subject,
        "headers": {"X-Note": header} if header.strip() else {},
    }
    message, source = bytes_of(**fields)
    if message is None:
        return
    assert_is_wire_format(source)
    parsed = email.message_from_bytes(source)
    recipients = message.recipients
    assert read_mailboxes(parsed["To"]) == [(flat(recipients[0].name), HERA), ("", IRIS)]
    assert read_mailboxes(parsed["Cc"]) == [(flat(recipients[2].name), "ares@olimpus.com")]
    assert read_mailboxes(parsed["Reply-To"]) == [(flat(message.reply_to[0].name), ZEUS)]
    assert read_mailboxes(parsed["From"]) == [(flat(sender), ZEUS)]
    assert read(parsed["Subject"]) == flat(subject)
    assert read(parsed["X-Note"]) == flat(header)


def test_blind_copies_are_in_no_header():
    message, source = bytes_of(bcc=[HERA, {"email": IRIS, "name": "Iris"}])

    assert [recipient.address for recipient in message.recipients] == [HERA, IRIS]
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in source
    assert not any(word in source for word in (b"hera", b"iris", b"Iris", b"Bcc"))


def test_the_longest_headers_fit_on_lines():
    ids = " ".join(f"<{number}.{'x' * 30}@olimpus.com>" for number in range(35))
    url = "https://olimpus.com/" + "x" * 770
    headers = {
        "References": ids,
        "X-Word": "x" * 900,
        "X-" + "n" * 62: "x" * 900,
        "X-Long": " ".join(["Ω" * 499] * 4),
        "X-Blanks": "x " * 999 + "x",
    }

    _, source = bytes_of(
        to=HERA, headers=headers, unsubscribe_url=url, unsubscribe_mailto="stop@olimpus.com?subject=stop"
    )

    assert_is_wire_format(source)
    parsed = email.message_from_bytes(source)
    assert {name: read(parsed[name]) for name in headers} == headers
    assert read(parsed["List-Unsubscribe"]) == f"<{url}>, <mailto:stop@olimpus.com?subject=stop>"
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_text_and_html_are_alternatives_of_each_other():
    _, source = bytes_of(to=HERA, html="<p>Grüße\n" + "x" * 2000)
    parsed = email.message_from_bytes(source)

    assert_is_wire_format(source)
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parsed.get_payload()] == ["text/plain", "text/html"]
    assert parsed.get_payload(1).get_payload(decode=True).decode() == "<p>Grüße\r\n" + "x" * 2000 + "\r\n"


def test_html_alone_is_sent_with_the_text_that_is_derived_from_it():
    _, source = bytes_of(to=HERA, text=None, html="<p>Hi <b>Hera</b></p>")

    assert [part.get_payload() for part in email.message_from_bytes(source).get_payload()] == [
        "Hi Hera\r\n",
        "<p>Hi <b>Hera</b></p>\r\n",
    ]


@pytest.mark.parametrize(
    "subject",
    [
        "Ω" * 512,
        "語" * 30,
        "Grüße aus dem Olymp, und zwar an alle, die heute noch kommen: es gibt Nektar und Ambrosia",
        "😀" * 40,
        "x" * 512,
        "Grüße   mit   Abständen " + "x" * 80,
        "=?iso-8859-1?q?" + "a" * 100 + "?=",
    ],
)
def test_a_header_begins_on_its_first_line(subject):
    names = [
        {"email": HERA, "name": "Ἥρα, βασίλισσα τοῦ Ὀλύμπου καὶ μήτηρ πολλῶν θεῶν"},
        {"email": IRIS, "name": "x" * 90},
    ]
    headers = {"X-Note": subject, "X-" + "n" * 60: subject, "References": "<" + "r" * 200 + "@olimpus.com>"}
    message, source = bytes_of(
        to=names, subject=subject, headers=headers, unsubscribe_url="https://olimpus.com/" + "x" * 700
    )

    head = source.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert not [line for line in head if re.fullmatch(rb"[!-9;-~]+:\s*", line)]
    assert_is_wire_format(source)
    parsed = email.message_from_bytes(source)
    assert not [name for name, value in parsed.items() if value != value.strip()]
    assert [read(parsed[name]) for name in ("Subject", *headers)] == [
        flat(read(text)) for text in (subject, *headers.values())
    ]
    assert read_mailboxes(parsed["To"]) == [(recipient.name, recipient.address) for recipient in message.recipients]
    assert (
        bytes_of(to=names, subject=subject, headers=headers)[1]
        == bytes_of(to=names, subject=subject, headers=headers)[1]
    )


def test_encoded_words_keep_their_lines_short():
    _, source = bytes_of(to=[{"email": HERA, "name": "Ω" * 100}], subject="語" * 200, headers={"X-Note": "ü" * 300})

    head = source.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert max(len(line) for line in head if b"=?" in line) <= 76
