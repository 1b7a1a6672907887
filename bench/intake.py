"""Rate of intake: `python bench/intake.py [--mails N] [--leg embedded|full|both]`.

Clients that keep their connections post to gunicorn: embedded one process, which also sends what comes in, so that its
CPU is that of accepting and sending; full, two processes that only accept, with no worker. There Mercury and the
bare views of `bench/bare.py` run side by side under the same gunicorn, and are asked by turns.
"""

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import instance
import psycopg2
from instance import CONTENT, WORDS, Instance

CLIENTS = 16
WARM_UP = 160  # mails before the measurement, so that every thread has its connection
TURNS = 4  # how often each target is asked, so that a slow moment of the machine meets all
MAILS = "/api/v1.0/mails/"
BARE = ("--pythonpath", "bench", "django.core.wsgi:get_wsgi_application()")
PROCESSES = {"embedded": 1, "full": 2}


class Client(threading.Thread):
    """A client that posts one mail after the other. Its loop is a bare socket's: the server is to be measured."""

    def __init__(
        self, port: int, key: str, mails: Iterator[int], *, idempotent: bool, path: str = MAILS, content: str = CONTENT
    ) -> None:
        super().__init__()
        self.port = port
        self.mails = mails
        self.idempotent = idempotent
        self.latencies: list[float] = []
        mail = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": "News", "content": content}
        self._body = json.dumps(mail).encode()
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: {len(self._body)}\r\n"
        )

    def run(self) -> None:
        """Post; the first answer other than 202 ends it, and is missed in the count."""
        with connect(self.port) as connection:
            for _ in self.mails:
                began = time.perf_counter()
                connection.sendall(self._request())
                if not read_answer(connection).startswith(b"HTTP/1.1 202"):
                    return
                self.latencies.append(time.perf_counter() - began)

    def _request(self) -> bytes:
        key = f"Idempotency-Key: {uuid.uuid4()}\r\n" if self.idempotent else ""
        return f"{self._head}{key}\r\n".encode() + self._body


def post(port: int, key: str, mails: int, *, clients: int = CLIENTS, **options: Any) -> list[float]:
    """Post `mails` emails; return the seconds that each answer took.

    The clients take them from one heap. Where each has a number of its own, those whose connections the idler process
    accepted are through early, and the end measures the other process alone.

    Raises SystemExit unless all are accepted.
    """
    heap = iter(range(mails))
    senders = [Client(port, key, heap, **options) for _ in range(clients)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    latencies = [latency for sender in senders for latency in sender.latencies]
    if len(latencies) != mails:
        raise SystemExit(f"Only {len(latencies)} of {mails} emails were accepted at port {port}.")
    return latencies


def connect(port: int) -> socket.socket:
    """Open a connection that sends at once."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer, head and body."""
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


@dataclass(slots=True)
class Target:
    """A server under test, and its figures so far."""

    name: str
    port: int
    arbiter: int  # gunicorn's pid
    path: str = MAILS
    idempotent: bool = False
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    store_cpu: float = 0.0
    own_cpu: float = 0.0

    def line(self, bare: float | None) -> str:
        """Return the figures as a line. `bare`: the CPU per email of the cheapest bare view that stores the same rows."""
        mails, latencies = len(self.latencies), sorted(self.latencies)
        p50, p95, p99 = (latencies[min(mails - 1, mails * part // 100)] * 1000 for part in (50, 95, 99))
        web = self.cpu / mails * 1000
        ratio = f" = {web / bare:.2f} x the bare view" if bare else ""
        store = f", {self.store_cpu / mails * 1000:.2f} in PostgreSQL" if self.store_cpu else ""
        return (
            f"  {self.name:30} {mails / self.seconds:5.0f} requests/s, p50 {p50:.1f} p95 {p95:.1f} p99 {p99:.1f} ms;"
            f" CPU per email: {web:.2f} ms in the web processes{ratio}{store}, {self.own_cpu / mails * 1000:.2f} in the client"
        )


def measure(leg: str, mails: int) -> None:
    """Print the figures of a leg."""
    with instance.build(leg) as built, ExitStack() as stack:
        key = built.run(instance.make_key)
        mercury = stack.enter_context(instance.serving(built, processes=PROCESSES[leg]))
        targets = [Target("Mercury", *mercury), Target("Mercury, Idempotency-Key", *mercury, idempotent=True)]
        if leg == "full":
            built.environment["DJANGO_SETTINGS_MODULE"] = "bare_settings"
            bare = stack.enter_context(instance.serving(built, processes=PROCESSES[leg], application=BARE))
            targets += [
                Target("bare view, ORM", *bare, "/by-orm/"),
                Target("bare view, one statement", *bare, "/by-statement/"),
                Target("bare view, with the key's row", *bare, "/by-statement/", idempotent=True),
            ]
        for turn in range(TURNS + 1):
            for target in targets:
                _ask(built, target, key, mails // TURNS if turn else WARM_UP)
                if not turn:
                    target.latencies, target.seconds, target.cpu = [], 0.0, 0.0
                    target.store_cpu = target.own_cpu = 0.0
        print(f"{WORDS[leg]}, {CLIENTS} clients" + (", CPU with sending" if leg == "embedded" else ""))
        for target in targets:
            alike = (
                other.cpu / len(other.latencies) * 1000
                for other in targets[2:]
                if other.idempotent == target.idempotent
            )
            print(target.line(min(alike, default=None)), flush=True)


def _ask(built: Instance, target: Target, key: str, mails: int) -> None:
    """Post `mails` emails, and add what they cost to the target's figures."""
    built.provider.start_afresh(delay_ms=0)
    cpu, store, own, began = (
        instance.cpu_of(instance.family(target.arbiter)),
        store_cpu(built),
        time.process_time(),
        time.monotonic(),
    )
    target.latencies += post(target.port, key, mails, idempotent=target.idempotent, path=target.path)
    target.seconds += time.monotonic() - began
    target.own_cpu += time.process_time() - own
    target.store_cpu += store_cpu(built) - store
    if built.leg == "embedded":
        instance.wait_until(lambda: built.provider.count() == mails)
    target.cpu += instance.cpu_of(instance.family(target.arbiter)) - cpu


def store_cpu(built: Instance) -> float:
    """Seconds of CPU of the PostgreSQL processes that serve this run; 0 where they are not on this machine."""
    if built.leg == "embedded":
        return 0.0
    with closing(psycopg2.connect(built.environment["DATABASE_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        here = [pid for (pid,) in cursor.fetchall() if _is_postgres(pid)]
    return instance.cpu_of(here)


def _is_postgres(pid: int) -> bool:
    name = Path(f"/proc/{pid}/comm")
    return name.exists() and name.read_text().startswith("postgres")


if __name__ == "__main__":
    instance.main("Intake", measure, mails=4000)
