"""The download links of an email, as its text and its HTML show them. Pure: the same links give the same characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import escape

TITLE = "Files to download"
_HTML = (
    '<div style="margin-top:24px;padding-top:12px;border-top:1px solid #8a8a8a;font-family:sans-serif;line-height:1.5">'
    '<p style="margin:0 0 8px"><strong>{title}</strong></p>{links}</div>'
)
_HTML_LINK = '<p style="margin:0 0 8px"><a href="{url}"><bdi>{name}</bdi></a><br>{details}</p>'


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLink:
    """A download link as a recipient sees it."""

    filename: str
    details: str  # size and expiry, in words
    url: str


def add_to_text(text: str, links: Sequence[ShownLink]) -> str:
    """Return the text with the links at its end."""
    listed = [f"{link.filename}\n{link.details}\n{link.url}\n" for link in links]
    return "\n".join([f"{text.rstrip()}\n\n" * bool(text.strip()) + f"{TITLE}:\n", *listed])


def add_to_html(html: str, links: Sequence[ShownLink]) -> str:
    """Return the HTML with the links at the end of its body."""
    listed = [
        _HTML_LINK.format(url=escape(link.url), name=escape(link.filename), details=escape(link.details))
        for link in links
    ]
    end = _find_end_of_body(html)
    return html[:end] + _HTML.format(title=TITLE, links="".join(listed)) + html[end:]


def _find_end_of_body(html: str) -> int:
    """Return where the last </body>, or else the last </html>, begins; the length if there is neither. Skips comments.

    In one pass: a regular expression for comments would take quadratic time where none of many is closed.
    """
    lower = html.lower()
    if len(lower) != len(html):  # a letter whose small form has more characters
        lower = "".join(char.lower() if char.isascii() else char for char in html)
    ends = {"</body": -1, "</html": -1}
    position = 0
    while True:
        comment = lower.find("<!--", position)
        stop = comment if comment >= 0 else len(lower)
        ends = {tag: max(end, lower.rfind(tag, position, stop)) for tag, end in ends.items()}
        closed = lower.find("-->", comment + 4) if comment >= 0 else -1
        if closed < 0:
            return next((end for end in ends.values() if end >= 0), len(html))
        position = closed + 3
