"""The text part of an email that has HTML alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.intake.submission import judge
from mails.message import html_text
from mails.message.html_text import GOES_ON, MAX_READ, derive_text
from mails.tests.builders import HELLO

WHOLE = """<!doctype html><html><head><title>Order</title><style>p { color: red }</style></head><body>
<p style="DISPLAY : none">A preheader</p><!-- a comment --><script>alert(1)</script>
<h1>Hello &amp; welcome</h1><p>Dear Ἥρα,<br>your <b>crown</b> is on its way.</p>
<ul><li>gold</li><li>jewels</li></ul>
<table><tr><td>Crown</td><td>5 €</td></tr><tr><td>Postage</td><td>1 €</td></tr></table>
<p><a href="https://olimpus.com/track?id=17">Track <b>it</b></a> <a href="javascript:alert(1)">or not</a>
<a href="https://olimpus.com">https://olimpus.com</a> <a href="mailto:zeus@olimpus.com">Write</a></p>
<img src="logo.png" alt="Olimpus"></body></html>"""


def test_what_the_html_says_is_kept_in_lines():
    assert derive_text(WHOLE).split("\n") == [
        "Hello & welcome",
        "",
        "Dear Ἥρα,",
        "your crown is on its way.",
        "",
        "* gold",
        "* jewels",
        "Crown 5 €",
        "Postage 1 €",
        "",
        "Track it (https://olimpus.com/track?id=17) or not https://olimpus.com Write (zeus@olimpus.com)",
        "",
        "[Olimpus]",
    ]


@pytest.mark.parametrize(
    "html", ["", " ", "<!-- nothing -->", "<html></html>", "<img src='x.png'>", "<style>a{}</style>"]
)
def test_html_that_says_nothing_has_no_text(html):
    assert derive_text(html) == ""


@pytest.mark.parametrize("start", ["<?xml version='1.0' encoding='utf-16'?>", "\ufeff", "<meta charset='latin-1'>"])
def test_the_html_is_read_as_unicode_whatever_it_says(start):
    assert derive_text(f"{start}<p>Grüße").strip("\ufeff") == "Grüße"


@pytest.mark.parametrize(
    "html",
    [
        "<p style='margin: 99999999em; padding-left: 99999999px'>x" * 3,
        "<table><tr><td>" + "x" * 50_000 + "<tr><td>y" * 5_000,
        "<ul>" * 90 + "<li>x" * 20_000,
        "<div>" * 100_000 + "x",
        "<a href='https://x'>" * 20_000,
        "x" * 10_000_000,
    ],
)
def test_no_html_makes_much_more_text_than_it_has(html):
    assert len(derive_text(html)) <= MAX_READ + len(GOES_ON) + 2


def test_long_html_has_its_beginning_as_text():
    text = derive_text("<p>Hi</p>" + "<i>x</i>" * 50_000)

    assert text.startswith("Hi\n\nxxx")
    assert text.endswith(GOES_ON)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.text("<>/abpi&#;!-=\"' \n"))
def test_any_html_has_a_text_that_can_be_stored(html):
    text = derive_text(html)

    assert "\0" not in text
    assert text.encode() or not text


def test_html_that_cannot_be_read_has_no_text(monkeypatch):
    def fail(html):
        raise ValueError

    monkeypatch.setattr(html_text, "_load_converter", lambda: fail)

    assert derive_text("<p>Hi") == ""


def test_the_text_is_derived_only_where_there_is_none():
    assert judge({**HELLO, "content": "", "html": "<p>Hello</p>"}).message.text == "Hello"
    assert judge({**HELLO, "html": "<p>Hello</p>"}).message.text == HELLO["content"]
    assert judge({**HELLO, "content": None, "html": ""}).message.text == ""
