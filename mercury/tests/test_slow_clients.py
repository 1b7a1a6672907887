"""What slow clients may cost, in numbers."""

import socket
from threading import BoundedSemaphore

import pytest
from gunicorn.http.errors import NoMoreData

from mercury import slow_clients
from mercury.slow_clients import SEEN, TimedReader, count_needed

pytestmark = pytest.mark.one_leg


@pytest.mark.parametrize(
    ("head", "needed"),
    [
        (b"G", 2),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 26),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27),
        (b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n", 49),
        (b"POST / HTTP/1.1\r\ncontent-length:10\r\n\r\n1234567890", 48),
        (b"POST /api/v1.0/mails/ HTTP/1.1\r\nContent-Length: 10\r\n\r\n", 54),  # the key comes first
        (b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", 61),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n",
            0,
        ),  # 413 without a session, and a session is looked at first
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 49),
        (b"x" * SEEN, 0),
    ],
)
def test_a_thread_is_worth_this_many_bytes(head, needed):
    assert count_needed(head) == needed


@pytest.fixture
def ends():
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def test_a_head_that_does_not_go_on_is_a_connection_that_ended(ends, monkeypatch):
    monkeypatch.setattr(slow_clients, "ARRIVAL_SECONDS", 0.01)
    reader = TimedReader(ends[0])
    reader.begin()

    with pytest.raises(NoMoreData):
        reader.chunk()


def test_a_body_that_pauses_is_given_up(ends, monkeypatch):
    monkeypatch.setattr(slow_clients, "PAUSE_SECONDS", 0.01)
    reader = TimedReader(ends[0])
    reader.begin()
    reader.in_body = True
    ends[1].sendall(b"the beginning")

    assert reader.chunk() == b"the beginning"
    with pytest.raises(TimeoutError):
        reader.chunk()
    assert ends[0].gettimeout() is None  # for the answer


@pytest.fixture
def body(ends, monkeypatch):
    """A reader within a body whose client sends nothing."""
    monkeypatch.setattr(slow_clients, "patience", BoundedSemaphore(1))
    monkeypatch.setattr(slow_clients, "QUICK_SECONDS", 0.0)
    reader = TimedReader(ends[0])
    reader.begin()
    reader.in_body = True
    return reader


def test_a_slow_client_is_given_up_if_as_many_threads_wait_as_may(ends, body):
    slow_clients.patience.acquire()

    with pytest.raises(TimeoutError):  # long before PAUSE_SECONDS
        body.chunk()
    ends[1].sendall(b"what is there needs no waiting")
    assert body.chunk() == b"what is there needs no waiting"


def test_a_thread_that_waits_for_a_slow_client_does_so_until_the_request_ends(body, monkeypatch):
    monkeypatch.setattr(slow_clients, "PAUSE_SECONDS", 0.1)

    with pytest.raises(TimeoutError):
        body.chunk()

    assert not slow_clients.patience.acquire(blocking=False)
    body.end()
    assert slow_clients.patience.acquire(blocking=False)


def test_a_body_that_trickles_is_given_up(ends, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(slow_clients, "monotonic", lambda: clock[0])
    reader = TimedReader(ends[0])
    reader.begin()
    reader.in_body = True
    for second in range(40):
        clock[0] = float(second)
        ends[1].sendall(b"x" * 400)
        try:
            reader.chunk()
        except TimeoutError:
            break

    assert second == 34  # 20 s, and 400 bytes a second are 0.4 s more each


def test_a_client_may_send_for_a_while_after_the_answer(ends):
    server, client = ends
    client.sendall(b"the rest of a body")
    client.shutdown(socket.SHUT_WR)
    slow_clients.close_gracefully(server)

    assert client.recv(10) == b""
