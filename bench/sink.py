"""A provider and a mail server that only take, so that a benchmark measures the sender: `python bench/sink.py`.

HTTP is SendGrid's `v3/mail/send` as far as a good mail goes; `providers.tests.support.local_provider` knows the bad ones. An email
costs a few hundredths of a millisecond, for it is read only when somebody asks what was received.

    GET  /count          {"count": 2}
    GET  /deliveries     {"count": 2, "mails": [{"arrived_ns", "mail_id", "to", "subject"}, ...]}, the last 10,000
    POST /configure      {"delay_ms": 200, "remember": "timed"}; DELETE /deliveries forgets

`remember` is a word: all emails are counted then, and only those with it in their body are remembered.
"""

import asyncio
import json
import time
from collections import deque
from http import HTTPStatus
from typing import Any

KEEP = 10_000  # mails remembered; the count goes on
UNANSWERED = "never answered"  # subject of mails over HTTP that are not, and do not count
KEY = b"SG.local-provider-key"


class Sink:
    """The emails that both servers received, and their delay before they answer."""

    def __init__(self) -> None:
        self.delay = 0.0  # seconds
        self.remember = b""
        self.forget()

    def forget(self) -> None:
        """Forget all mails."""
        self.count = 0
        self.bodies: deque[tuple[int, bytes]] = deque(maxlen=KEEP)

    def take(self, arrived_ns: int, body: bytes) -> None:
        """Keep an email."""
        self.count += 1
        if self.remember in body:
            self.bodies.append((arrived_ns, body))

    def mails(self) -> list[dict[str, Any]]:
        """Return the emails that arrived over HTTP, read now."""
        return [{"arrived_ns": arrived_ns, **_read(body)} for arrived_ns, body in self.bodies]


def _read(body: bytes) -> dict[str, Any]:
    mail = json.loads(body)
    headers = {name.lower(): value for name, value in mail.get("headers", {}).items()}
    to = [recipient["email"] for recipient in mail["personalizations"][0]["to"]]
    return {"mail_id": headers.get("x-mercury-id"), "to": to, "subject": mail["subject"]}


class Http(asyncio.Protocol):
    """A connection of a client. It sends its next request when it has the answer to the last."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.received = bytearray()
        self.arrived_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect a request and answer it."""
        if not self.received:
            self.arrived_ns = time.monotonic_ns()
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self.received.clear()
        if head.startswith(b"POST /v3/mail/send ") and KEY in head:
            self._take(bytes(body))
        else:
            self._serve(bytes(head), bytes(body))

    def _take(self, body: bytes) -> None:
        if UNANSWERED.encode() in body:
            return
        self.sink.take(self.arrived_ns, body)
        answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nX-Message-Id: local-%d\r\n\r\n" % self.sink.count
        if self.sink.delay:
            asyncio.get_running_loop().call_later(self.sink.delay, self.transport.write, answer)
        else:
            self.transport.write(answer)

    def _serve(self, head: bytes, body: bytes) -> None:
        match head.split(b" ", 2)[:2]:
            case [b"GET", b"/count"]:
                self._answer({"count": self.sink.count})
            case [b"GET", b"/deliveries"]:
                self._answer({"count": self.sink.count, "mails": self.sink.mails()})
            case [b"DELETE", b"/deliveries"]:
                self.sink.forget()
                self._answer({})
            case [b"POST", b"/configure"]:
                wanted = json.loads(body)
                self.sink.delay = wanted["delay_ms"] / 1000
                self.sink.remember = wanted.get("remember", "").encode()
                self._answer({})
            case _:
                self._answer({"errors": [{"message": "not found"}]}, HTTPStatus.NOT_FOUND)

    def _answer(self, answer: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


def _length(head: bytearray) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0] or 0)


class Smtp(asyncio.Protocol):
    """A connection of a mail client; the answer after the final dot is the one that waits."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.received = b""
        self.in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer each command, and each mail."""
        self.received += data
        while True:
            end = b"\r\n.\r\n" if self.in_data else b"\r\n"
            piece, found, rest = self.received.partition(end)
            if not found:
                return
            self.received = rest
            if self.in_data:
                self._take(piece)
            else:
                self._command(piece[:4].upper())

    def _take(self, mail: bytes) -> None:
        self.in_data = False
        self.sink.take(time.monotonic_ns(), mail)
        asyncio.get_running_loop().call_later(self.sink.delay, self.transport.write, b"250 accepted\r\n")

    def _command(self, verb: bytes) -> None:
        if verb == b"DATA":
            self.in_data = True
            self.transport.write(b"354 go on\r\n")
        elif verb == b"EHLO":
            self.transport.write(b"250-sink\r\n250 PIPELINING\r\n")
        elif verb == b"QUIT":
            self.transport.write(b"221 bye\r\n")
            self.transport.close()
        else:
            self.transport.write(b"250 well\r\n")


async def main() -> None:
    """Serve on free ports of the loopback, and say which."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    http = await loop.create_server(lambda: Http(sink), "127.0.0.1", 0, backlog=1024)
    smtp = await loop.create_server(lambda: Smtp(sink), "127.0.0.1", 0, backlog=1024)
    ports = {"http": http.sockets[0].getsockname()[1], "smtp": smtp.sockets[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await http.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
