"""Pictures that an email carries, each at a path of its own, for the frame that shows the HTML.

Browsers send no cookie from that frame, because its origin is opaque. So the path is signed, by the page that was allowed to
show the email, for this picture and a few minutes. Only pictures are answered, whatever type the email claims.
"""

import re
import time
from urllib.parse import unquote

from django.core.signing import Signer
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

STEP = 300  # seconds; a path holds for one to two of them, and is the same within one, so that browsers can cache it
TYPES = frozenset({"image/png", "image/gif", "image/jpeg", "image/webp"})

_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"
_BEGINNINGS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
_signer = Signer(salt="mercury.picture")


def sign(path: str) -> str:
    """Return the path of a picture with a signature that is valid for some minutes."""
    until = str((int(time.time()) // STEP + 2) * STEP)
    return f"{path}?until={until}&signature={_make_signature(unquote(path), until)}"


def check_signature(request: HttpRequest) -> None:
    """Raise Http404 unless the request's path has been signed, and still holds."""
    until = request.GET.get("until", "")
    expected = _make_signature(request.path, until)
    is_signed = constant_time_compare(request.GET.get("signature", ""), expected)
    if not is_signed or int(until) < time.time():
        raise Http404("The link to this picture has expired. Reload the page that shows it.")


def find_type(content: bytes) -> str:
    """Return the media type of a picture by its first bytes; empty for anything else, SVG included."""
    return next((kind for beginning, kind in _BEGINNINGS if beginning.match(content)), "")


def build_response(content: bytes) -> HttpResponse:
    """Return the picture for the frame. Raises Http404 for content that is none."""
    kind = find_type(content)
    if not kind:
        raise Http404("This part is no PNG, GIF, JPEG or WebP picture.")
    answer = HttpResponse(content, content_type=kind)
    answer["Content-Security-Policy"] = _POLICY
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Referrer-Policy"] = "no-referrer"
    answer["Cache-Control"] = f"private, max-age={STEP}"
    return answer


def _make_signature(path: str, until: str) -> str:
    return _signer.signature(f"{path}?{until}")
