import io
import json
from unittest.mock import Mock

import pytest
from django.core.exceptions import BadRequest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from gunicorn.http.errors import InvalidChunkSize, NoMoreData

from mercury.lib.database.database_bounds import waits
from mercury.middleware import body_limits, client_ip, csp, database, head_requests
from mercury.middleware.csp import POLICY
from mercury.observability import health

LIVE = "/health/live"


def test_a_request_without_an_id_gets_one_of_its_own():
    first, second = Client().get(LIVE)["X-Request-ID"], Client().get(LIVE)["X-Request-ID"]

    assert first != second
    assert len(first) == 32


@pytest.mark.parametrize("sent", ["a", "trace-1.2_3", "x" * 64])
def test_a_clients_own_request_id_is_kept(sent):
    assert Client().get(LIVE, HTTP_X_REQUEST_ID=sent)["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\nb", "<script>", "ä"])
def test_an_insane_request_id_is_replaced(sent):
    assert Client().get(LIVE, HTTP_X_REQUEST_ID=sent)["X-Request-ID"] != sent


@pytest.mark.parametrize(
    "answer", [lambda: HttpResponse(b"twelve bytes"), lambda: StreamingHttpResponse([b"twelve ", b"bytes"])]
)
@pytest.mark.parametrize(("method", "body"), [("GET", b"twelve bytes"), ("HEAD", b"")])
def test_an_answer_to_head_has_no_body(answer, method, body):
    response = head_requests.leave_out_bodies(lambda request: answer())(RequestFactory().generic(method, "/"))

    assert b"".join(response) == body


def test_an_answer_to_head_has_the_length_of_the_one_to_get():
    response = head_requests.leave_out_bodies(health.check_live)(RequestFactory().head("/"))

    assert (response.content, int(response["Content-Length"])) == (b"", len(Client().get(LIVE).content))


def test_the_strict_policy_is_on_every_answer():
    for path in (LIVE, "/api/v1.0/", "/nowhere", "/static/nowhere.css"):
        assert Client().get(path)["Content-Security-Policy"] == POLICY


