"""What every view of the API shares: query parameters that are known, and answers that no cache keeps."""

import difflib
from collections.abc import Mapping
from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mercury.lib.mail import printable
from mercury.lib.rest.problems import Fault, Problem

FORMAT = "format"  # of the answer, as Django REST framework reads it: json, or api for the browsable page
_MAY_BE_BLANK = frozenset({"cursor"})  # blank: from the beginning of the list
_SHOWN = 40  # characters of a client's parameter that an error repeats
_MAX_FAULTS = 20


class ApiView(APIView):
    """A view that refuses query parameters it does not know, so that a misspelt one does not vanish in silence."""

    query_parameters: Mapping[str, tuple[str, ...]] = {}  # by method

    def check_throttles(self, request: Request) -> None:
        """Check the query string of a request whose sender may make it, then its rate."""
        method = "GET" if request.method == "HEAD" else str(request.method)
        if hasattr(self, method.lower()):  # else it goes on, to be a 405
            check_query(request, self.query_parameters.get(method, ()))
        super().check_throttles(request)


@method_decorator(conditional_page, name="dispatch")
class Resource(ApiView):
    """Answers are for this client only, have an ETag, are asked for anew, and say what is left of the key's rate."""

    takes_mails = False  # whether its POST is a mail; it counts as one that came in, then, if the rate refuses it

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Keep every cache from showing a resource as it was before a write, and tell the rate, whatever the answer is."""
        for name, value in getattr(request, "rate_headers", {}).items():
            response[name] = value
        response["Cache-Control"] = "private, no-cache"
        return super().finalize_response(request, response, *args, **kwargs)


def check_query(request: Request, known: tuple[str, ...]) -> None:
    """Raise Problem (400) that names each query parameter which is unknown, given twice, or given without a value."""
    allowed = (*known, FORMAT)
    faults = [
        fault for name, values in request.query_params.lists() if (fault := _fault(name, values, allowed)) is not None
    ]
    if faults:
        unknown = any(fault.code == "unknown_parameter" for fault in faults)
        summary = " ".join(fault.words() for fault in faults[:_MAX_FAULTS])
        extra = {"allowed": {"parameters": list(allowed)}} if unknown else {}
        raise Problem(400, faults[0].code, summary, errors=faults[:_MAX_FAULTS], extra=extra)


def _fault(name: str, values: list[str], allowed: tuple[str, ...]) -> Fault | None:
    shown = printable.replace_unprintable(name[:_SHOWN], allowed="")
    if name not in allowed:
        close = difflib.get_close_matches(shown, allowed, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        detail = f"There is no such query parameter here.{hint} Allowed: {', '.join(allowed)}."
        return Fault(detail, "unknown_parameter", parameter=shown)
    if len(values) > 1:
        return Fault(f"It is given {len(values)} times; give it once.", f"invalid_{name}", parameter=name)
    if not values[0].strip() and name not in _MAY_BE_BLANK:
        return Fault("It has no value. Give it one, or leave it out.", f"invalid_{name}", parameter=name)
    return None
