"""The hosts that Mercury may connect to. Operators may set addresses of providers, but not of the private network.

Checked twice: when an account is saved, and with the addresses that a name has at the moment of connecting. So a name that
changes its addresses later (DNS rebinding) gains nothing.
"""

import asyncio
import errno
import functools
import ipaddress
import socket
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from yarl import URL

_DNS_TTL = 30.0  # seconds
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")  # a cloud's metadata is in it; older Python calls most of it global
_IPV6_AT_LARGE = ipaddress.ip_network("2000::/3")  # all that is assigned so far; the rest wraps or is reserved


class HostNotAllowed(OSError):
    """The host is, or resolves to, a private address that MERCURY_PRIVATE_HOSTS_ALLOWED does not list."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"'{host}' is a private address, or resolves to one. To allow it, add it to MERCURY_PRIVATE_HOSTS_ALLOWED."
        )
        self.host = host


class SecretExposed(HostNotAllowed):
    """The account's secret would go to the host without TLS, and MERCURY_PRIVATE_HOSTS_ALLOWED does not list the host."""

    def __init__(self, host: str) -> None:
        OSError.__init__(
            self,
            f"The account's secret would go to '{host}' without TLS. "
            "Use TLS. To allow it without TLS, add the host to MERCURY_PRIVATE_HOSTS_ALLOWED.",
        )
        self.host = host


def get_allowed_hosts() -> frozenset[str]:
    """Return the private hosts that may be called, by name or address."""
    return frozenset(host.strip().lower() for host in settings.MERCURY_PRIVATE_HOSTS_ALLOWED)


def is_public(address: str) -> bool:
    """Return True if the IP address is public; also looks into addresses that wrap another."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
        if ip not in _IPV6_AT_LARGE:
            return False
    return ip.is_global and not ip.is_multicast and ip not in _PROTOCOLS


def check_addresses(host: str, addresses: Iterable[str], *, allowed: Collection[str]) -> None:
    """Raise HostNotAllowed if one of the addresses that `host` has now is private and the host is not allowed."""
    if host.lower() in allowed:
        return
    if not all(is_public(address) for address in addresses):
        raise HostNotAllowed(host)


def check_literal(host: str, *, allowed: Collection[str]) -> None:
    """Raise HostNotAllowed if the host is a private IP address itself; accepts every name."""
    if address := _parse_literal(host):
        check_addresses(host, [address], allowed=allowed)


def _parse_literal(host: str) -> str:
    """Return the IP address that the host is, also in short and octal spellings, which need no resolver; else nothing."""
    bare = host.partition("%")[0]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(bare))  # 127.1, 0177.0.0.1
    except OSError:
        return ""


def check_host(host: str, *, allowed: Collection[str]) -> None:
    """Raise HostNotAllowed for a private host. Asks DNS; a name that is not known there passes for now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    check_addresses(host, [str(entry[4][0]) for entry in found], allowed=allowed)


def extract_host(url: str) -> str:
    """Return the host of a URL in lower case, without brackets, port and final dot.

    The result is what `transports.http_client` connects to. Digits of any script are ASCII in it.
    """
    try:
        host = URL(url).raw_host
    except ValueError:  # it will not be called at all
        host = urlsplit(url).hostname
    return (host or "").removesuffix(".")


def is_secret_exposed(options: Mapping[str, Any], *, allowed: Collection[str]) -> bool:
    """Return True if these options of an account send its secret without TLS to a host that is not listed."""
    if "api_url" in options:
        return is_unencrypted(options["api_url"]) and extract_host(options["api_url"]) not in allowed
    return bool(options["password"]) and options["security"] == "none" and options["host"].lower() not in allowed


def check_secret(options: Mapping[str, Any], *, allowed: Collection[str]) -> None:
    """Raise SecretExposed if these options would send the account's secret without TLS to a host that is not listed."""
    if is_secret_exposed(options, allowed=allowed):
        raise SecretExposed(get_host(options))


def get_host(options: Mapping[str, Any]) -> str:
    """Return the host that an account with these options connects to."""
    return extract_host(options["api_url"]) if "api_url" in options else str(options["host"])


def is_unencrypted(url: str) -> bool:
    """Return True if requests to this URL are not encrypted, however its scheme is written."""
    return urlsplit(url).scheme == "http"


Address = tuple[socket.AddressFamily, tuple[Any, ...]]  # family and address as getaddrinfo has them


class GuardedResolver:
    """Resolves host names and refuses those that lead to private addresses. What it returns is to be connected to.

    A lookup runs once for all who ask, also after those who asked first have given up: a resolver that does not answer
    holds one thread for each name, not for each call.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed
        self._lookups: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    async def resolve(self, host: str, port: int, *, patience: float) -> list[Address]:
        """Return the addresses of the host, at most 30 seconds old.

        Raises HostNotAllowed, or the error of a resolver; one that does not answer within `patience` seconds counts as
        not available.
        """
        key, now = (host, port), time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < _DNS_TTL:
            return known[1]
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = asyncio.create_task(look_up(host, port))
            lookup.add_done_callback(functools.partial(self._end_lookup, key))
        done, _ = await asyncio.wait([lookup], timeout=patience)
        if not done:
            raise socket.gaierror(socket.EAI_AGAIN, "The DNS resolver did not answer.")
        addresses = lookup.result()
        check_addresses(host, [str(target[0]) for _, target in addresses], allowed=self._allowed)
        self._known[key] = (now, addresses)
        return addresses

    def _end_lookup(self, key: tuple[str, int], lookup: asyncio.Task[list[Address]]) -> None:
        del self._lookups[key]
        if not lookup.cancelled():
            lookup.exception()  # retrieved, also if nobody waits any more


async def look_up(host: str, port: int) -> list[Address]:
    """Return the addresses that the system's resolver has for the host. Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "Not the name of a host.") from None
    except RuntimeError:  # no thread to ask in
        raise OSError(errno.ENOMEM, "This machine has no thread left.") from None
    return [(socket.AddressFamily(entry[0]), entry[4]) for entry in found]


def resolve_host(address: tuple[str, int], *, allowed: Collection[str]) -> list[tuple[str, int]]:
    """Return the addresses of a host and port. Raises HostNotAllowed, or the resolver's error."""
    host, port = address
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    check_addresses(host, [entry[4][0] for entry in found], allowed=allowed)
    return [entry[4][:2] for entry in found]


def connect(targets: Sequence[tuple[str, int]], *, timeout: float) -> socket.socket:
    """Return a TCP connection to the first of these addresses that answers, each tried for `timeout` seconds.

    Raises the most useful error: a missing route for IPv6 matters only if IPv4 did not answer either.
    """
    failure: OSError | None = None
    for target in targets:
        try:
            return socket.create_connection(target, timeout=timeout)
        except OSError as error:
            if failure is None or failure.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
                failure = error
    raise failure or OSError("The host's name has no address.")
