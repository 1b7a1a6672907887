"""An SMTP server over a real socket that says what a script tells it to, in step or not."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping

OK: Mapping[str, bytes] = {
    "GREETING": b"220 olympus.test ESMTP\r\n",
    "EHLO": b"250-olympus.test\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n",
    "HELO": b"250 olympus.test\r\n",
    "STARTTLS": b"220 go ahead\r\n",
    "AUTH": b"235 welcome\r\n",
    "MAIL": b"250 sender ok\r\n",
    "RCPT": b"250 recipient ok\r\n",
    "DATA": b"354 go ahead\r\n",
    "DOT": b"250 queued as 4Xyz12\r\n",
    "RSET": b"250 reset\r\n",
}


class ScriptedServer:
    """`script`: per command one reply for all times, or a list of them, one for each time; then the usual one."""

    def __init__(self, script: Mapping[str, bytes | list[bytes]] | None = None, *, tls: ssl.SSLContext | None = None):
        self.script = {
            verb: reply if isinstance(reply, bytes) else list(reply) for verb, reply in (script or {}).items()
        }
        self.tls = tls
        self.arrived = asyncio.Event()  # a content is there
        self.answers_the_dot = asyncio.Event()
        self.answers_the_dot.set()
        self.received: list[bytes] = []  # contents whose final dot came while the server waited for one
        self.said: list[str] = []  # the commands, in their order, of all connections
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._socket = socket.create_server(("127.0.0.1", 0))  # so that accounts can be made before it serves
        self.port: int = self._socket.getsockname()[1]

    async def __aenter__(self) -> "ScriptedServer":
        self._server = await asyncio.start_server(self._talk, sock=self._socket, limit=2**22)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answers_the_dot.set()
        for writer in self._writers:
            writer.close()
        self._server.close()

    async def content_arrived(self) -> None:
        """Wait for the first content. Raises TimeoutError where none comes."""
        await asyncio.wait_for(self.arrived.wait(), 20)

    def verbs(self) -> list[str]:
        """The commands without what they name."""
        return [line.split(":")[0].split(" ")[0].upper() for line in self.said]

    def say(self, words: bytes) -> None:
        """Say something on every connection, asked or not."""
        for writer in self._writers if words else ():
            writer.write(words)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            writer.write(self._reply("GREETING"))
            while line := (await reader.readline()).decode("latin-1").strip():
                self.said.append(line)
                verb = line.split(":")[0].split(" ")[0].upper()
                reply = self._reply(verb)
                writer.write(reply)
                if verb == "STARTTLS" and reply == OK["STARTTLS"]:
                    await writer.start_tls(self.tls)  # type: ignore[arg-type]
                if verb == "DATA" and reply.startswith(b"354"):
                    self.received.append(await _content(reader))
                    self.arrived.set()
                    await self.answers_the_dot.wait()
                    writer.write(self._reply("DOT"))
        writer.close()

    def _reply(self, verb: str) -> bytes:
        scripted = self.script.get(verb)
        if isinstance(scripted, bytes):
            return scripted
        return scripted.pop(0) if scripted else OK.get(verb, b"500 what?\r\n")


async def _content(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readline()) != b".\r\n":
        if not line:
            raise ConnectionError
        lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
    return b"".join(lines)
