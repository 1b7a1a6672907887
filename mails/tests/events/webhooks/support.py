"""A receiver of webhooks, and a client whose key has one."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mails.events.webhooks import fan_out, operations
from mails.events.webhooks.sender import Sender
from mails.intake.client import Client
from mails.maintenance import leadership
from mails.models import Event, Mail, Webhook
from mails.states import Source
from mails.tests.callers import caller
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def reply(status: int, *headers: str, body: str = "") -> bytes:
    """An answer with this status."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body]).encode()


@dataclass(frozen=True)
class Received:
    """A request as the receiver read it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> str:
        return str(json.loads(self.body)["data"]["event"])

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def number(self) -> int:
        return int(self.id.split("_")[2])

    @property
    def mail(self) -> str:
        return self.id.split("_")[1]


Answer = Callable[[Received], "bytes | Awaitable[bytes]"]


class Receiver:
    """Keeps every request and answers as `answer` says. It refuses connections while it is not entered."""

    def __init__(self, answer: Answer = lambda _: OK) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    async def __aenter__(self) -> "Receiver":
        self._server = await asyncio.start_server(self._serve, sock=self._socket.dup())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        return [request for request in self.received if request.path == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                fields = dict(re.findall(r"(?m)^([\w-]+): (.*)\r$", head))
                headers = {name.lower(): value for name, value in fields.items()}
                body = await reader.readexactly(int(headers["content-length"]))
                request = Received(head.split()[1], headers, body)
                self.received.append(request)
                answer = self.answer(request)
                writer.write(answer if isinstance(answer, bytes) else await answer)
                await writer.drain()


def a_client(name: str = "zeus", **more: object) -> Client:
    """An application whose emails are those of its key."""
    return Client(source=Source.API, api_key=caller(name, **more).key)


def a_webhook(client: Client, url: str, **more: object) -> Webhook:
    """A webhook of the client's key, for all events from now on."""
    assert client.api_key is not None
    leadership.acquire(fan_out.TASK, "a")  # the first time makes the row
    return operations.create(client.api_key, url=url, by="user:zeus", **more).webhook  # type: ignore[arg-type]


def fan_out_all() -> int:
    """Write the deliveries of all events, as the process that does."""
    leadership.acquire(fan_out.TASK, "a")
    count = 0
    while True:
        passed = fan_out.run_pass("a")
        count += passed.deliveries
        if not passed.is_behind:
            return count


async def send_all(process: str = "a") -> None:
    """Send what is due."""
    await Sender(process).run_until_idle()


def deliver(receiver: Receiver, *, process: str = "a") -> list[Received]:
    """Fan out, send what is due now, and return what arrived."""

    async def run() -> None:
        async with receiver:
            await send_all(process)

    fan_out_all()
    before = len(receiver.received)
    event_loop.run(run())
    return receiver.received[before:]


def make_due(webhook: Webhook) -> None:
    """Let the time of all back-offs pass."""
    now = database_clock.now()
    Webhook.objects.filter(pk=webhook.pk).update(rests_until=None)
    webhook.deliveries.filter(status="waiting").update(next_attempt_at=now)


def numbers(*mails: Mail) -> list[int]:
    """The ids of these emails' events."""
    return list(Event.objects.filter(mail__in=mails).order_by("pk").values_list("pk", flat=True))


def in_order(received: list[Received]) -> bool:
    """Whether the first arrival of each event of an email comes after those of all earlier ones."""
    last: dict[str, int] = {}
    seen: set[str] = set()
    for request in received:
        if request.id in seen:
            continue
        seen.add(request.id)
        if last.get(request.mail, 0) > request.number:
            return False
        last[request.mail] = request.number
    return True
