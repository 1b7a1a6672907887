import io
import json
import logging

import pytest
import structlog
from django.test import Client
from django.urls import reverse

from mails.files import link_tokens
from mails.tests.files.builders import a_link
from mercury.lib.rest import download_slots
from mercury.lib.runtime.queued_stream import QueuedStream
from mercury.observability import logs


@pytest.fixture
def written():
    """Return what is logged, as the text that stderr would get."""
    before = (logging.root.handlers[:], logging.root.level)

    def configure(form: str) -> io.StringIO:
        logs.configure_logging({"level": "INFO", "format": form})
        stream = io.StringIO()
        handler = logging.root.handlers[0]
        assert isinstance(handler, QueuedStream)
        handler.stream = stream
        return stream

    yield configure
    logging.root.handlers[:], logging.root.level = before


@pytest.fixture
def lines(written):
    stream = written("json")
    return lambda: [json.loads(line) for line in text(stream).splitlines()]


def text(stream):
    logging.root.handlers[0].flush()
    return stream.getvalue()


def test_an_event_carries_its_fields_and_the_request_id(lines):
    structlog.contextvars.bind_contextvars(request_id="r-1")

    structlog.get_logger("mails.intake.accept").info("mail_stored", mail="01a2", recipients=2)

    (line,) = lines()
    assert line["event"] == "mail_stored"
    assert (line["mail"], line["recipients"], line["request_id"]) == ("01a2", 2, "r-1")
    assert (line["level"], line["logger"]) == ("info", "mails.intake.accept")
    assert line["timestamp"].endswith("Z")


def test_a_librarys_line_has_the_same_form(lines):
    logging.getLogger("rq.worker").warning("Redis at %s is away", "localhost")

    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("Redis at localhost is away", "warning", "rq.worker")


def test_no_address_subject_body_or_secret_is_logged(lines):
    structlog.get_logger().info(
        "sent to hera@olimpus.com",
        sender="zeus@olimpus.com",
        subject="You made my day",
        content="Hi",
        detail={"to": ["hera@olimpus.com"]},
        url="redis://user:pass-word@10.0.0.1/0",
        header="Authorization: Bearer mk_abcdefgh_" + "s" * 43,
    )
    try:
        raise ValueError("refused hera@olimpus.com with mk_abcdefgh_" + "s" * 43)
    except ValueError:
        logging.getLogger("anything").exception("failed")

    text = json.dumps(lines())
    for private in ("hera@", "zeus@", "made my day", '"Hi"', "pass-word", "ssss"):
        assert private not in text
    assert "mk_abcdefgh_" in text
    assert "ValueError" in text


@pytest.mark.django_db
def test_a_server_error_does_not_log_the_path_of_a_download_link(client, written, monkeypatch):
    link = a_link()
    page = reverse("download", args=[link_tokens.make_token(link.pk)])
    file = client.post(page)["Location"]
    stream = written("json")

    monkeypatch.setattr(download_slots, "MOST", 0)
    assert client.get(file).status_code == 503
    upload = "/api/v1.0/files/01a20e2c-1a4e-7d05-9d3b-6a0c6f4f3a10"
    logging.getLogger("anything").error("failed at '%s', see %s", page, upload)

    refused, failed = map(json.loads, text(stream).splitlines())
    assert refused["event"] == "Service Unavailable: /files/[removed]"
    assert failed["event"] == f"failed at '/files/[removed]', see {upload}"


def test_at_debug_nothing_more_is_shown():
    shown = logs.mask_private_fields(
        None, "", {"level": "debug", "event": "to hera@olimpus.com", "key": "mk_abcdefgh_" + "s" * 43}
    )

    assert shown["event"] == "to [address]"
    assert "ssss" not in shown["key"]


def test_the_console_form_is_one_line_for_people(written):
    stream = written("console")

    structlog.get_logger("mails").info("mail_stored", mail="01a2")

    (line,) = text(stream).splitlines()
    assert "mail_stored" in line
    assert "mail=01a2" in line


TOKEN = "csrftoken=" + "a" * 32  # without it a form is not read
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "kind", "request_by_anybody"),
    [
        (b"", FORM, {"HTTP_HOST": "hades.test"}),
        (b"", FORM, {"CONTENT_LENGTH": "999999999"}),
        (b"a=1&" * 1001, FORM, {"HTTP_COOKIE": TOKEN}),
        (b"x", "multipart/form-data", {"HTTP_COOKIE": TOKEN}),
        (b"x", "multipart/form-data; boundary=\xff", {"HTTP_COOKIE": TOKEN}),
        (
            b"--x\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\nHi\r\n" * 101 + b"--x--",
            "multipart/form-data; boundary=x",
            {"HTTP_COOKIE": TOKEN},
        ),
        (b"", FORM, {"PATH_INFO": "/admin/auth/user/", "QUERY_STRING": "username=%00"}),
    ],
    ids=["host", "size", "fields", "no boundary", "boundary", "files", "nul"],
)
def test_what_any_stranger_can_send_without_end_fills_no_log(client, written, body, kind, request_by_anybody):
    stream = written("json")

    answer = client.generic("POST", "/login/", body, content_type=kind, **request_by_anybody)

    assert answer.status_code in (400, 413)
    assert text(stream) == ""


def test_a_form_that_csrf_refuses_is_one_line_without_a_traceback(written):
    stream = written("json")

    assert Client(enforce_csrf_checks=True).post("/login/").status_code == 403

    (line,) = map(json.loads, text(stream).splitlines())
    assert (line["logger"], "exception" in line) == ("django.security.csrf", False)
