"""Errors as clients see them: `application/problem+json` (RFC 9457), with `error` and `message` for old clients.

Views raise `Problem`; `handle_exception` turns every other exception of a view into the same shape; `build_response`
builds the same document outside of Django REST framework.
"""

import http
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions, serializers
from rest_framework.exceptions import APIException, ErrorDetail
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from mercury.lib.database import database_errors
from mercury.lib.storages.errors import StorageUnavailable

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

# Replaces the framework's own texts: these say what to do.
_REMEDIES: dict[type[APIException], str] = {
    exceptions.NotAuthenticated: "Sign in with an API key: send the header 'Authorization: Bearer mk_…'.",
    exceptions.MethodNotAllowed: "Method not allowed; the header 'Allow' lists the allowed methods.",
    exceptions.NotAcceptable: "The API answers in JSON; ask for it with 'Accept: application/json'.",
    exceptions.UnsupportedMediaType: "Send the body as JSON, with the header 'Content-Type: application/json'.",
}


_PHRASES = {460: "Checksum Mismatch"}  # of the tus protocol; HTTP itself has no such status


def name_status(status: int) -> str:
    """Return a status code in words."""
    return _PHRASES.get(status) or http.HTTPStatus(status).phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One thing that is wrong with a request, and where: a JSON pointer into the body, a query parameter or a header."""

    detail: str
    code: str
    pointer: str = ""
    parameter: str = ""
    header: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the error as a member of `errors`."""
        shown = {"pointer": self.pointer, "detail": self.detail, "code": self.code}
        places = {"parameter": self.parameter, "header": self.header}
        return shown | {name: place for name, place in places.items() if place}

    def describe(self) -> str:
        """Return field and problem in one sentence, as the prototype's `message` had them."""
        field = self.parameter or self.header or self.pointer.removeprefix("/").replace("~1", "/").replace("~0", "~")
        return f"{field}: {self.detail}" if field else self.detail


def build_pointer(*steps: str) -> str:
    """Return a JSON pointer (RFC 6901) that follows these steps."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


class Problem(APIException):
    """An error answer, raised by a view: status, stable code, text, and further members."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.text = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


class FieldErrorSerializer(serializers.Serializer[Any]):
    """One error of a request."""

    pointer = serializers.CharField(help_text="JSON pointer (RFC 6901) into the body; empty where it is not one field.")
    detail = serializers.CharField(help_text="What is wrong, and what to do.")
    code = serializers.CharField(help_text="Stable and short, for programs.")
    parameter = serializers.CharField(required=False, help_text="The query parameter that is wrong.")
    header = serializers.CharField(required=False, help_text="The header that is wrong.")


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457, with the `error` and `message` of the prototype."""

    type = serializers.RegexField("^urn:problem:mercury:", help_text="`urn:problem:mercury:` and a stable code.")
    title = serializers.CharField(help_text="The status in words.")
    status = serializers.IntegerField(min_value=400, max_value=599, help_text="The status code.")
    detail = serializers.CharField(help_text="What is wrong, for people.")
    errors = FieldErrorSerializer(many=True, help_text="Each error.")  # type: ignore[assignment]  # its own name here
    error = serializers.CharField(help_text="The status in words, for clients of the prototype.")
    message = serializers.CharField(help_text="Fields and errors in one text, for clients of the prototype.")
    request_id = serializers.CharField(help_text="The id of this request in the server's logs.")
    mail = serializers.URLField(required=False, help_text="The email that failed validation; it is kept here.")
    state = serializers.CharField(required=False, help_text="On 409 for an action: the status of the email.")
    possible = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="On 409 for an action: the possible actions."
    )
    allowed = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="On an invalid query string: fields with their operators, values of a field, or under `parameters` the "
        "names of all parameters.",
    )


def handle_exception(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Handle an exception of a view for Django REST framework. Returns None for an unexpected one: it becomes a 500."""
    problem = _convert(exc)
    if problem is None:
        return None
    request = context["request"]
    renderer = getattr(request, "accepted_renderer", None)
    if renderer is None or renderer.format not in {"json", "api"}:  # no format was negotiated, or YAML was
        renderer = request.accepted_renderer = JSONRenderer()
        request.accepted_media_type = renderer.media_type
    answer = Response(
        build_document(request, problem),
        status=problem.status_code,
        headers=problem.headers,
        content_type=None if renderer.format == "api" else CONTENT_TYPE,
    )
    answer.reason_phrase = name_status(problem.status_code)
    return answer


