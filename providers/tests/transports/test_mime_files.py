"""Files of an email: each arrives byte for byte, under its name, where the reader's program looks for it."""

import email
import email.policy
import re
import tracemalloc

import pytest
from django.core.mail.message import EmailAttachment
from hypothesis import given
from hypothesis import strategies as st

from providers.tests.support import accounts
from providers.transports import mime
from providers.transports.mime import OutgoingEmail
from providers.transports.mime_files import InlineFile

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def an_email(*attachments, text="Hi", html="", **changes):
    made = OutgoingEmail(
        **{
            "shown_to": ["hera@olimpus.com"],
            "subject": "Grüße",
            "body": text,
            "from_email": "zeus@olimpus.com",
            "to": ["hera@olimpus.com"],
            "headers": {"Date": "Sun, 29 Nov 2026 00:39:25 +0000", "Message-ID": f"<{accounts.MAIL_ID}@olimpus.com>"},
        }
        | changes
    )
    if html:
        made.attach_alternative(html, mime.HTML)
    made.attachments = list(attachments)
    return made


def attached(content=PNG, filename="crown.png", content_type="image/png"):
    return EmailAttachment(filename, content, content_type)


def inline(content=PNG, content_id="crown", filename="crown.png"):
    return InlineFile(filename, content, "image/png", content_id)


def parse(message):
    content = mime.build_content(message)
    assert content.endswith(b"\r\n")
    assert not re.search(rb"[^\t\r\n -~]", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", content)
    return email.message_from_bytes(content, policy=email.policy.default)


def shape(part):
    return (
        [part.get_content_subtype(), *map(shape, part.iter_parts())] if part.is_multipart() else part.get_content_type()
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (an_email(attached()), ["mixed", "text/plain", "image/png"]),
        (an_email(attached(), html="<b>Hi</b>"), ["mixed", ["alternative", "text/plain", "text/html"], "image/png"]),
        (an_email(inline(), html="<b>Hi</b>"), ["related", ["alternative", "text/plain", "text/html"], "image/png"]),
        (
            an_email(inline(), attached(), attached(), html="<b>Hi</b>"),
            ["mixed", ["related", ["alternative", "text/plain", "text/html"], "image/png"], "image/png", "image/png"],
        ),
    ],
)
def test_parts_are_where_the_standard_has_them(message, expected):
    parsed = parse(message)

    assert shape(parsed) == expected
    assert not list(parsed.defects) + [defect for part in parsed.walk() for defect in part.defects]
    assert parsed["Subject"] == "Grüße"
    assert parsed["MIME-Version"] == "1.0"
    assert parsed.get_body(("plain",)).get_content().strip() == "Hi"


def test_html_without_text_is_the_root_of_its_images():
    message = an_email(inline(), text='<img src="cid:crown">')
    message.content_subtype = "html"

    parsed = parse(message)

    assert shape(parsed) == ["related", "text/html", "image/png"]
    assert parsed.get_param("type") == "text/html"
    _, image = parsed.iter_parts()
    assert image["Content-ID"] == "<crown>"
    assert image.get_content_disposition() == "inline"
    assert image.get_content() == PNG


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=100)


@given(st.binary(max_size=2000), NAMES.filter(lambda name: name == name.strip()))
def test_any_file_arrives_as_it_was_under_its_name(content, filename):
    _, part = parse(an_email(attached(content, filename, "application/x-any"))).iter_parts()

    assert part.get_content() == content
    assert part.get_content_disposition() == "attachment"
    # As Python's older parser reads it: the newer one also decodes what only looks like an encoded word.
    built = email.message_from_bytes(mime.build_content(an_email(attached(content, filename, "application/x-any"))))
    assert built.get_payload(1).get_filename() == filename


@pytest.mark.parametrize(
    "filename", ["crown.png", "the crown.png", 'a"b.png', "Blätter ☘.pdf", "x" * 200, "ж" * 100, "a;b.png"]
)
def test_a_name_arrives_whatever_is_in_it(filename):
    _, part = parse(an_email(attached(filename=filename))).iter_parts()

    assert part.get_filename() == filename


@pytest.mark.parametrize("content", [b"a\nb\r\nc\rd", b"From me\n.\n", b"\xff\xfe", b"", "Grüße".encode("latin-1")])
def test_a_text_file_is_not_changed(content):
    _, part = parse(an_email(attached(content, "a.txt", "text/plain"))).iter_parts()

    assert part.get_payload(decode=True) == content


@pytest.mark.parametrize("content_type", ["message/rfc822", "message/partial", "multipart/mixed"])
def test_a_file_is_never_read_as_parts_of_the_email(content_type):
    bomb = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n" * 1000

    parsed = parse(an_email(attached(bomb, "a.eml", content_type)))

    assert shape(parsed) == ["mixed", "text/plain", "application/octet-stream"]
    _, part = parsed.iter_parts()
    assert part.get_content() == bomb


def test_an_email_is_the_same_bytes_each_time():
    first, second = (mime.build_content(an_email(inline(), attached(), html="<b>Hi</b>")) for _ in range(2))

    assert first == second


@pytest.mark.parametrize(
    "attachment",
    [
        attached(content_type="image/png\r\nBcc: hades@olimpus.com"),
        inline(content_id="a>\r\nBcc: hades@olimpus.com"),
        EmailAttachment("a", "text", "text/plain"),
        object(),
    ],
)
def test_what_would_end_a_header_is_not_written(attachment):
    with pytest.raises(ValueError, match=r"attachment|header"):
        mime.build_content(an_email(attachment))


def test_the_size_of_files_counts_for_the_thread_that_builds():
    assert mime.measure(an_email(attached(), inline(), html="<b>Hi</b>")) == 2 + 9 + 2 * len(PNG)


def test_a_large_file_needs_a_few_times_its_size():
    message = an_email(attached(bytes(10_000_000)))
    tracemalloc.start()
    try:
        content = mime.build_content(message)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 2.3 * len(content)


def test_anymail_finds_the_same_files():
    from anymail.utils import Attachment

    image, file = (Attachment(attachment) for attachment in an_email(inline(), attached()).attachments)

    assert (image.inline, image.cid, image.content, image.mimetype) == (True, "crown", PNG, "image/png")
    assert (file.inline, file.name, file.content, file.mimetype) == (False, "crown.png", PNG, "image/png")
