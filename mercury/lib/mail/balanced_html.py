"""HTML as a flat stream of elements that are all closed: what may be parsed as browsers do without costing minutes or memory.

Browsers' rules take quadratic time for elements within each other and for attributes of one element (2 MB took minutes), and
repeat fonts that are never closed in each paragraph (25 kB became 26 MB). libxml2 reads the same HTML in linear time.
"""

from functools import cache
from html import escape
from typing import Any

MAX_DEPTH = 256  # elements within each other, as libxml2 has it; the HTML is cut at the first that is deeper
_EMPTY = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
_LEFT_OUT = frozenset({"script", "style", "title"})  # with their contents
# Their contents stay, and are read as HTML only without them.
_UNWRAPPED = frozenset({"iframe", "listing", "noembed", "noframes", "noscript", "plaintext", "textarea", "xmp"})


class _TooDeep(Exception):
    """The HTML is cut here."""


class _Writer:
    """Writes the elements as the parser tells of them."""

    def __init__(self, attributes: frozenset[str]) -> None:
        self._attributes = attributes
        self._depth = 0
        self._left_out = 0
        self.written: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag not in _EMPTY:
            self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooDeep
        if tag in _LEFT_OUT:
            self._left_out += 1
        elif tag not in _UNWRAPPED:
            kept = (f' {name}="{escape(value)}"' for name, value in attributes.items() if name in self._attributes)
            self.written.append(f"<{tag}{''.join(kept)}>")

    def end(self, tag: str) -> None:
        if tag in _EMPTY:
            return
        self._depth -= 1
        if tag in _LEFT_OUT:
            self._left_out -= 1
        elif tag not in _UNWRAPPED:
            self.written.append(f"</{tag}>")

    def data(self, text: str) -> None:
        if not self._left_out:
            self.written.append(escape(text, quote=False))

    def comment(self, text: str) -> None:
        """Leave it out."""

    def pi(self, target: str, data: str | None = None) -> None:
        """Leave it out."""

    def close(self) -> None:
        """Do nothing: `written` has it."""


def balance(html: str, *, attributes: frozenset[str]) -> str:
    """Return the HTML with each element closed and with these attributes alone, without comments, scripts and styles.

    It is no cleaner: what it returns may still run and load. HTML that is nested deeper than MAX_DEPTH is cut there.
    """
    etree = _load_lxml()
    writer = _Writer(attributes)
    parser = etree.HTMLParser(target=writer, encoding="utf-8")
    try:
        parser.feed(html.encode("utf-8", "replace"))
        parser.close()
    except (_TooDeep, etree.XMLSyntaxError):  # XMLSyntaxError: there is no element in it
        pass
    return "".join(writer.written)


@cache
def _load_lxml() -> Any:
    """Return lxml's parser: 7 MB, only for those who send or look at HTML."""
    from lxml import etree  # noqa: PLC0415

    return etree
