"""The download links in the text and in the HTML of an email."""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.message.link_block import ShownLink, add_to_html, add_to_text

CROWN = ShownLink(filename="crown.png", details="12 MB, until 2026-12-29 21:00 UTC", url="https://m.example/files/a")
HARP = ShownLink(filename="harp.pdf", details="1.2 GB, until 2026-12-29 21:00 UTC", url="https://m.example/files/b")


def test_the_text_ends_with_the_links() -> None:
    assert add_to_text("Dear Hera\n", [CROWN, HARP]) == (
        "Dear Hera\n\nFiles to download:\n\n"
        "crown.png\n12 MB, until 2026-12-29 21:00 UTC\nhttps://m.example/files/a\n\n"
        "harp.pdf\n1.2 GB, until 2026-12-29 21:00 UTC\nhttps://m.example/files/b\n"
    )


def test_an_empty_text_has_the_links_alone() -> None:
    assert add_to_text(" \n", [CROWN]).startswith("Files to download:\n\ncrown.png\n")


@pytest.mark.parametrize(
    ("html", "before"),
    [
        ("<html><body><p>Hi</p></body></html>", "<html><body><p>Hi</p>"),
        ("<BODY>Hi</BODY >\n", "<BODY>Hi"),
        ("<html><p>Hi</html>", "<html><p>Hi"),
        ("<p>Hi", "<p>Hi"),
        ("", ""),
        ("<body></body>Hi</body>", "<body></body>Hi"),
        ("<body>Hi</body><!-- </body> -->", "<body>Hi"),
        ("<!-- </body> --><body>Hi</body>", "<!-- </body> --><body>Hi"),
        ("<body>İstanbul</body>", "<body>İstanbul"),
        ("<body>Hi</body><!-- </body>", "<body>Hi"),
    ],
)
def test_the_links_are_at_the_end_of_the_body(html: str, before: str) -> None:
    found = add_to_html(html, [CROWN])
    assert found.startswith(before + "<div ")
    assert found.endswith("</div>" + html[len(before) :])


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.hrefs: list[str | None] = []
        self.words = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.hrefs += [value for name, value in attributes if name == "href"]

    def handle_data(self, data):
        self.words += data


@given(st.text(st.characters(exclude_categories=["C"])))
def test_a_name_is_never_markup(name: str) -> None:
    page = Page()
    page.feed(add_to_html("", [ShownLink(filename=name, details="1 B", url="https://m.example/files/a")]))
    assert page.tags == ["div", "p", "strong", "p", "a", "bdi", "br"]
    assert page.hrefs == ["https://m.example/files/a"]
    assert name in page.words


@pytest.mark.parametrize("hostile", ["<!--" * 2_000_000, "<!---->" * 1_000_000, "</body" * 1_000_000])
def test_hostile_html_takes_no_longer(hostile: str) -> None:
    begin = time.process_time()
    add_to_html(hostile, [CROWN])
    assert time.process_time() - begin < 2
