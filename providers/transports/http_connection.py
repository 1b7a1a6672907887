"""One kept connection to a provider: writes a request once, reads one bounded answer, and repeats nothing.

Errors, all of HttpCallFailed:

    NotConnected      no connection, so certainly nothing was sent; `cause` says why
    AnswerTimeout     the request was sent; no answer within the time
    ConnectionLost    the request was sent; the connection ended without an answer
    AnswerUnreadable  the request was sent; what came back is not HTTP

A status is an answer: whatever happens to the body after it, the answer is returned, as one that is not whole. So is one that
came before the request was written: nobody can accept an email that they have not read.
"""

import asyncio
import select
from collections.abc import Iterator, Mapping
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from providers.kinds.http_api import HttpAnswer

MAX_ANSWER = 64 * 1024  # bytes of a body
MAX_HEAD = 64 * 1024  # bytes before the body, all interim answers (1xx) together
_MAX_FRAMING = 64 * 1024  # bytes of chunk headers and trailers
_SLICE = 256 * 1024  # bytes of a request that are written at once; the rest when the server has read them


class HttpCallFailed(Exception):
    """A call that brought no status."""


class NotConnected(HttpCallFailed):
    """There is no connection: `cause` is the error of DNS, TCP or TLS."""

    def __init__(self, cause: OSError, *, host: str) -> None:
        super().__init__(f"No connection to '{host}': {type(cause).__name__}.")
        self.cause = cause
        self.host = host


class AnswerTimeout(HttpCallFailed):
    """The provider did not answer within the time."""


class ConnectionLost(HttpCallFailed):
    """The connection ended after the request was sent and before a status."""


class AnswerUnreadable(HttpCallFailed):
    """The provider sent something that is not HTTP."""


class Headers(Mapping[str, str]):
    """Headers of an answer; upper and lower case make no difference."""

    def __init__(self, by_lower_name: dict[str, str]) -> None:
        self._values = by_lower_name

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class HttpConnection(asyncio.Protocol):
    """An HTTP/1.1 connection. It belongs to one call at a time; `is_reusable` says whether another may follow.

    Anything that arrives while no call is in progress closes it, so an answer can never be that to an earlier request.
    An answer whose end two programs could see in different places is an error.
    """

    def __init__(self, *, open_connections: set["HttpConnection"]) -> None:
        self.is_reusable = True
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._open_connections = open_connections  # it is one of them while it is open
        self._transport: asyncio.Transport
        self._unread = select.poll()
        self._unsent = memoryview(b"")
        self._is_paused = False
        self._parser = HttpResponseParser(self)
        # Real servers break these rules, and every client lets them; how an answer ends stays strict.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiter: asyncio.Future[HttpAnswer] | None = None

    async def call(self, head: bytes, body: bytes, *, ends_at: float) -> HttpAnswer:
        """Send the request and return the answer, until `ends_at` by the loop's clock. Raises HttpCallFailed."""
        self._status = 0
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._received = self._size = 0
        self._has_head = self._is_complete = self._keeps_alive = False
        self._waiter = self._loop.create_future()
        timer = self._loop.call_at(ends_at, self._end_time)
        try:
            self._transport.writelines((head, body[:_SLICE]))
            self._unsent = memoryview(body)[_SLICE:]
            self._write_rest()
            return await self._waiter
        finally:
            self._waiter = None
            timer.cancel()
            if not self._keeps_alive or not self._is_sent():
                self.is_reusable = False
            self._unsent = memoryview(b"")

    def is_open(self) -> bool:
        """Return True if nothing has come and nobody has hung up, as far as the loop has read."""
        return self.is_reusable and not self._transport.is_closing()

    def is_silent(self) -> bool:
        """Return True if nothing has come and nobody has hung up, also where the loop has not read yet.

        Otherwise an answer to nothing, which came while the loop was busy, would be that to the next request.
        """
        return self.is_open() and not self._unread.poll(0)

    def close(self) -> None:
        """Drop the connection now."""
        self.is_reusable = False
        self._transport.abort()

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being derived from it
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._open_connections.add(self)

    def pause_writing(self) -> None:
        """Write no more: the server does not read as fast."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Write on."""
        self._is_paused = False
        self._write_rest()

    def data_received(self, data: bytes) -> None:
        """Read a part of the answer."""
        if self._waiter is None or self._waiter.done():
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._keeps_alive = False
        except HttpParserError as error:
            self._keeps_alive = False
            if not self._is_complete:
                self._break_off(AnswerUnreadable(str(error)))
                return
        if self._is_complete:
            self._finish(is_whole=True)
        elif self._size > MAX_ANSWER or self._received > self._get_limit():
            self._break_off(AnswerUnreadable("The head of the answer is too long."))

    def connection_lost(self, error: Exception | None) -> None:
        """End the call: this is the end of an answer without a length, and else an answer broken off."""
        self.is_reusable = False
        self._open_connections.discard(self)
        if self._waiter is None or self._waiter.done():
            return
        if self._has_head and error is None and not self._headers.keys() & {"content-length", "transfer-encoding"}:
            self._finish(is_whole=True)
        else:
            self._break_off(ConnectionLost())

    # From the parser.

    def on_message_begin(self) -> None:
        """Note a second answer: nobody asked for it."""
        if self._is_complete:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Of several with one name the first counts; trailers do not."""
        if not self._has_head and name:
            self._headers.setdefault(name.decode("latin-1").rstrip().lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Take the status, unless it is an interim one, which another follows."""
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()
        self._has_head = self._status >= 200 or self._status == 101
        if not self._has_head:
            self._headers.clear()

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body, up to the limit."""
        if self._is_complete:
            return
        self._size += len(part)
        if self._size <= MAX_ANSWER:
            self._chunks.append(part)
        else:
            self._chunks.append(part[: max(0, MAX_ANSWER + len(part) - self._size)])

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._has_head and not self._is_complete:
            self._is_complete = True
            self._keeps_alive = self._parser.should_keep_alive()

    # Of a call.

    def _write_rest(self) -> None:
        while self._unsent and not self._is_paused and not self._transport.is_closing():
            part, self._unsent = self._unsent[:_SLICE], self._unsent[_SLICE:]
            self._transport.write(part)

    def _is_sent(self) -> bool:
        """Return True if the whole request was written: as far as anybody here can know."""
        return not self._unsent and not self._transport.get_write_buffer_size()

    def _get_limit(self) -> int:
        return MAX_HEAD + MAX_ANSWER + _MAX_FRAMING if self._has_head else MAX_HEAD

    def _end_time(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._break_off(AnswerTimeout())

    def _break_off(self, error: HttpCallFailed) -> None:
        """End the call with what there is: an answer that is not whole, or the error."""
        self._keeps_alive = False
        if self._has_head:
            self._finish(is_whole=False)
        elif self._waiter is not None:
            self._waiter.set_exception(error)

    def _finish(self, *, is_whole: bool) -> None:
        if self._waiter is not None:
            self._waiter.set_result(
                HttpAnswer(
                    status_code=self._status,
                    headers=Headers(self._headers),
                    content=b"".join(self._chunks),
                    is_whole=is_whole and self._size <= MAX_ANSWER and self._is_sent(),
                )
            )
