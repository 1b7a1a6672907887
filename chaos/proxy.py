"""A proxy between Mercury and PostgreSQL that can lose the answer to a COMMIT: committed, and the client never learns it."""

import asyncio
import contextlib
import multiprocessing
import random
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from mercury.tests.instance import pick_free_port, wait_until

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # a simple query, as psycopg2 sends it
READY = b"Z"  # ReadyForQuery: the answer to a query is complete


class Proxy:
    """Listens on `port` and forwards to PostgreSQL, in a process of its own. `lost` counts the answers that it dropped."""

    def __init__(self, postgresql_port: int) -> None:
        self.port = pick_free_port()
        spawn = multiprocessing.get_context("spawn")
        self._share: Synchronized[float] = spawn.Value("d", 0.0)
        self._lost: Synchronized[int] = spawn.Value("i", 0)
        listens = spawn.Event()
        arguments = (self.port, postgresql_port, self._share, self._lost, listens)
        self._process = spawn.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        wait_until(listens.is_set, 30)

    @property
    def lost(self) -> int:
        """Return how many answers were lost so far."""
        return self._lost.value

    def lose(self, share: float) -> None:
        """Lose the answers to this share of all COMMITs from now on, each with its connection."""
        self._share.value = share

    def close(self) -> None:
        """Break all connections and stop listening."""
        self._process.kill()
        self._process.join()


def _serve(port: int, postgresql_port: int, share: Any, lost: Any, listens: Any) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            theirs = await asyncio.open_connection("127.0.0.1", postgresql_port)
            await _Session((reader, writer), theirs, share, lost).run()

    async def serve() -> None:
        server = await asyncio.start_server(forward, "127.0.0.1", port)
        listens.set()
        await server.serve_forever()

    asyncio.run(serve())


_Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Session:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, client: _Pipe, server: _Pipe, share: Any, lost: Any) -> None:
        self._client, self._server, self._share, self._lost = client, server, share, lost
        self._silent = False  # the answer that comes now is lost

    async def run(self) -> None:
        """Forward until one of the two hangs up, or an answer was lost."""
        both = [asyncio.create_task(self._forward_to_server()), asyncio.create_task(self._forward_to_client())]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        for _, writer in (self._client, self._server):
            writer.close()

    async def _forward_to_server(self) -> None:
        reader, writer = self._client[0], self._server[1]
        while piece := await reader.read(65536):
            if piece == COMMIT and random.random() < self._share.value:
                self._silent = True
            writer.write(piece)
            await writer.drain()

    async def _forward_to_client(self) -> None:
        reader, writer = self._server[0], self._client[1]
        while piece := await reader.read(65536):
            if self._silent:
                while piece[-6:-5] != READY:
                    piece += await reader.read(65536)
                self._lost.value += 1
                return
            writer.write(piece)
            await writer.drain()
