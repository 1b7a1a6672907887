import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.test import RequestFactory
from rest_framework import exceptions

from mercury.lib.rest import problems
from mercury.lib.rest.problems import FieldError, Problem


def handle(exc):
    request = RequestFactory().get("/")
    request.request_id = "r-1"
    return problems.handle_exception(exc, {"request": request})


def test_a_problem_says_it_for_new_clients_and_for_old_ones():
    errors = [
        FieldError(detail="Give an address.", code="required", pointer="/recipient"),
        FieldError(detail="No.", code="invalid", pointer="/a~1b~0c"),
    ]

    answer = handle(Problem(400, "invalid_mail", "Not accepted.", errors=errors, extra={"mail": "http://x/"}))

    assert answer.content_type == "application/problem+json"
    assert answer.data == {
        "type": "urn:problem:mercury:invalid_mail",
        "title": "Bad Request",
        "status": 400,
        "detail": "Not accepted.",
        "errors": [
            {"pointer": "/recipient", "detail": "Give an address.", "code": "required"},
            {"pointer": "/a~1b~0c", "detail": "No.", "code": "invalid"},
        ],
        "error": "Bad Request",
        "message": "recipient: Give an address. a/b~c: No.",
        "request_id": "r-1",
        "mail": "http://x/",
    }


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (Http404(), 404, "not_found"),
        (exceptions.NotFound(), 404, "not_found"),
        (PermissionDenied("No."), 403, "permission_denied"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.AuthenticationFailed("Wrong.", "wrong_key"), 401, "wrong_key"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (exceptions.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (exceptions.Throttled(wait=7), 429, "throttled"),
        (OperationalError("gone"), 503, "store_unavailable"),
        (InterfaceError("gone"), 503, "store_unavailable"),
    ],
)
def test_every_exception_has_a_status_and_a_code(exc, status, code):
    answer = handle(exc)

    assert (answer.status_code, answer.data["type"]) == (status, f"urn:problem:mercury:{code}")
    assert answer.data["error"] == answer.data["title"]
    assert answer.data["message"] == answer.data["detail"] != ""


def test_what_nobody_foresaw_is_left_to_the_500_page():
    assert handle(ZeroDivisionError()) is None


def test_an_unavailable_database_and_a_throttle_say_when_to_come_back():
    assert handle(OperationalError())["Retry-After"] == "5"
    assert handle(exceptions.Throttled(wait=7.2))["Retry-After"] == "8"


def test_a_serializers_nested_errors_get_their_pointers():
    exc = exceptions.ValidationError(
        {
            "name": ["Too long."],
            "options": {"api_key": ["Missing."]},
            "list": [{}, {"x/y": ["No."]}],
            "non_field_errors": ["Odd."],
        }
    )

    errors = handle(exc).data["errors"]

    assert [(error["pointer"], error["detail"]) for error in errors] == [
        ("/name", "Too long."),
        ("/options/api_key", "Missing."),
        ("/list/1/x~1y", "No."),
        ("", "Odd."),
    ]


def test_the_text_of_a_database_error_stays_inside():
    assert "secret" not in str(handle(OperationalError("password secret")).data)


@pytest.mark.parametrize(
    ("path", "accept", "json"),
    [
        ("/api/v1.0/mails/", "text/html", True),
        ("/health/ready", "text/html", True),
        ("/mails/", "text/html,application/xhtml+xml", False),
        ("/mails/", "*/*", True),
        ("/mails/", "application/json", True),
        ("/api/docs/", "text/html", False),
    ],
)
def test_api_clients_get_json_and_people_pages(path, accept, json):
    assert problems.wants_json(RequestFactory().get(path, HTTP_ACCEPT=accept)) is json
