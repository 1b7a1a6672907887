"""The text part of an email that has HTML alone: what it says, for programs and people that show no HTML.

inscriptis turns the elements into lines. What could make much text of little HTML is left out: aligned tables, margins and
paddings of styles. So the text is never much longer than the HTML.
"""

import re
from functools import cache
from typing import Any

import structlog

from mercury.lib.mail.balanced_html import balance

log = structlog.get_logger(__name__)

MAX_READ = 100_000  # characters of HTML, and of text: Gmail shows no more of an email (102 kB), and they take a tenth of a second
GOES_ON = "[The HTML of this email goes on.]"
_READ = frozenset({"alt", "href", "start", "style", "title"})  # attributes
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_MANY_EMPTY_LINES = re.compile(r"\n{3,}")
_SHOWN_LINKS = ("https://", "http://", "mailto:", "tel:")


def derive_text(html: str) -> str:
    """Return what the HTML says, as plain text: its beginning if it is long; empty if it says nothing."""
    try:
        text = _load_converter()(balance(html[:MAX_READ], attributes=_READ))
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:  # HTML is what somebody wrote: no text at all, then
        log.warning("text_not_derived", error=type(error).__name__)
        return ""
    lines = "\n".join(line.rstrip() for line in text.replace("\0", "").splitlines())
    text = _MANY_EMPTY_LINES.sub("\n\n", lines).strip("\n")[:MAX_READ]
    goes_on = len(html) > MAX_READ or len(text) == MAX_READ
    return f"{text}\n\n{GOES_ON}" if text and goes_on else text


@cache
def _load_converter() -> Any:
    """Return the function that makes text of HTML. Loads inscriptis and lxml: 7 MB, only for those who send HTML alone."""
    from inscriptis.css_profiles import CSS_PROFILES  # noqa: PLC0415
    from inscriptis.html_engine import Inscriptis  # noqa: PLC0415
    from inscriptis.html_properties import Display  # noqa: PLC0415
    from inscriptis.model.config import ParserConfig  # noqa: PLC0415
    from inscriptis.model.html_element import HtmlElement  # noqa: PLC0415
    from inscriptis.model.tag import CustomHtmlTagHandlerMapping  # noqa: PLC0415
    from lxml import etree  # noqa: PLC0415
    from lxml.html import HTMLParser, document_fromstring  # noqa: PLC0415

    def hide(style: str, element: Any) -> None:
        if _HIDDEN.search(style):
            element.display = Display.none

    block = HtmlElement(display=Display.block)
    indented = HtmlElement(display=Display.block, padding_inline=2)
    handlers = CustomHtmlTagHandlerMapping(
        start_tag_mapping=dict.fromkeys(("table", "tr", "td", "th"), _ignore),
        end_tag_mapping={"table": _ignore, "td": _separate, "th": _separate},
    )
    config = ParserConfig(
        css=CSS_PROFILES["strict"] | {"table": block, "tr": block, "ul": indented, "ol": indented},
        display_images=True,  # their texts
        custom_html_tag_handler_mapping=handlers,
    )
    config.attribute_handler.attribute_mapping = {"style": hide}

    def convert(html: str) -> str:
        parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
        try:
            tree = document_fromstring(html.encode(), parser=parser)
        except etree.ParserError:  # there is no element in it
            return ""
        for link in tree.iter("a"):
            _write_target(link)
        return str(Inscriptis(tree, config).get_text())

    return convert


def _write_target(link: Any) -> None:
    """Write the target of a link behind its text, unless the text names it."""
    target = link.get("href", "").strip()
    if not target.lower().startswith(_SHOWN_LINKS) or target.removeprefix("mailto:") in link.text_content():
        return
    written = f" ({target.removeprefix('mailto:')})"
    if len(link):
        link[-1].tail = (link[-1].tail or "") + written
    else:
        link.text = (link.text or "") + written


def _ignore(_state: Any, _attributes: Any = None) -> None:
    """Treat a cell, a row or a table as any other element."""


def _separate(state: Any) -> None:
    """Write a blank behind a cell."""
    state.tags[-1].write(" ")
