"""Forms (`multipart/form-data`): files go to the disk as they arrive, everything that is wrong with a form is a 400.

The check of a CSRF token may parse a form before its view does; so a view prepares each request before that.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.http.request import QueryDict
from django.utils.datastructures import MultiValueDict
from rest_framework.request import Request

from mercury.lib.rest import large_bodies, strict_json
from mercury.lib.rest.problems import FieldError, Problem, build_pointer
from mercury.lib.rest.strict_json import NotStrictJSON

MEDIA_TYPE = "multipart/form-data"
MAIL = "mail"  # the part that is the whole email as JSON, apart from its files
_ATTACHED, _INLINE = ("attachments", "attachment"), "inline"
_OF_BROWSERS = "csrfmiddlewaretoken"
_LISTS = frozenset({"recipient", "recipients", "to", "cc", "bcc", "reply_to", "tags"})

Form = tuple[QueryDict, "MultiValueDict[str, UploadedFile[bytes]]"]


def prepare(request: HttpRequest) -> None:
    """Keep the files of the request's form out of memory, whoever parses it."""
    if request.content_type == MEDIA_TYPE:
        request.upload_handlers = [TemporaryFileUploadHandler(request)]


def read(request: Request) -> Form:
    """Return fields and files. Raises Problem (400 or 413)."""
    raw = request._request
    try:
        return raw.POST, raw.FILES
    except MultiPartParserError as error:
        raise _refuse(f"The form cannot be read: {str(error).rstrip('.')}.") from error
    except (TooManyFieldsSent, TooManyFilesSent) as error:
        detail = f"The form has too many parts: at most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} files and {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} others are allowed."
        raise Problem(400, "too_many_parts", detail) from error
    except RequestDataTooBig as error:
        raise Problem(413, "too_large", "The fields of the form have too many bytes.") from error
    except UnreadablePostError as error:
        raise Problem(400, "body_incomplete", "The connection ended before the body did.") from error


def read_mail(request: Request) -> dict[str, Any]:
    """Return the fields of an email that is sent as a form, its files among the attachments. Raises Problem."""
    given, files = read(request)
    large_bodies.reserve(request, sum(len(text) for texts in given.lists() for text in texts[1]))
    names = [name for name in given if name != _OF_BROWSERS]
    if MAIL not in names:
        fields: dict[str, Any] = {name: _read_field(name, given.getlist(name)) for name in names}
    elif names == [MAIL] and len(given.getlist(MAIL)) == 1:
        fields = _read_json(given[MAIL])
    else:
        raise _refuse(f"Send the part '{MAIL}' once, and files with it only; or one part for each field.")
    if unknown := [name for name in files if name not in (*_ATTACHED, _INLINE)]:
        raise _refuse(f"Send files as 'attachments' or 'inline', not as '{unknown[0][:40]}'.")
    if files and isinstance(listed := fields.get("attachments") or [], list):
        fields["attachments"] = [*listed, *_list_files(files)]
    return fields


def _read_field(name: str, texts: list[Any]) -> Any:
    if len(texts) == 1:
        return texts[0]
    if name not in _LISTS:
        raise _refuse(f"The part '{name[:40]}' occurs {len(texts)} times; send it once.")
    return texts


def _read_json(text: Any) -> dict[str, Any]:
    try:
        return strict_json.loads(str(text).encode("utf-8", "surrogatepass"))
    except NotStrictJSON as invalid:
        error = FieldError(detail=invalid.detail, code=invalid.code, pointer=build_pointer(MAIL) + invalid.pointer)
        raise Problem(400, error.code, error.describe(), errors=[error]) from None


def _list_files(files: "MultiValueDict[str, UploadedFile[bytes]]") -> list[dict[str, Any]]:
    """Return the files as attachments; an inline one is shown by the HTML under its name."""
    return [
        {"filename": file.name, "content_type": file.content_type or None, "content": file}
        | ({"content_id": file.name} if name == _INLINE else {})
        for name, listed in files.lists()
        for file in listed
    ]


def _refuse(detail: str) -> Problem:
    return Problem(400, "invalid_form", detail)
