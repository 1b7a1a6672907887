import gzip
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import sentry_sdk
import structlog

from mercury.observability import logs, sentry

pytestmark = pytest.mark.one_leg

TEXT = "the thunderbolt is under the bed"
ADDRESS = "hera@olympus.test"


@pytest.fixture
def reported_events(monkeypatch, settings):
    """Report to a Sentry of this machine; gives the events that it got, and the bytes that they came in."""
    bodies = []

    class Sentry(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Sentry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handlers = logging.root.handlers[:]
    logs.configure_logging(settings.LOGGING)  # whatever another test has made of a library's loggers
    logging.disable(logging.NOTSET)
    sentry.start(f"http://key@127.0.0.1:{server.server_port}/1")

    def events():
        sentry_sdk.flush(timeout=10)
        items = [[json.loads(line) for line in body.splitlines()[1:3]] for body in bodies]
        # A report of the client counts what it did not send, such as an exception for the second time.
        return [item for header, item in items if header["type"] == "event"], b"".join(bodies).decode()

    yield events

    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)
    logging.root.handlers[:] = handlers
    server.shutdown()
    server.server_close()


def break_at_a_mail():
    text, recipient = TEXT, ADDRESS
    raise ValueError(f"cannot write '{text}' to {recipient}")


def test_an_exception_in_the_dispatcher_s_log_arrives_with_its_place_and_mail(reported_events):
    try:
        break_at_a_mail()
    except ValueError:
        structlog.get_logger("mails").exception("mail_not_planned", mail="01a2", to=ADDRESS, subject=TEXT)

    [event], sent = reported_events()
    [exception] = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", sentry.LEFT_OUT)
    assert exception["stacktrace"]["frames"][-1]["function"] == "break_at_a_mail"
    assert event["tags"] == {"event": "mail_not_planned", "mail": "01a2"}
    assert TEXT not in sent
    assert ADDRESS not in sent


def test_django_s_log_of_a_request_that_failed_arrives_without_the_request(reported_events, rf):
    structlog.contextvars.bind_contextvars(request_id="r-1")
    request = rf.post(f"/?q={ADDRESS}", {"text": TEXT})
    try:
        break_at_a_mail()
    except ValueError:
        logging.getLogger("django.request").exception(
            "Internal Server Error: %s", ADDRESS, extra={"request": request, "status_code": 500}
        )

    [event], sent = reported_events()
    assert set(event) <= {*sentry._OF_EVENT, "exception"}
    assert event["tags"] == {"request_id": "r-1"}
    assert TEXT not in sent
    assert ADDRESS not in sent


def test_an_exception_that_ends_the_process_arrives_once(reported_events, capsys):
    try:
        try:
            break_at_a_mail()
        except ValueError as error:
            raise RuntimeError(TEXT) from error
    except RuntimeError as error:
        structlog.get_logger("mails").exception("dispatcher_failed")
        sys.excepthook(RuntimeError, error, error.__traceback__)

    [event], sent = reported_events()
    assert [exception["type"] for exception in event["exception"]["values"]] == ["ValueError", "RuntimeError"]
    assert TEXT not in sent


def test_a_line_without_an_exception_is_no_event(reported_events):
    structlog.get_logger("mails").error("job_refused", function=TEXT)

    assert reported_events() == ([], "")