def test_a_view_may_set_a_policy_of_its_own():
    def get_response(request):
        answer = health.check_live(request)
        answer["Content-Security-Policy"] = "sandbox"
        return answer

    answer = csp.add_security_policy(get_response)(RequestFactory().get("/"))

    assert answer["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize("error", [OperationalError("no route to secret-host"), InterfaceError("closed")])
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(monkeypatch, error, accept):
    def page(request, **_):
        raise error

    answer = _get_with(monkeypatch, page, accept)

    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert "secret-host" not in answer.content.decode()
    if accept == "application/json":
        assert json.loads(answer.content)["type"] == "urn:problem:mercury:store_unavailable"


def test_another_error_is_a_500_that_shows_nothing_of_it(monkeypatch):
    def page(request, **_):
        raise ZeroDivisionError("secret")

    answer = _get_with(monkeypatch, page, "application/json")

    assert answer.status_code == 500
    assert json.loads(answer.content)["request_id"] == answer["X-Request-ID"]
    assert "secret" not in answer.content.decode()


def test_a_database_that_goes_away_inside_a_middleware_is_a_503_too(monkeypatch):
    from django.contrib.sessions.middleware import SessionMiddleware

    def process_response(self, request, response):
        raise OperationalError("gone")

    monkeypatch.setattr(SessionMiddleware, "process_response", process_response)

    assert Client(raise_request_exception=False).get("/nowhere").status_code == 503


@pytest.mark.parametrize("path", [LIVE, f"{LIVE}/"])
def test_liveness_passes_no_session_no_file_and_no_database(monkeypatch, path):
    def asked(*_):
        raise AssertionError("asked")

    monkeypatch.setattr("whitenoise.middleware.WhiteNoiseMiddleware.__call__", asked)

    assert Client().get(path).json() == {"status": "ok"}  # pytest-django refuses a question to the database here


def test_a_request_waits_for_the_database_within_its_bounds():
    seen = []

    def get_response(request):
        seen.append(waits.bounds)
        return health.check_live(request)

    database.bound_waits(get_response)(RequestFactory().get("/"))

    assert seen[0].is_request
    assert not waits.bounds.is_request


def _get_with(monkeypatch, page, accept):
    """Ask a page of which `page` takes the place."""
    from django.urls.resolvers import URLPattern

    resolve = URLPattern.resolve

    def resolved(self, path):
        match = resolve(self, path)
        if match is not None and match.url_name == "health-ready":
            match.func = page
        return match

    monkeypatch.setattr(URLPattern, "resolve", resolved)
    monkeypatch.setattr("mercury.lib.rest.problems.wants_json", lambda request: accept != "text/html")
    return Client(raise_request_exception=False).get("/health/ready", HTTP_ACCEPT=accept)


def chunked(body: bytes, **environ):
    request = RequestFactory().generic(
        "POST", "/", b"", content_type="application/json", HTTP_TRANSFER_ENCODING="chunked", **environ
    )
    request.META["wsgi.input"] = io.BytesIO(body)
    body_limits.read_chunked_body(health.check_live)(request)
    return request


def test_a_chunked_body_is_read_like_any_other():
    request = chunked(b'{"a": 1}', **{"wsgi.input_terminated": True})

    assert request.META["CONTENT_LENGTH"] == "8"
    assert request.read() == b'{"a": 1}'


def test_a_chunked_body_that_does_not_end_is_read_up_to_the_limit(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    request = chunked(b"x" * 1000, **{"wsgi.input_terminated": True})

    assert request.META["CONTENT_LENGTH"] == "101"


@pytest.mark.parametrize("error", [ConnectionResetError(), NoMoreData(), InvalidChunkSize(b"cerberus")])
def test_a_chunked_body_that_breaks_off_is_the_client_s_error(error):
    request = RequestFactory().post("/login/", HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input_terminated": True})
    request.META["wsgi.input"] = Mock(read=Mock(side_effect=error))

    with pytest.raises(BadRequest):
        body_limits.read_chunked_body(health.check_live)(request)


def test_a_server_that_does_not_mark_the_end_of_a_body_is_not_waited_for():
    assert chunked(b"x").read() == b""


@pytest.mark.parametrize("url", ["/login/", "/", "/admin/", "/health/live", "/nowhere"])
def test_a_body_above_the_limit_is_refused_before_it_is_read_wherever_it_is_sent(client, settings, url):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    file = SimpleUploadedFile("cerberus.bin", b"x" * 1000)

    answer = client.post(url, {"file": file}, headers={"Accept": "text/html"})

    assert (answer.status_code, answer.wsgi_request._read_started) == (413, False)
    assert "limit" in answer.text
    assert answer.headers["Content-Security-Policy"] == POLICY


@pytest.mark.parametrize(("proxies", "address"), [(0, "127.0.0.1"), (1, "3.3.3.3"), (2, "2.2.2.2"), (4, "")])
def test_as_many_addresses_are_believed_as_there_are_proxies(rf, settings, proxies, address):
    settings.MERCURY_PROXIES = proxies
    request = rf.get("/", HTTP_X_FORWARDED_FOR="1.1.1.1, 2.2.2.2, 3.3.3.3")

    client_ip.set_client_address(lambda request: None)(request)

    assert request.META["REMOTE_ADDR"] == address


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("3.3.3.3:4711", "3.3.3.3"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("::ffff:3.3.3.3", "3.3.3.3"),
        ("1.1.1.1,\t3.3.3.3 ", "3.3.3.3"),
    ],
)
def test_an_address_is_read_as_proxies_write_it(rf, settings, said, address):
    settings.MERCURY_PROXIES = 1
    request = rf.get("/", HTTP_X_FORWARDED_FOR=said)

    client_ip.set_client_address(lambda request: None)(request)

    assert request.META["REMOTE_ADDR"] == address


def test_without_the_header_the_client_called_directly(rf, settings):
    settings.MERCURY_PROXIES = 1
    request = rf.get("/")

    client_ip.set_client_address(lambda request: None)(request)

    assert request.META["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize(
    "said", ["unknown", "", "3.3.3.3, ", "<script>", "3.3.3.3\x00", "3.3.3.3:", "[1.1.1", "1.1.1.1.1:5"]
)
def test_where_it_names_no_address_the_client_is_not_known_and_never_the_proxy(rf, settings, said):
    settings.MERCURY_PROXIES = 1
    request = rf.get("/", HTTP_X_FORWARDED_FOR=f"1.1.1.1,{said}")

    client_ip.set_client_address(lambda request: None)(request)

    assert request.META["REMOTE_ADDR"] == ""


@pytest.mark.django_db
def test_a_nul_in_an_admin_search_is_a_bad_request(client):
    assert client.get("/admin/auth/user/?username=%00").status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize("rest", ["xyz", "%0d%0aSet-Cookie:x", "..%2f..", ""])
def test_an_old_address_of_no_mail_is_not_found(client, rest):
    assert client.get(f"/details/mails/{rest}").status_code == 404
