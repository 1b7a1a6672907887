"""The bytes of an email: the same whatever the server, and the text comes back as it was."""

import email
import email.policy
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.tests.support import accounts
from providers.transports import mime
from providers.transports.mime import OutgoingEmail

DATE = "Sun, 29 Nov 2026 00:39:25 +0000"


def _email(text="Hi", **changes):
    fields = {
        "shown_to": ["hera@olimpus.com"],
        "subject": "You made my day",
        "body": text,
        "from_email": "zeus@olimpus.com",
        "to": ["hera@olimpus.com"],
        "headers": {"Date": DATE, "Message-ID": f"<{accounts.MAIL_ID}@olimpus.com>", "X-Mercury-ID": accounts.MAIL_ID},
    }
    return OutgoingEmail(**fields | changes)


def _text_in(content):
    """The text that a reader's program finds."""
    parsed = email.message_from_bytes(content, policy=email.policy.compat32)
    return parsed.get_payload(decode=True).decode().replace("\r\n", "\n")


def _encoding_of(content):
    return email.message_from_bytes(content)["Content-Transfer-Encoding"]


def _is_fit_for_every_server(content):
    lines = content.split(b"\r\n")
    assert content.endswith(b"\r\n")
    assert not re.search(rb"[^\t\r\n -~]", content)
    assert all(b"\r" not in line and b"\n" not in line and len(line) <= 998 for line in lines)


# What ends a line in Python and nowhere else, what is cut, what controls a terminal, what hides a second email.
PIECES = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1b[31m", "\t", "\t\n", " \n", "-- \n"]
PIECES += ["\r", "\n", "\r\n", "\n.\n", "From ", "Å", "💌", "=", "=20", "x" * 990, "ü" * 500, "hello "]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))))
def test_every_text_arrives_as_it_was_in_lines_that_every_server_takes(pieces):
    text = "".join(pieces).replace("\0", "")
    sent = re.sub("\r\n|\r|\n", "\n", text)

    content = mime.build_content(_email(text))

    _is_fit_for_every_server(content)
    assert _text_in(content) == sent + ("" if sent.endswith("\n") else "\n")


def test_a_large_text_is_encoded_in_parts_that_fit_together():
    line = (
        "Viele Grüße aus dem Olymp, die eine Zeile länger machen, als sie in einer Nachricht sein darf. " * 3 + "-- \n"
    )
    text = line * (3 * mime._QP_PART // len(line))

    content = mime.build_content(_email(text))

    _is_fit_for_every_server(content)
    assert _encoding_of(content) == "quoted-printable"
    assert _text_in(content) == text


def test_a_text_that_looks_like_a_placeholder_stays_where_it_is():
    subject = "=_body_0_" + hashlib.sha256(b"Hi\r\n").hexdigest()[:40]

    parsed = email.message_from_bytes(mime.build_content(_email(subject=subject)), policy=email.policy.default)

    assert (parsed["Subject"], parsed.get_content()) == (subject, "Hi\r\n")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "7bit"),
        ("Hi", "7bit"),
        ("tab\tinside", "7bit"),
        ("x" * 998, "7bit"),
        ("x" * 999, "quoted-printable"),
        ("-- \nzeus", "quoted-printable"),
        ("tab at the end\t\nmore", "quoted-printable"),
        ("\x1b[31mred", "quoted-printable"),
        ("Viele Grüße aus dem Olymp, Zeus", "quoted-printable"),
        ("Ελλάδα, 中文, 日本語", "base64"),
    ],
)
def test_the_encoding_follows_from_the_text(text, encoding):
    assert _encoding_of(mime.build_content(_email(text))) == encoding


def test_a_line_ends_nowhere_but_at_cr_and_lf():
    text = "a" * 500 + "\u2028" + "b" * 500 + "\x85" + "Å" * 500 + "\x0c" + "c" * 500

    content = mime.build_content(_email(text))

    _is_fit_for_every_server(content)
    assert _text_in(content) == text + "\n"


def test_to_names_everybody_although_a_call_goes_to_some():
    everybody = ["hera@olimpus.com", "iris@olimpus.com", "hestia@olimpus.com"]

    first = _email(shown_to=everybody, to=everybody)
    later = _email(shown_to=everybody, to=["iris@olimpus.com"])

    assert later.recipients() == ["iris@olimpus.com"]
    assert mime.build_content(first) == mime.build_content(later)
    assert email.message_from_bytes(mime.build_content(later))["To"] == ", ".join(everybody)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=512))
def test_every_subject_goes_out_in_lines_that_every_server_takes(subject):
    content = mime.build_content(_email(subject=subject.strip()))

    _is_fit_for_every_server(content)


def test_many_recipients_are_folded_into_lines():
    everybody = [f"a-god-with-a-very-long-name-{number}@olimpus.com" for number in range(200)]

    content = mime.build_content(_email(shown_to=everybody))

    _is_fit_for_every_server(content)
    assert re.sub(r"\s+", " ", email.message_from_bytes(content)["To"]) == ", ".join(everybody)


_PIECES_OF_TEXT = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)), max_size=5
).map(lambda pieces: "".join(pieces).replace("\0", ""))


@given(_PIECES_OF_TEXT, _PIECES_OF_TEXT)
def test_both_bodies_arrive_as_they_were_in_lines_that_every_server_takes(text, html):
    message = _email(text)
    message.attach_alternative(html, mime.HTML)

    content = mime.build_content(message)

    _is_fit_for_every_server(content)
    parsed = email.message_from_bytes(content)
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parsed.get_payload()] == ["text/plain", "text/html"]
    for part, body in zip(parsed.get_payload(), (text, html), strict=True):
        sent = re.sub("\r\n|\r|\n", "\n", body)
        found = part.get_payload(decode=True).decode().replace("\r\n", "\n")
        assert found == sent + ("" if sent.endswith("\n") else "\n")
    assert mime.build_content(message) == content


def test_a_text_that_contains_a_boundary_does_not_end_its_part():
    first = _email("Hi")
    first.attach_alternative("<p>Hi</p>", mime.HTML)
    boundary = email.message_from_bytes(mime.build_content(first)).get_boundary()
    message = _email(f"Hi\n--{boundary}--\n")
    message.attach_alternative("<p>Hi</p>", mime.HTML)

    parsed = email.message_from_bytes(mime.build_content(message))

    assert len(parsed.get_payload()) == 2
    assert not parsed.defects


@pytest.mark.parametrize("name", ["X-A\r\nBcc: hera@olimpus.com", "X-A\nBcc", "X A", "X:A", "X-\0", "X-\xe9", ""])
def test_a_headers_name_cannot_begin_another(name):
    with pytest.raises(ValueError, match="name has a character"):
        mime.build_content(_email(headers={name: "1"}))


def test_a_header_that_fits_in_no_line_cannot_be_written():
    headers = {"Date": DATE, "X-Long": "x" * 1000}

    with pytest.raises(ValueError, match="longer than a line"):
        mime.build_content(_email(headers=headers))


def test_addresses_are_listed_without_names():
    assert mime.list_addresses(["hera@olimpus.com", '"Iris <rainbow>" <iris@olimpus.com>', '"a b"@olimpus.com']) == [
        "hera@olimpus.com",
        "iris@olimpus.com",
        '"a b"@olimpus.com',
    ]
