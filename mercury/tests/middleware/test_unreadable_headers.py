"""Headers that Django cannot read get a 400 that names them, before and after a request can be made of them."""

import json

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client, RequestFactory

from mercury.middleware.unreadable_headers import LenientRequest


@pytest.mark.parametrize("path", ["/api/v1.0/mails/", "/login/", "/nowhere"])
@pytest.mark.parametrize("parameter", ["charset*=xyz''a", "boundary*=none'en'%ff"])
def test_a_content_type_in_an_unknown_character_set_is_named(path, parameter):
    environ = RequestFactory()._base_environ(
        PATH_INFO=path, REQUEST_METHOD="POST", CONTENT_TYPE=f"application/json; {parameter}", CONTENT_LENGTH="2"
    )

    answer = WSGIHandler().get_response(LenientRequest(environ))

    problem = json.loads(answer.content)
    assert answer.status_code == 400
    assert answer["X-Request-ID"] == problem["request_id"]
    assert "Content-Type" in problem["detail"]


def test_a_content_disposition_in_an_unknown_character_set_is_named():
    answer = Client().post(
        "/api/v1.0/files/", b"x", content_type="text/plain", HTTP_CONTENT_DISPOSITION="a; filename*=xyz''a"
    )

    assert answer.status_code == 400
    assert "Content-Disposition" in answer.json()["detail"]
