"""How fast mails come in: `python bench/intake.py [--mails N] [--leg embedded|full|both]`.

Eight clients that keep their connections post to gunicorn: embedded one process, which also sends what comes in, so
that its CPU is that of taking and sending; full, two processes that only take, with no worker beside them.
"""

import json
import socket
import threading
import time
import uuid

import house
from house import CONTENT, WORDS, House

CLIENTS = 8
WARM_UP = 100  # mails before the measurement, so that every thread has its connection
PROCESSES = {"embedded": 1, "full": 2}


class Client(threading.Thread):
    """A client that posts one mail after the other. Its loop is a bare socket's: the server is to be measured."""

    def __init__(self, port: int, key: str, mails: int, *, idempotent: bool) -> None:
        super().__init__()
        self.port = port
        self.mails = mails
        self.idempotent = idempotent
        self.latencies: list[float] = []
        mail = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": "News", "content": CONTENT}
        self._body = json.dumps(mail).encode()
        self._head = (
            "POST /api/v1.0/mails/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: {len(self._body)}\r\n"
        )

    def run(self) -> None:
        """Post; the first answer other than 202 ends it, and is missed in the count."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(self.mails):
                began = time.perf_counter()
                connection.sendall(self._request())
                if not _answer(connection).startswith(b"HTTP/1.1 202"):
                    return
                self.latencies.append(time.perf_counter() - began)

    def _request(self) -> bytes:
        key = f"Idempotency-Key: {uuid.uuid4()}\r\n" if self.idempotent else ""
        return f"{self._head}{key}\r\n".encode() + self._body


def _answer(connection: socket.socket) -> bytes:
    """One answer, head and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += _more(connection)
    return head


def _more(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionError("The server hung up.")
    return piece


def measure(leg: str, mails: int) -> None:
    """Print the figures of a leg, without and with idempotency keys."""
    with house.build(leg) as built:
        key = built.run(house.make_key)
        with house.serving(built, processes=PROCESSES[leg]) as (port, web):
            for idempotent in (False, True):
                _series(built, port, key, WARM_UP, idempotent=idempotent)
                _wait_until_sent(built, WARM_UP)
                print(_figures(built, web, port, key, mails, idempotent=idempotent), flush=True)


def _figures(built: House, web: int, port: int, key: str, mails: int, *, idempotent: bool) -> str:
    processes = house.family(web)
    cpu, own_cpu, began = house.cpu_of(processes), time.process_time(), time.monotonic()
    latencies = _series(built, port, key, mails, idempotent=idempotent)
    seconds, own_cpu = time.monotonic() - began, time.process_time() - own_cpu
    _wait_until_sent(built, mails)
    cpu = house.cpu_of(processes) - cpu
    p50, p95, p99 = (latencies[min(mails - 1, mails * part // 100)] * 1000 for part in (50, 95, 99))
    return (
        f"{WORDS[built.leg]:26} {'with' if idempotent else 'without':7} Idempotency-Key:"
        f" {mails / seconds:5.0f} requests/s, p50 {p50:.1f} p95 {p95:.1f} p99 {p99:.1f} ms,"
        f" {cpu / mails * 1000:.2f} ms of CPU a mail{' (taken and sent)' if built.leg == 'embedded' else ''}"
        f" in the web process, {own_cpu / mails * 1000:.2f} in the client"
    )


def _series(built: House, port: int, key: str, mails: int, *, idempotent: bool) -> list[float]:
    """Post so many mails; the seconds that each took, in order of size."""
    built.provider.start_afresh(delay_ms=0)
    counts = [mails // CLIENTS + (number < mails % CLIENTS) for number in range(CLIENTS)]
    clients = [Client(port, key, count, idempotent=idempotent) for count in counts]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    latencies = sorted(latency for client in clients for latency in client.latencies)
    if len(latencies) != mails:
        raise SystemExit(f"Only {len(latencies)} of {mails} mails were taken.")
    return latencies


def _wait_until_sent(built: House, mails: int) -> None:
    if built.leg == "embedded":
        house.until(lambda: built.provider.count() == mails)


if __name__ == "__main__":
    house.main("Intake", measure, mails=2000)
