"""What Django cannot read of a request: an answer that names it, instead of an error or a file that is lost."""

from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, TooManyFilesSent
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponseBase, multipartparser
from django.http.multipartparser import MultiPartParser, MultiPartParserError, Parser
from django.utils.encoding import force_str
from django.utils.http import parse_header_parameters

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_WITH_PARAMETERS = {"HTTP_CONTENT_DISPOSITION": "Content-Disposition"}  # by their names in META
_FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
_UTF_8 = frozenset({"", "utf-8", "utf8", "us-ascii"})
_NAMELESS = "file"
_SHOWN = 40  # characters of the name of a part


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


class _Parts(Parser):
    """The parts of a form. Django takes a file without a name for text, and leaves out one whose part has no name.

    A field of a browser in which no file was chosen has an empty name and no bytes: it is left out.
    """

    def __iter__(self) -> Iterator[Any]:
        """Yield the parts. Raises MultiPartParserError that names the one whose file would be lost."""
        left_out = 0
        for kind, headers, content in super().__iter__():
            _, parameters = headers.get("content-disposition", ("", {}))
            if "filename" not in parameters:
                yield kind, headers, content
                continue
            part = force_str(parameters.get("name", b""), errors="replace").strip()
            if not part:
                raise MultiPartParserError("a file is in a part without a name")
            if parameters["filename"]:
                yield kind, headers, content
                continue
            if content.read(1):
                raise MultiPartParserError(
                    f"the file in the part '{part[:_SHOWN]}' has no name; send it with a filename"
                )
            left_out += 1  # counted like the others, of which Django allows a number
            if left_out > settings.DATA_UPLOAD_MAX_NUMBER_FILES:
                raise TooManyFilesSent


multipartparser.Parser = _Parts  # type: ignore[misc]  # Django's parser of forms has no setting for it


class _FormParser(MultiPartParser):
    """Reads forms. Django leaves out a file that is called `..` or `/`: its email would be sent without it."""

    def sanitize_file_name(self, file_name: str) -> str:
        """Return the last step of the name, or a name for a file whose name has none."""
        return super().sanitize_file_name(file_name) or _NAMELESS


def refuse_unreadable_headers(get_response: GetResponse) -> GetResponse:
    """Answer 400 to headers whose parameters cannot be read, and to forms that are not in UTF-8."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        unreadable = [name for key, name in _WITH_PARAMETERS.items() if key in meta and not _is_readable(meta[key])]
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
