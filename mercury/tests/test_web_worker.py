"""A web process all of whose threads are busy, and one with slow clients: by a real gunicorn, since they depend on it."""

import http.client
import socket
import subprocess
import sys
import time

import pytest

from mercury.tests.instance import ROOT, kill, pick_free_port, wait_until

pytestmark = pytest.mark.one_leg

SERVED = """
import threading
from mercury.lib.database.database_bounds import waits
def application(environ, start_response):
    start_response("200 OK", [])
    yield f"{environ['PATH_INFO']} {waits.most}".encode()
    if environ["PATH_INFO"] == "/read":
        yield environ["wsgi.input"].read()
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


def open_connections(port, count, data):
    connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
    for connection in connections:
        connection.sendall(data)
    return connections


def read_all(connection):
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.parametrize(
    "beginning",
    [
        b"P",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Le",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nthe beginning",
    ],
)
def test_requests_that_do_not_arrive_keep_no_thread(port, beginning):
    slow = open_connections(port, 4, beginning)

    assert get(port, "/other") == b"/other 1"
    assert len(slow) == 4


def test_a_request_is_answered_once_its_slow_body_is_there(port):
    (slow,) = open_connections(
        port, 1, b"POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
    )
    get(port, "/other")
    slow.sendall(b"the ")
    get(port, "/other")
    slow.sendall(b"whole")

    assert b"the whole" in read_all(slow)


def test_a_request_in_two_pieces_is_answered_on_a_connection_that_is_kept(port):
    (slow,) = open_connections(port, 1, b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    while b"/first 1" not in received:
        chunk = slow.recv(65536)
        assert chunk, received
        received += chunk
    slow.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nConn")
    get(port, "/other")
    slow.sendall(b"ection: close\r\nContent-Length: 3\r\n\r\n")
    get(port, "/other")
    slow.sendall(b"two")

    assert b"two" in read_all(slow)


def test_a_connection_that_ends_within_a_request_ends(port):
    (half,) = open_connections(port, 1, b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nthe ")
    half.shutdown(socket.SHUT_WR)

    assert read_all(half) is not None
    assert get(port, "/other") == b"/other 1"


def test_a_client_reads_why_its_large_body_was_not_read(port):
    body = b"x" * 20_000_000
    (large,) = open_connections(port, 1, b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n" + body)

    assert b"/other 1" in read_all(large)


def test_clients_that_keep_ended_connections_open_keep_nobody_waiting(port):
    request = b"POST /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n"
    kept = open_connections(port, 10, request)
    answered = [connection.recv(65536) for connection in kept]

    started = time.monotonic()
    assert get(port, "/other") == b"/other 1"
    assert time.monotonic() - started < 2
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answered)
