"""An HTTP server that sends exactly the bytes that a test says, and keeps each request that it read."""

import asyncio
import contextlib
import itertools
import re
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Literal

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server does with one request. `then`: with the connection. `reads`: how much of a request it waits for."""

    data: bytes = OK
    then: Literal["stay", "close", "reset"] = "stay"
    reads: Literal["all", "head", "nothing"] = "all"
    drip: float = 0.0  # seconds between two bytes of `data`, which is then repeated without end


class ScriptedHttp:
    """The server. Each request gets the next reply, the last one again and again."""

    def __init__(self, *replies: Reply, tls: ssl.SSLContext | None = None) -> None:
        self._replies = list(replies) or [Reply()]
        self._tls = tls
        self.connections = 0
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()  # by the client
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def __aenter__(self) -> "ScriptedHttp":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._tasks if task is not None))

    @property
    def sendgrid_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v3/"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        self.writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self._answer(reader, writer):
                pass
            await reader.read()
        self.closed.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return False if the connection takes no other."""
        reply = self._replies[0]
        if reply.reads != "nothing":
            request = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", request)
            if reply.reads == "all" and length:
                request += await reader.readexactly(int(length[1]))
            self.requests.append(request)
        self._replies = self._replies[1:] or self._replies
        self.asked.set()
        for octet in itertools.cycle(reply.data) if reply.drip else ():
            if writer.is_closing():
                return False
            writer.write(bytes([octet]))
            await asyncio.sleep(reply.drip)
        writer.write(reply.data)
        await writer.drain()
        if reply.then == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif reply.then == "close":
            writer.close()
        return reply.then == "stay"
