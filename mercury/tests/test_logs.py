import io
import json
import logging

import pytest
import structlog

from mercury import logs
from mercury.lib.queued_stream import QueuedStream


@pytest.fixture
def written():
    """What is logged, as the text that would stand on stderr."""
    before = (logging.root.handlers[:], logging.root.level)

    def configure(form: str) -> io.StringIO:
        logs.configure({"level": "INFO", "format": form})
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

    structlog.get_logger("mails.intake").info("mail_stored", mail="01a2", recipients=2)

    (line,) = lines()
    assert line["event"] == "mail_stored"
    assert (line["mail"], line["recipients"], line["request_id"]) == ("01a2", 2, "r-1")
    assert (line["level"], line["logger"]) == ("info", "mails.intake")
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


def test_at_debug_nothing_more_is_shown():
    shown = logs.discreet(
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


@pytest.mark.parametrize(
    "request_by_anybody", [{"HTTP_HOST": "hades.test"}, {"CONTENT_LENGTH": "999999999"}], ids=["host", "size"]
)
def test_what_any_stranger_can_send_without_end_fills_no_log(client, written, request_by_anybody):
    stream = written("json")

    assert client.post("/login/", **request_by_anybody).status_code in (400, 413)
    assert text(stream) == ""
