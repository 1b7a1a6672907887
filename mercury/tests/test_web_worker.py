"""Liveness of a web process all of whose threads are busy: by a real gunicorn, since that is what it depends on."""

import http.client
import socket
import subprocess
import sys

import pytest

from mercury.tests.instance import ROOT, kill, pick_free_port, wait_until

pytestmark = pytest.mark.one_leg

SERVED = """
import threading
from mercury.lib.database.database_bounds import waits
def application(environ, start_response):
    start_response("200 OK", [])
    yield f"{environ['PATH_INFO']} {waits.most}".encode()
    if environ["PATH_INFO"] == "/slow":
        threading.Event().wait()
"""


@pytest.fixture
def port(tmp_path):
    (tmp_path / "served.py").write_text(SERVED)
    port = pick_free_port()
    options = [f"--bind=127.0.0.1:{port}", "--threads=2", "--config=gunicorn.conf.py", f"--pythonpath={tmp_path}"]
    command = [sys.executable, "-m", "gunicorn", *options, "served:application"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(port), 60, (tmp_path / "log").read_text)
        yield port
    finally:
        kill(process)


def answers(port):
    try:
        return get(port, "/health/live") == b"/health/live 1"  # half of the threads may wait long
    except OSError:
        return False


def get(port, path, *, first=None, method="GET"):
    """The body, or as many bytes as are asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    answer = connection.getresponse()
    return (answer, answer.read(first)) if first else answer.read()


def test_liveness_is_answered_while_all_threads_are_busy(port):
    waiting = [get(port, "/slow", first=1) for _ in range(2)]
    unfinished = socket.create_connection(("127.0.0.1", port))
    unfinished.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")  # nobody keeps that thread waiting either
    with_body = socket.create_connection(("127.0.0.1", port))
    with_body.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")

    assert [get(port, "/health/live") for _ in range(3)] == [b"/health/live 1"] * 3
    assert get(port, "/health/live?a=b") == b"/health/live 1"
    assert len(waiting) == 2


def test_liveness_is_answered_on_a_connection_that_is_kept(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    said = []
    for path in ("/health/live", "/other", "/health/live"):
        connection.request("GET", path)
        said.append(connection.getresponse().read())

    assert said == [b"/health/live 1", b"/other 1", b"/health/live 1"]
