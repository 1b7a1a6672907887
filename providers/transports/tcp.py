"""Open a TCP connection to one of several addresses, without waiting long for one that does not answer (RFC 8305)."""

import asyncio
import errno
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest

from providers.outbound_hosts import Address

HEAD_START = 0.25  # seconds until the next address is tried as well


async def open_socket(addresses: Sequence[Address]) -> socket.socket:
    """Return a socket connected to the first of these addresses that answers, IPv6 and IPv4 in turn.

    Raises the most useful error: a missing route for IPv6 matters only if IPv4 did not answer either.
    """
    waiting, attempts = _alternate(addresses), set[asyncio.Task[socket.socket]]()
    failure: BaseException | None = None
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.pop(0))))
            done, _ = await asyncio.wait(
                attempts, timeout=HEAD_START if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                attempts.remove(attempt)
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                if not isinstance(failure, OSError) or failure.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
                    failure = error
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_close)
            attempt.cancel()
    raise failure or OSError("The host's name has no address.")


def _alternate(addresses: Sequence[Address]) -> list[Address]:
    """Return the addresses with both families in turn, beginning with that of the first."""
    if not addresses:
        return []
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]


async def _connect(address: Address) -> socket.socket:
    family, target = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    """Close the connection of an attempt that nobody waits for."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
