"""Addresses of clients: read from what a proxy wrote, and as the network that one client has to itself."""

import ipaddress
import re

UNKNOWN = "0.0.0.0"  # noqa: S104 (no client has it; all whose address is not known share it)
_WITH_PORT = re.compile(r"\[(?P<six>[0-9A-Fa-f:.]+)\](:\d{1,5})?|(?P<four>\d{1,3}(\.\d{1,3}){3}):\d{1,5}", re.ASCII)


def parse(text: str) -> str:
    """Return the address, some proxies write a port behind it. Raises ValueError if there is none."""
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found["six"] or found["four"]
    address = ipaddress.ip_address(text)
    return str(getattr(address, "ipv4_mapped", None) or address)


def get_network(text: str) -> str:
    """Return what one client has to itself: an IPv4 address, or the first address of an IPv6 /64; UNKNOWN for no address."""
    try:
        address = ipaddress.ip_address(parse(text))
    except ValueError:
        return UNKNOWN
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)).network_address)
