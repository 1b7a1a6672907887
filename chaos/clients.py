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
class PlannedMail:
    """An email to submit. Its subject is as unique as its key."""

    key: str
    subject: str
    delivery_guarantee: str
    recipient: str = "hera@olimpus.com"
    send_at: str = ""  # ISO 8601; empty: at once


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """The final answer that a client got. `asked` and `answered`: nanoseconds since the Unix epoch."""

    planned: PlannedMail
    status: int
    mail_id: str
    asked: int
    answered: int
    tries: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one request: a status, or in words why none was read. `asked` and `seconds`: monotonic clock."""

    status: str
    asked: float
    seconds: float


@dataclass
class Answers:
    """Every single answer, including those after which a client repeats."""

    each: list[Answer] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[str]:
        """Return how often each status was answered."""
        return Counter(answer.status for answer in self.each)

    def find_between(self, began: float, ended: float) -> list[Answer]:
        """Return the answers to requests that began in this time of the monotonic clock."""
        return [answer for answer in self.each if began <= answer.asked < ended]


class Clients:
    """Threads that post these emails, each until it is answered. `stop` ends them early."""

    def __init__(
        self,
        port: int,
        key: str,
        planned_mails: Sequence[PlannedMail],
        *,
        threads: int = 8,
        rate: float | None = None,
        forgetful: float = 0.0,
        batch: int = 0,
    ) -> None:
        """`rate`: emails per second at most. `forgetful`: share of requests whose answer the client hangs up on.

        `batch`: emails in each request to `mails/batch`; 0: single ones.
        """
        self.client_records: list[ClientRecord] = []
        self.answers = Answers()
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._is_batch, size = bool(batch), batch or 1
        self._planned = [planned_mails[start : start + size] for start in range(0, len(planned_mails), size)]
        self._rate = rate and rate / size  # requests
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
    def pause(self) -> Iterator[None]:
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
        for group in self._pace():
            asked, tries = time.time_ns(), 0
            while group and not self._stopping.is_set():
                tries += 1
                results, wait = self._ask(connection, group)
                final = [status // 100 in {2, 4} and status not in AGAIN for status, _ in results]
                self.client_records += [
                    ClientRecord(planned, status, mail_id, asked, time.time_ns(), tries)
                    for planned, (status, mail_id), is_final in zip(group, results, final, strict=True)
                    if is_final
                ]
                group = [planned for planned, is_final in zip(group, final, strict=True) if not is_final]
                if group:
                    self._stopping.wait(min(wait, LONGEST_PAUSE))
        connection.close()

    def _pace(self) -> Iterator[Sequence[PlannedMail]]:
        while not self._stopping.is_set() and (number := next(self._next)) < len(self._planned):
            if self._rate:
                self._stopping.wait(max(0.0, self._began + number / self._rate - time.monotonic()))
            self._going.wait()
            yield self._planned[number]

    def _ask(
        self, connection: http.client.HTTPConnection, group: Sequence[PlannedMail]
    ) -> tuple[list[tuple[int, str]], float]:
        """Post the emails. Return status and id of each, the status 0 if no answer came, and seconds to wait."""
        began = time.monotonic()
        try:
            connection.request("POST", *self._build_request(group))
            if random.random() < self._forgetful:
                connection.close()
                self._note("hung up on", began)
                return [(0, "")] * len(group), 0.1
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._note(type(error).__name__, began)
            return [(0, "")] * len(group), 0.1
        self._note(_describe_status(answer), began)
        wait = answer.headers.get("Retry-After", "0.1")
        if self._is_batch and answer.status in {202, 207}:
            results = [(result["status"], result.get("mail", "")) for result in json.loads(content)["results"]]
        else:
            results = [(answer.status, answer.headers.get("MailId", ""))] * len(group)
        return results, float(wait) if wait.replace(".", "").isdigit() else 0.1

    def _build_request(self, group: Sequence[PlannedMail]) -> tuple[str, str, dict[str, str]]:
        """Return path, body and headers."""
        if self._is_batch:
            mails = [build_mail(planned) | {"idempotency_key": planned.key} for planned in group]
            return "/api/v1.0/mails/batch", json.dumps(mails), self._headers
        (planned,) = group
        return "/api/v1.0/mails/", json.dumps(build_mail(planned)), self._headers | {"Idempotency-Key": planned.key}

    def _note(self, status: str, began: float) -> None:
        self.answers.each.append(Answer(status, began, time.monotonic() - began))


def build_mail(planned: PlannedMail) -> dict[str, str]:
    """Return the fields of the email."""
    return {
        "sender": "zeus@olimpus.com",
        "recipient": planned.recipient,
        "subject": planned.subject,
        "content": "Hi",
        "delivery_guarantee": planned.delivery_guarantee,
    } | ({"send_at": planned.send_at} if planned.send_at else {})


def _describe_status(answer: http.client.HTTPResponse) -> str:
    """Return the status, with what is missing in an error that asks the client to wait."""
    if answer.status != 503:
        return str(answer.status)
    lacks = [
        *(["Retry-After"] if "Retry-After" not in answer.headers else []),
        *(["problem+json"] if answer.headers.get("Content-Type") != "application/problem+json" else []),
    ]
    return f"503 without {' and '.join(lacks)}" if lacks else "503"
