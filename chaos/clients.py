"""Honest clients: what is neither 2xx nor 4xx means "unknown" to them, and they repeat with the same idempotency key."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

PATIENCE = 10.0  # seconds that a client waits for an answer
LONGEST_PAUSE = 1.0  # seconds before it repeats, whatever Retry-After asks for
AGAIN = {408, 409, 425, 429}  # of the 4xx, those that ask for a repetition


@dataclass(frozen=True, slots=True)
class Order:
    """A mail to be handed in. Its subject is as unique as its key."""

    key: str
    subject: str
    delivery_guarantee: str
    recipient: str = "hera@olimpus.com"


@dataclass(frozen=True, slots=True)
class Told:
    """What a client was told in the end. `asked` and `answered`: nanoseconds since the Unix epoch."""

    order: Order
    status: int
    mail_id: str
    asked: int
    answered: int
    tries: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request: a status, or in words why none was read. `asked` and `seconds`: monotonic clock."""

    status: str
    asked: float
    seconds: float


@dataclass
class Answers:
    """Every single answer, also those that a client did not take for one."""

    each: list[Answer] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[str]:
        """Return how often each status was answered."""
        return Counter(answer.status for answer in self.each)

    def between(self, began: float, ended: float) -> list[Answer]:
        """Return the answers to requests that began in this time of the monotonic clock."""
        return [answer for answer in self.each if began <= answer.asked < ended]


class Clients:
    """Threads that post these orders, each until it is answered. `stop` ends them before their time."""

    def __init__(
        self,
        port: int,
        key: str,
        orders: Sequence[Order],
        *,
        threads: int = 8,
        rate: float | None = None,
        forgetful: float = 0.0,
    ) -> None:
        """`rate`: mails a second at most. `forgetful`: share of requests whose answer the client hangs up on."""
        self.told: list[Told] = []
        self.answers = Answers()
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._orders = orders
        self._rate = rate
        self._forgetful = forgetful
        self._next = count()
        self._stopping = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Begin to post."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> bool:
        """Wait until all have been answered; False if it takes longer."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Submit nothing new while the block runs, and do not catch up afterwards."""
        self._going.clear()
        began = time.monotonic()
        try:
            yield
        finally:
            self._began += time.monotonic() - began
            self._going.set()

    def stop(self) -> None:
        """Give up what has not been answered yet."""
        self._stopping.set()
        self._going.set()
        self.join(PATIENCE + 1)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        for order in self._in_time():
            asked, tries = time.time_ns(), 0
            while not self._stopping.is_set():
                tries += 1
                answer = self._ask(connection, order)
                if answer is not None and answer[0] // 100 in {2, 4} and answer[0] not in AGAIN:
                    status, mail_id, _ = answer
                    self.told.append(Told(order, status, mail_id, asked, time.time_ns(), tries))
                    break
                self._stopping.wait(min(answer[2] if answer else 0.1, LONGEST_PAUSE))
        connection.close()

    def _in_time(self) -> Iterator[Order]:
        while not self._stopping.is_set() and (number := next(self._next)) < len(self._orders):
            if self._rate:
                self._stopping.wait(max(0.0, self._began + number / self._rate - time.monotonic()))
            self._going.wait()
            yield self._orders[number]

    def _ask(self, connection: http.client.HTTPConnection, order: Order) -> tuple[int, str, float] | None:
        """Status, the mail's id and seconds to wait; None where no answer came."""
        body = {
            "sender": "zeus@olimpus.com",
            "recipient": order.recipient,
            "subject": order.subject,
            "content": "Hi",
            "delivery_guarantee": order.delivery_guarantee,
        }
        began = time.monotonic()
        try:
            connection.request(
                "POST", "/api/v1.0/mails/", json.dumps(body), self._headers | {"Idempotency-Key": order.key}
            )
            if random.random() < self._forgetful:
                connection.close()
                self._note("hung up on", began)
                return None
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._note(type(error).__name__, began)
            return None
        self._note(_status(answer), began)
        wait = answer.headers.get("Retry-After", "0.1")
        return answer.status, answer.headers.get("MailId", ""), float(wait) if wait.replace(".", "").isdigit() else 0.1

    def _note(self, status: str, began: float) -> None:
        self.answers.each.append(Answer(status, began, time.monotonic() - began))


def _status(answer: http.client.HTTPResponse) -> str:
    """Return the status, with what is missing in an error that asks the client to wait."""
    if answer.status != 503:
        return str(answer.status)
    lacks = [
        *(["Retry-After"] if "Retry-After" not in answer.headers else []),
        *(["problem+json"] if answer.headers.get("Content-Type") != "application/problem+json" else []),
    ]
    return f"503 without {' and '.join(lacks)}" if lacks else "503"
