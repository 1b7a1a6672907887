"""What Django cannot read of a request: an answer that names it, instead of an error or a file that is lost."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponseBase
from django.http.multipartparser import MultiPartParser
from django.utils.http import parse_header_parameters

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_WITH_PARAMETERS = ("Content-Disposition",)
_FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
_UTF_8 = frozenset({"", "utf-8", "utf8", "us-ascii"})
_NAMELESS = "file"


class LenientRequest(WSGIRequest):
    """A request that can be made, and so be answered, whatever its Content-Type is. Its address and form are UTF-8.

    Django reads the type before any middleware. It fails at a parameter in a character set that does not exist, and takes
    the character set of a body for that of the address as well, and any codec of Python for a character set.
    """

    is_type_unreadable = False

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:
            self.is_type_unreadable = True
            self.content_type, self.content_params = "", {}

    def parse_file_upload(self, META: Any, post_data: Any) -> Any:  # noqa: N803 (Django's own signature)
        """Return the fields and files of a form, also the files whose names say nothing."""
        return _FormParser(META, post_data, self.upload_handlers, self.encoding).parse()


class _FormParser(MultiPartParser):
    """Reads forms. Django leaves out a file that is called `..` or `/`: its email would be sent without it."""

    def sanitize_file_name(self, file_name: str) -> str:
        """Return the last step of the name, or a name for a file whose name has none."""
        return super().sanitize_file_name(file_name) or _NAMELESS


def refuse_unreadable_headers(get_response: GetResponse) -> GetResponse:
    """Answer 400 to headers whose parameters cannot be read, and to forms that are not in UTF-8."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        unreadable = [name for name in _WITH_PARAMETERS if not _is_readable(request.headers.get(name, ""))]
        if getattr(request, "is_type_unreadable", False):
            unreadable.append("Content-Type")
        if unreadable:
            raise BadRequest(f"The parameters of {unreadable[0]} cannot be read; write them in UTF-8 (RFC 8187).")
        _refuse_other_charsets(request)
        return get_response(request)

    return middleware


def _refuse_other_charsets(request: HttpRequest) -> None:
    charset = (request.content_params or {}).get("charset", "")
    if request.content_type in _FORMS and charset.strip("\"' ").lower() not in _UTF_8:
        raise BadRequest(f"The charset '{charset[:40]}' is not supported. Send the form as UTF-8.")


def _is_readable(header: str) -> bool:
    try:
        parse_header_parameters(header)
    except ValueError:
        return False
    return True
