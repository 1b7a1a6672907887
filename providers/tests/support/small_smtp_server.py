"""An SMTP server with limits, over real sockets: of connections, and of recipients in one message."""

import asyncio
from collections.abc import Callable, Mapping

NO_REPLIES: Mapping[str, str] = {}


class SmallSmtpServer:
    """`connections`: accepted at once; `recipients`: of one message; `replies`: to RCPT, by address.

    `delivered` has the recipients of each message that passed its dot. `on_message` is called before that is answered.
    """

    def __init__(
        self,
        *,
        connections: int = 1000,
        recipients: int = 1000,
        replies: Mapping[str, str] = NO_REPLIES,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        self.connections = connections
        self.recipients = recipients
        self.replies = replies
        self.on_message = on_message
        self.delivered: list[list[str]] = []
        self.most = self.open = self.refused = 0

    async def __aenter__(self) -> "SmallSmtpServer":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.open >= self.connections:
            self.refused += 1
            writer.write(b"421 Too many concurrent SMTP connections; please try again later.\r\n")
            writer.close()
            return
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            writer.write(b"220 olympus.test ESMTP\r\n")
            await self._serve(reader, writer)
        finally:
            self.open -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agreed: list[str] = []
        while line := (await reader.readline()).decode().strip():
            verb = line[:4].upper()
            if verb == "RCPT":
                address = line.partition("<")[2].partition(">")[0]
                reply = self.replies.get(address, "250 OK")
                if len(agreed) >= self.recipients:
                    reply = "452 4.5.3 Error: too many recipients"
                if reply.startswith("250"):
                    agreed.append(address)
            elif verb == "DATA":
                writer.write(b"354 Go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                self.delivered.append(agreed)
                self.on_message()
                reply = f"250 2.0.0 Ok: queued as {len(self.delivered)}"
            else:
                agreed = [] if verb in ("RSET", "MAIL") else agreed
                reply = "250 OK"
            writer.write(f"{reply}\r\n".encode())
