"""Rate of batches: `python bench/batch.py [--mails N] [--size N]`.

PostgreSQL and Redis, two web processes under gunicorn that only accept. By turns: Mercury's batches, single posts, and
batches at views of Django REST framework that check and store as little as will do (`bench/bare.py`). The CPU is that of
the web processes and of their PostgreSQL sessions; on a shared machine it says more than the rates.
"""

import argparse
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import instance
import intake
from instance import CONTENT

CLIENTS = 4  # with two processes on two cores, so that none waits for a client
TURNS = 3
PROCESSES = 2
BATCH = "/api/v1.0/mails/batch"


@dataclass(slots=True)
class Line:
    """A server under test, and its figures so far. `size`: emails in a request; 0: single posts."""

    name: str
    port: int
    arbiter: int  # gunicorn's pid
    path: str
    size: int
    keys: bool = False
    mails: int = 0
    seconds: float = 0.0
    web_cpu: float = 0.0
    store_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Return emails a second."""
        return self.mails / self.seconds

    @property
    def cpu(self) -> float:
        """Return seconds of CPU per email, in the web processes and in PostgreSQL."""
        return (self.web_cpu + self.store_cpu) / self.mails

    def describe(self, batches: "Line") -> str:
        """Return its figures, and those of Mercury's batches compared with them."""
        web, store = (seconds / self.mails * 1000 for seconds in (self.web_cpu, self.store_cpu))
        return (
            f"  {self.name:31} {self.rate:6.0f} emails/s, CPU per email {web:.3f} ms and {store:.3f} in PostgreSQL; "
            f"Mercury's batches: {batches.rate / self.rate:.2f} x the rate, {batches.cpu / self.cpu:.2f} x the CPU"
        )


class Client(threading.Thread):
    """A client that posts batches, each with recipients of its own. Its loop is a bare socket's."""

    def __init__(self, line: Line, key: str, numbers: Iterator[int]) -> None:
        super().__init__()
        self.line, self.numbers, self.posted = line, numbers, 0
        self._head = (
            f"POST {line.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\n"
        )

    def run(self) -> None:
        """Post; the first answer other than 202 ends it, and is missed in the count."""
        with intake.connect(self.line.port) as connection:
            for number in self.numbers:
                connection.sendall(self._build_request(number))
                if not intake.read_answer(connection).startswith(b"HTTP/1.1 202"):
                    return
                self.posted += self.line.size

    def _build_request(self, number: int) -> bytes:
        body = json.dumps([self._build_mail(number * self.line.size + index) for index in range(self.line.size)])
        return f"{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    def _build_mail(self, number: int) -> dict[str, str]:
        mail = {
            "sender": "zeus@olimpus.com",
            "recipient": f"hera{number}@olimpus.com",
            "subject": "News",
            "content": CONTENT,
        }
        return mail | {"idempotency_key": f"{time.monotonic_ns()}"} if self.line.keys else mail


def ask(built: instance.Instance, line: Line, key: str, mails: int) -> None:
    """Post this many emails, and add them to the line's figures. Raises SystemExit unless all are accepted."""
    web, store = instance.cpu_of(instance.family(line.arbiter)), intake.store_cpu(built)
    began = time.monotonic()
    if not line.size:
        posted = len(intake.post(line.port, key, mails, idempotent=False, path=line.path))
    else:
        numbers = iter(range(mails // line.size))
        clients = [Client(line, key, numbers) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        posted = sum(client.posted for client in clients)
        if posted != mails // line.size * line.size:
            raise SystemExit(f"{line.name}: only {posted} of {mails} emails were accepted.")
    line.seconds += time.monotonic() - began
    line.web_cpu += instance.cpu_of(instance.family(line.arbiter)) - web
    line.store_cpu += intake.store_cpu(built) - store
    line.mails += posted


def measure(mails: int, size: int) -> None:
    """Print the figures."""
    with instance.build("full") as built, ExitStack() as stack:
        key = built.run(instance.make_key)
        mercury = stack.enter_context(instance.serving(built, processes=PROCESSES))
        built.environment["DJANGO_SETTINGS_MODULE"] = "bare_settings"
        bare = stack.enter_context(instance.serving(built, processes=PROCESSES, application=intake.BARE))
        lines = [
            Line("Mercury, batches", *mercury, BATCH, size),
            Line("Mercury, batches with keys", *mercury, BATCH, size, keys=True),
            Line("bare batch view, ORM", *bare, "/batch-by-orm/", size),
            Line("bare batch view, one statement", *bare, "/batch-by-statement/", size),
            Line("Mercury, single posts", *mercury, intake.MAILS, 0),
        ]
        for turn in range(TURNS + 1):
            for line in lines:
                share = (mails if line.size else mails // 5) // TURNS if turn else (size or 20) * CLIENTS
                ask(built, line, key, share)
                if not turn:
                    line.mails, line.seconds, line.web_cpu, line.store_cpu = 0, 0.0, 0.0, 0.0
        for line in lines:
            print(line.describe(lines[0]), flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Batches")
    parser.add_argument("--mails", type=int, default=30_000, help="Emails each figure is measured with.")
    parser.add_argument("--size", type=int, default=100, help="Emails in a request, 1 to 1000.")
    options = parser.parse_args()
    if not 1 <= options.size <= 1000 or options.mails < options.size * TURNS:
        parser.error(f"--size: 1 to 1000, and --mails at least {TURNS} times that, please.")
    instance.say_what(f"Batches of {options.size}", options.mails)
    measure(options.mails, options.size)


if __name__ == "__main__":
    main()
