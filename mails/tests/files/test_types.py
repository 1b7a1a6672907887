import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.files.types import OCTETS, choose_type, find_mismatch, parse_type, sniff_type
from mails.tests.files.support import PDF, PNG, TEXT

HTML = b"<html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def a_zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return made.getvalue()


@pytest.mark.parametrize(
    ("declared", "parsed"),
    [
        ("image/png", "image/png"),
        ("Image/PNG; name=crown.png", "image/png"),
        (" text/plain ;charset=utf-8", "text/plain"),
        ("application/vnd.ms-excel", "application/vnd.ms-excel"),
        ("", ""),
        ("png", ""),
        ("image/png\r\nBcc: hades@olimpus.com", ""),
        ("image/" + "x" * 200, ""),
        ("*/*", ""),
    ],
)
def test_a_declared_type_is_a_type_and_nothing_else(declared, parsed):
    assert parse_type(declared) == parsed


@pytest.mark.parametrize(
    ("declared", "content"),
    [
        ("image/png", PNG),
        ("image/x-png", PNG),
        ("application/pdf", PDF),
        ("application/pdf", b"\xef\xbb\xbf" + PDF),
        ("application/zip", a_zip()),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", a_zip()),
        ("text/plain", TEXT),
        ("text/plain", HTML),
        ("text/html", HTML),
        ("image/svg+xml", SVG),
        ("application/xml", b"<?xml version='1.0'?><a/>"),
        ("application/octet-stream", HTML),
        ("application/x-unknown", b"\0\1\2"),
        ("text/csv", PNG),
    ],
)
def test_a_content_can_have_the_declared_type(declared, content):
    assert find_mismatch(declared, content) == ""


@pytest.mark.parametrize(
    ("declared", "content", "found"),
    [
        ("image/png", HTML, "text/html"),
        ("image/png", b"\n <!-- a --> <SCRIPT>alert(1)</SCRIPT>", "text/html"),
        ("image/png", PDF, "application/pdf"),
        ("image/jpeg", PNG, "image/png"),
        ("image/jpg", PNG, "image/png"),
        ("image/gif", SVG, "image/svg+xml"),
        ("audio/mpeg", HTML, "text/html"),
        ("image/vnd.unknown", SVG, "image/svg+xml"),
        ("application/pdf", TEXT, "something else"),
        ("image/x-icon", b"\xef\xbb\xbf<html>", "text/html or other markup"),
        ("image/avif", "\ufeff<html>".encode("utf-16-le"), "text/html or other markup"),
        ("image/avif", b"<title>x</title><script>", "text/html or other markup"),
        ("video/mp4", b"<!-- " + b"a" * 5000 + b" --><html>", "text/html or other markup"),
        ("audio/mpeg", b" <img src=x onerror=y>", "text/html or other markup"),
        ("application/vnd.oasis.opendocument.text", PNG, "image/png"),
    ],
)
def test_a_content_that_is_something_else_is_found_out(declared, content, found):
    assert find_mismatch(declared, content) == found


@pytest.mark.parametrize(
    ("declared", "filename", "content", "chosen"),
    [
        ("image/png", "a.txt", PNG, "image/png"),
        ("", "crown", PNG, "image/png"),
        (OCTETS, "crown", PDF, "application/pdf"),
        ("", "crown.txt", TEXT, "text/plain"),
        ("", "crown", TEXT, OCTETS),
        ("", "crown.png", HTML, "text/html"),
    ],
)
def test_without_a_declared_type_content_and_name_decide(declared, filename, content, chosen):
    assert choose_type(declared, filename, content) == chosen


@given(st.binary(max_size=5000))
def test_any_content_has_a_type_or_none(content):
    found = sniff_type(content)

    assert found == "" or parse_type(found) == found
    assert isinstance(find_mismatch("image/png", content), str)
