"""Headers that Django cannot read get a 400 that names them, before and after a request can be made of them."""

import io
import json

import pytest
from django.core.exceptions import TooManyFilesSent
from django.core.handlers.wsgi import WSGIHandler
from django.http.multipartparser import MultiPartParserError
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


def ask(path, query="", *, form=b"", content_type=""):
    """Return the answer to a request as the server makes it."""
    request = RequestFactory()._base_environ(
        PATH_INFO=path,
        QUERY_STRING=query,
        REQUEST_METHOD="POST" if form else "GET",
        CONTENT_TYPE=content_type,
        CONTENT_LENGTH=str(len(form)),
    )
    request |= {"wsgi.input": io.BytesIO(form), "HTTP_ACCEPT": "application/json"}
    return WSGIHandler().get_response(LenientRequest(request))


@pytest.mark.parametrize("charset", ["utf-7", "hex", "unicode_escape", "punycode", "undefined", "iso-8859-1"])
@pytest.mark.parametrize("path", ["/login/", "/preview", "/api/v1.0/mails/"])
def test_a_form_that_is_not_in_utf_8_is_refused(path, charset):
    form = b'--B\r\nContent-Disposition: form-data; name="subject"\r\n\r\n+2AA-\r\n--B--\r\n'

    answer = ask(path, form=form, content_type=f"multipart/form-data; boundary=B; charset={charset}")

    assert answer.status_code == 400
    assert f"'{charset}'" in json.loads(answer.content)["detail"]


@pytest.mark.parametrize("charset", ["utf-7", "hex", "unicode_escape", "idna", "utf-16"])
def test_the_address_is_read_as_utf_8_whatever_the_charset_of_the_body_is(db, charset):
    answer = ask("/login/", "next=/mails/%3Fq=%2B2AA-", content_type=f"text/plain; charset={charset}")

    assert answer.status_code == 200
    assert b'value="/mails/?q=+2AA-"' in answer.content


@pytest.mark.parametrize("name", ["..", ".", "/", "a/", "\\", "\x01"])
def test_a_file_whose_name_says_nothing_is_not_lost(name):
    request = receive_form(f'form-data; name="uploads"; filename="{name}"', b"hello")

    assert [file.read() for file in request.FILES.getlist("uploads")] == [b"hello"]


def receive_form(disposition, content, *, parts=1):
    """Return a request with a form of one part, or of the same part several times."""
    head = (
        b"--B\r\nContent-Disposition: " + disposition.encode() + b"\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    form = (head + content + b"\r\n") * parts + b"--B--\r\n"
    environ = RequestFactory()._base_environ(
        REQUEST_METHOD="POST", CONTENT_TYPE="multipart/form-data; boundary=B", CONTENT_LENGTH=str(len(form))
    )
    return LenientRequest(environ | {"wsgi.input": io.BytesIO(form)})


@pytest.mark.parametrize("filename", ['filename=""', "filename=", "filename*=utf-8''"])
def test_a_field_in_which_no_file_was_chosen_is_left_out(filename):
    request = receive_form(f'form-data; name="uploads"; {filename}', b"")

    assert (dict(request.POST), dict(request.FILES)) == ({}, {})


@pytest.mark.parametrize(
    ("disposition", "words"),
    [
        (
            'form-data; name="uploads"; filename=""',
            "the file in the part 'uploads' has no name; send it with a filename",
        ),
        ('form-data; filename="crown.png"', "a file is in a part without a name"),
        ('form-data; name=" "; filename="crown.png"', "a file is in a part without a name"),
    ],
)
def test_a_file_that_django_would_lose_is_refused(disposition, words):
    request = receive_form(disposition, b"hello")

    with pytest.raises(MultiPartParserError) as refused:
        list(request.FILES)

    assert str(refused.value) == words


def test_fields_in_which_no_file_was_chosen_are_counted(settings):
    too_many = settings.DATA_UPLOAD_MAX_NUMBER_FILES + 1
    request = receive_form('form-data; name="uploads"; filename=""', b"", parts=too_many)

    with pytest.raises(TooManyFilesSent):
        list(request.POST)
