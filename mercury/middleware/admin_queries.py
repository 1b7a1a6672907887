"""Queries of admin pages that Django would answer with an error."""

from collections.abc import Callable

from django.contrib.admin.options import TO_FIELD_VAR
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def reject_unreadable_queries(get_response: GetResponse) -> GetResponse:
    """Answer 400 to what Django's own admin pages would meet with an error: a NUL character for PostgreSQL, no field's name."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query and request.path_info.startswith(("/admin/auth/", "/admin/axes/")):
            raise SuspiciousOperation("The address asks for a NUL character.")
        if request.path_info.startswith("/admin/") and request.GET.get(TO_FIELD_VAR, "id") == "":
            raise SuspiciousOperation(f"The address has a blank {TO_FIELD_VAR}.")
        return get_response(request)

    return middleware