def build_response(request: HttpRequest, problem: Problem) -> JsonResponse:
    """Return the same answer for a request that reached no view of Django REST framework. Uses no database."""
    return JsonResponse(
        build_document(request, problem), status=problem.status_code, headers=problem.headers, content_type=CONTENT_TYPE
    )


def build_document(request: Any, problem: Problem) -> dict[str, Any]:
    """Return the problem as a JSON object."""
    phrase = name_status(problem.status_code)
    message = " ".join(error.describe() for error in problem.errors) or problem.text
    return {
        "type": f"urn:problem:mercury:{problem.code}",
        "title": phrase,
        "status": problem.status_code,
        "detail": problem.text,
        "errors": [error.to_json() for error in problem.errors],
        "error": phrase,
        "message": message,
        "request_id": getattr(request, "request_id", ""),
    } | problem.extra


def wants_json(request: HttpRequest) -> bool:
    """Return True for API clients: for any path of the API and of health, and for requests that do not ask for HTML."""
    path = request.path_info
    if path.startswith(("/api/v", "/health/")):
        return True
    return "text/html" not in request.headers.get("Accept", "")


def build_store_unavailable() -> Problem:
    """Return the 503 for a database that cannot serve now. Whether the request took effect is unknown, so the client retries."""
    return Problem(
        503,
        "store_unavailable",
        "The database cannot serve this now. Repeat the request, with the same Idempotency-Key if it had one.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def build_storage_unavailable() -> Problem:
    """Return the 503 for a storage of files that cannot serve now: nothing was accepted."""
    return Problem(
        503,
        "storage_unavailable",
        "The storage of files cannot serve this now, so nothing was accepted. Repeat the request.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _convert(exc: Exception) -> Problem | None:
    match exc:
        case Problem():
            return exc
        case Error() if database_errors.is_temporary(exc):
            return build_store_unavailable()
        case StorageUnavailable():
            return build_storage_unavailable()
        case Http404() | exceptions.NotFound():
            return Problem(404, "not_found", "There is nothing at this address, or it is not yours.")
        case PermissionDenied():
            return _convert(exceptions.PermissionDenied(*exc.args))
        case exceptions.ValidationError():
            errors = flatten_errors(exc.detail)
            return Problem(400, "invalid", _summarize(len(errors)), errors=errors)
        case APIException():
            return _convert_api_exception(exc)
    return None


def _convert_api_exception(exc: APIException) -> Problem:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(max(1, int(wait)))
    detail = _REMEDIES.get(type(exc)) or " ".join(error.detail for error in flatten_errors(exc.detail))
    code = getattr(exc.detail, "code", None) or exc.default_code
    return Problem(exc.status_code, str(code), detail, headers=headers)


def _summarize(count: int) -> str:
    return "The request has an error." if count == 1 else f"The request has {count} errors."


def flatten_errors(detail: Any, place: str = "") -> list[FieldError]:
    """Return the nested errors of a serializer as a list, each with its pointer."""
    if isinstance(detail, dict):
        found = []
        for key, inner in detail.items():
            found += flatten_errors(inner, place if key == "non_field_errors" else place + build_pointer(str(key)))
        return found
    if isinstance(detail, list):
        steps = (f"{place}/{index}" if isinstance(inner, dict) else place for index, inner in enumerate(detail))
        return [error for step, inner in zip(steps, detail, strict=True) for error in flatten_errors(inner, step)]
    code = detail.code if isinstance(detail, ErrorDetail) and detail.code else "invalid"
    return [FieldError(detail=str(detail), code=code, pointer=place)]
