"""Call a provider over HTTP/1.1: on pooled connections of one event loop, within exact limits.

What it has no code for, it cannot do: it follows no redirect, knows no proxy of the environment and no cookie, and sends no
request a second time. `http_connection` has the errors.
"""

import asyncio
import errno
import functools
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from yarl import URL

from providers.kinds.http_api import HttpAnswer
from providers.outbound_hosts import GuardedResolver
from providers.transports import tcp
from providers.transports.http_connection import HttpConnection, NotConnected

KEEPALIVE = 4.0  # seconds: a reset on a stale connection would look like a lost answer
MAX_OPEN = 512  # connections; while there are more, none is kept, so that thousands of hosts leave descriptors free


class Endpoint(NamedTuple):
    """Where a URL leads."""

    host: str  # exactly what is resolved, connected to and named to TLS
    port: int
    is_tls: bool
    request_target: str  # path and query
    host_header: str


_Key = tuple[str, int, ssl.SSLContext | None]


def parse_endpoint(url: str) -> Endpoint:
    """Return where the URL leads. Raises ValueError."""
    parsed = URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.raw_host or parsed.port is None:
        raise ValueError("Not a URL of http or https with a host.")
    return Endpoint(
        host=parsed.raw_host.removesuffix("."),
        port=parsed.port,
        is_tls=parsed.scheme == "https",
        request_target=parsed.raw_path_qs,
        host_header=parsed.host_port_subcomponent or parsed.raw_host,
    )


class HttpClient:
    """The connections of an event loop to all hosts. Make it in the process and on the loop that use it; `close` it there.

    It limits neither calls nor connections: the dispatcher does, and to wait here would count as time to connect.
    """

    def __init__(self, *, deadline: float, connect_timeout: float, resolver: GuardedResolver) -> None:
        self.deadline = deadline
        self._connect_timeout = connect_timeout
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._idle: dict[_Key, list[HttpConnection]] = {}
        self._open: set[HttpConnection] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    async def call(
        self,
        endpoint: Endpoint,
        head: bytes,
        body: bytes,
        *,
        tls: ssl.SSLContext,
        time_left: float,
    ) -> HttpAnswer:
        """Send one request and return the answer, all within `time_left` seconds. Raises HttpCallFailed."""
        ends_at = self._loop.time() + time_left
        key = (endpoint.host, endpoint.port, tls if endpoint.is_tls else None)
        connection = self._take_idle(key) or await self._connect(key, time_left)
        is_answered = False
        try:
            answer = await connection.call(head, body, ends_at=ends_at)
            is_answered = True
            return answer
        finally:  # also if the call is cancelled
            if is_answered and connection.is_reusable and len(self._open) <= MAX_OPEN:
                self._keep(key, connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close all connections, also those of calls in progress."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    async def _connect(self, key: _Key, time_left: float) -> HttpConnection:
        host, port, tls = key
        to_connect = min(self._connect_timeout, 0.9 * time_left)  # so that a call that never began is known as such
        try:
            async with asyncio.timeout(to_connect):
                addresses = await self._resolver.resolve(host, port, patience=0.9 * to_connect)
                sock = await tcp.open_socket(addresses)
                _, connection = await self._loop.create_connection(
                    functools.partial(HttpConnection, open_connections=self._open),
                    sock=sock,
                    ssl=tls,
                    server_hostname=host if tls else None,
                )
        except OSError as error:  # also TimeoutError, ssl.SSLError, socket.gaierror
            raise NotConnected(error, host=host) from None
        # Something unread is normal only in TLS: tickets for a later session.
        if not (connection.is_open() if tls else connection.is_silent()):
            connection.close()
            lost = ConnectionResetError(errno.ECONNRESET, "The host hung up, or spoke, before it was asked.")
            raise NotConnected(lost, host=host)
        return connection

    def _take_idle(self, key: _Key) -> HttpConnection | None:
        """Return the connection that was used last, so that those that are not needed grow old."""
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if connection.is_silent() and self._loop.time() - connection.idle_since < KEEPALIVE:
                return connection
            connection.close()
        return None

    def _keep(self, key: _Key, connection: HttpConnection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.setdefault(key, []).append(connection)
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(KEEPALIVE, self._close_old)

    def _close_old(self) -> None:
        """Close what was idle too long; come back when the next one may be."""
        latest = self._loop.time() - KEEPALIVE
        for key, connections in list(self._idle.items()):
            for connection in connections:
                if connection.idle_since <= latest:
                    connection.close()
            self._idle[key] = [connection for connection in connections if connection.is_reusable]
            if not self._idle[key]:
                del self._idle[key]
        oldest = min((connections[0].idle_since for connections in self._idle.values()), default=None)
        self._sweep_timer = self._loop.call_at(oldest + KEEPALIVE, self._close_old) if oldest is not None else None


def build_head(endpoint: Endpoint, method: str, headers: Mapping[str, str], length: int) -> bytes:
    """Return the request line and the headers. Raises ValueError if one of them would end its line."""
    return _build_fields(endpoint, method, tuple(headers.items())) + b"Content-Length: %d\r\n\r\n" % length


@functools.lru_cache(maxsize=64)  # most requests of an account have the same
def _build_fields(endpoint: Endpoint, method: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"{method} {endpoint.request_target} HTTP/1.1", f"Host: {endpoint.host_header}"]
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise ValueError("A header has a line break.")
    return f"{text}\r\n".encode()
