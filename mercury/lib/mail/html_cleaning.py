"""Cleans the HTML of an email, and builds the response that carries it. Three fences, each of which holds alone.

The cleaner takes out what runs, loads or sends; the answer's own Content-Security-Policy forbids it once more; and the
page shows the answer in a frame without any allowance.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import nh3
from django.http import HttpResponse
from django.utils.html import escape

from mercury.lib.mail.balanced_html import balance
from mercury.lib.mail.printable import replace_unprintable

POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self'; frame-ancestors 'self'"
POLICY_WITH_REMOTE_IMAGES = POLICY.replace("img-src data: 'self'", "img-src data: 'self' https: http:")
AT_MOST = 2_000_000  # characters; more is cut

_TAGS = (nh3.ALLOWED_TAGS | {"font", "tfoot"}) - {"area", "map"}
_EVERYWHERE = {"align", "bgcolor", "dir", "height", "lang", "role", "style", "title", "valign", "width"}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": _EVERYWHERE,
    "a": {"href"},
    "font": {"color", "face", "size"},
    "img": {"alt", "border", "src"},
    "ol": {"start", "type"},
    "table": {"border", "cellpadding", "cellspacing"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_ANY_ATTRIBUTE = frozenset().union(*_ATTRIBUTES.values())
_HARMLESS_STYLES = """
    background background-color border border-bottom border-collapse border-color border-left border-radius border-right
    border-spacing border-style border-top border-width box-sizing clear color direction display float font font-family
    font-size font-style font-weight height letter-spacing line-height list-style-type margin margin-bottom margin-left
    margin-right margin-top max-height max-width min-height min-width overflow overflow-wrap padding padding-bottom
    padding-left padding-right padding-top text-align text-decoration text-indent text-transform vertical-align
    white-space width word-break word-spacing
"""
_STYLES = set(_HARMLESS_STYLES.split())
_PICTURE = re.compile(r"data:image/(png|gif|jpeg|webp)[;,]", re.IGNORECASE)
_LOADS = re.compile(r"url|image|src|\\", re.IGNORECASE)  # \\ begins an escape, which may spell any of them
_REMOTE = re.compile(r"\s*https?://", re.IGNORECASE)
_LEADS = re.compile(r"\s*(https?|mailto|tel):", re.IGNORECASE)
_PAGE = (
    '<!doctype html><html><head><meta charset="utf-8"><title>HTML of an email</title><style>'
    "html{{background:#fff;color:#000;color-scheme:light}}"
    "body{{margin:1rem;font:1rem/1.5 serif;overflow-wrap:break-word}}img{{max-width:100%}}"
    "pre{{white-space:pre-wrap;font:1rem/1.5 serif}}"
    "</style></head><body>{}</body></html>"
)


@dataclass(frozen=True, slots=True)
class CleanHtml:
    """HTML without scripts, forms, frames, styles of its own page, and, unless asked for, remote images."""

    text: str
    remote_images: int  # as many want to be fetched from elsewhere


def clean(html: str, *, pictures: Mapping[str, str], remote_images: bool) -> CleanHtml:
    """Return the HTML without anything that runs, sends or redirects by itself.

    `pictures`: URLs of the pictures that the mail carries, by Content-ID. Links stay readable and open nothing: the frame
    allows no new window. Remote images keep their address only with `remote_images`.
    """
    found, ours = 0, frozenset(pictures.values())

    def filter_attribute(tag: str, attribute: str, value: str) -> str | None:
        nonlocal found
        if attribute == "style":
            if not _LOADS.search(value):
                return value
            found += 1
            return value if remote_images else None
        if attribute == "href":
            return value if _LEADS.match(value) else None
        if (tag, attribute) != ("img", "src"):  # it is asked about tags that are not kept, too
            return value
        if value.strip().lower().startswith("cid:"):
            content_id = value.strip()[4:]
            return pictures.get(content_id) or pictures.get(unquote(content_id))  # RFC 2392 §2
        if _REMOTE.match(value):
            found += 1
            return value if remote_images else None
        return value if _PICTURE.match(value) else None

    text = nh3.clean(
        balance(html[:AT_MOST], attributes=_ANY_ATTRIBUTE)[:AT_MOST],
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=filter_attribute,
        filter_style_properties=_STYLES,
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        url_relative=lambda url: url if url in ours else None,  # it is asked after the filter
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return CleanHtml(text, found)


def build_response(harmless: CleanHtml, *, remote_images: bool) -> HttpResponse:
    """Return the response for the frame. Only Mercury's own pages may frame it, and it sends no referrer."""
    return _build(harmless.text, POLICY_WITH_REMOTE_IMAGES if remote_images else POLICY)


def build_text_response(text: str, *, status: int = 200) -> HttpResponse:
    """Return plain text for the frame."""
    return _build(f"<pre>{escape(replace_unprintable(text[:AT_MOST]))}</pre>", POLICY, status=status)


def _build(body: str, policy: str, *, status: int = 200) -> HttpResponse:
    answer = HttpResponse(_PAGE.format(body), status=status)
    answer["Content-Security-Policy"] = policy
    answer["X-Frame-Options"] = "SAMEORIGIN"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-DNS-Prefetch-Control"] = "off"  # else a browser looks the hosts of links up, which tells that it was read
    return answer
