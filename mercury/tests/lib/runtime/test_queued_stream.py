import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from mercury.lib.runtime import queued_stream
from mercury.lib.runtime.queued_stream import QueuedStream
from mercury.lib.runtime.stop_request import StopRequest
from mercury.tests.instance import ROOT, wait_until

pytestmark = pytest.mark.one_leg


@pytest.fixture
def log():
    """A logger of its own, and its handler."""
    handler, logger = QueuedStream(io.StringIO()), logging.Logger("styx")
    logger.addHandler(handler)
    return logger, handler


def test_lines_come_in_their_order(log):
    logger, handler = log
    for number in range(100):
        logger.warning("line %d", number)
    handler.flush()

    assert handler.stream.getvalue().splitlines() == [f"line {number}" for number in range(100)]


class Full(io.StringIO):
    """A pipe whose reader reads nothing, until it continues."""

    def __init__(self):
        super().__init__()
        self.stuck, self.goes_on = threading.Event(), threading.Event()

    def write(self, line):
        self.stuck.set()
        self.goes_on.wait()
        return super().write(line)


def test_a_full_pipe_keeps_nobody_waiting_and_what_is_dropped_is_counted(log, monkeypatch):
    logger, handler = log
    reports = []
    monkeypatch.setattr(queued_stream, "MOST", 10)
    monkeypatch.setattr(queued_stream, "LAST_WORDS", 0.01)
    monkeypatch.setattr(queued_stream.log, "warning", lambda event, **fields: reports.append((event, fields)))
    handler.stream = Full()
    logger.warning("first")
    handler.stream.stuck.wait()
    for number in range(15):
        logger.warning("line %d", number)
    handler.flush()  # gives up

    assert handler.stream.getvalue() == ""
    handler.stream.goes_on.set()
    wait_until(lambda: reports, 20)
    assert reports == [("log_lines_dropped", {"lines": 5})]
    assert len(handler.stream.getvalue().splitlines()) >= 5


def test_a_line_is_no_longer_than_its_bound(log, monkeypatch):
    logger, handler = log
    monkeypatch.setattr(queued_stream, "LONGEST", 5)
    logger.warning("0123456789")
    handler.flush()

    assert handler.stream.getvalue() == "01234\n"


def test_a_stream_that_is_closed_ends_nothing(log, monkeypatch):
    logger, handler = log
    reports = []
    monkeypatch.setattr(queued_stream.log, "warning", lambda event, **fields: reports.append((event, fields)))
    handler.stream.close()
    logger.warning("line")
    handler.flush()
    handler.stream = io.StringIO()
    logger.warning("next")
    handler.flush()

    assert reports == [("log_lines_dropped", {"lines": 1})]
    assert handler.stream.getvalue() == "next\n"


def test_what_was_logged_last_is_written_before_the_process_ends():
    code = "import logging, mercury.observability.logs; mercury.observability.logs.configure_logging({'level': 'INFO', 'format': 'json'}); logging.info('last')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert json.loads(done.stderr)["event"] == "last"


def test_a_process_ends_though_nobody_reads_its_log():
    code = """
import logging, mercury.observability.logs
mercury.observability.logs.configure_logging({'level': 'INFO', 'format': 'json'})
for _ in range(3000):
    logging.info('x' * 1000)
print('at the end', flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    assert process.stdout.readline() == b"at the end\n"
    assert process.wait(30) == 0
    process.stdout.close()
    process.stderr.close()


def test_a_signal_that_is_logged_during_another_line_is_no_deadlock(log):
    logger, handler = log

    class Interrupted(logging.Formatter):
        def format(self, record):
            if record.msg == "outer":
                os.kill(os.getpid(), signal.SIGUSR1)
            return super().format(record)

    handler.setFormatter(Interrupted())
    before = signal.signal(signal.SIGUSR1, lambda *_: logger.warning("inner"))
    try:
        logger.warning("outer")
    finally:
        signal.signal(signal.SIGUSR1, before)
    handler.flush()

    assert sorted(handler.stream.getvalue().splitlines()) == ["inner", "outer"]


def test_a_request_to_stop_ends_a_wait_also_from_a_signal():
    stopping = StopRequest()
    before = signal.signal(signal.SIGUSR1, lambda *_: stopping.set())
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert stopping.wait(60)
    finally:
        signal.signal(signal.SIGUSR1, before)

    stopping.set()  # once more changes nothing
    assert stopping.is_set()


def test_a_wait_that_nobody_ends_is_over_in_time():
    assert not StopRequest().wait(0.01)
