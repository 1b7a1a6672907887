"""Under which name this machine greets an SMTP server (RFC 5321 §4.1.1.1)."""

import ipaddress
import re
import socket
from functools import cached_property

from mercury.lib.runtime import process_state

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NOBODYS = ("localhost", "localdomain", "localhost.localdomain")  # names that every machine has


def get_ehlo_name(local_address: str, *, configured: str = "") -> str:
    """Return the configured name, else the machine's full name, else an address literal. Never `localhost`.

    `local_address`: this end of the connection.
    """
    return configured or process_state.get(_Machine).full_name or format_address_literal(local_address)


class _Machine:
    """This machine, as far as it knows itself."""

    @cached_property
    def full_name(self) -> str:
        """Return the fully qualified name, or nothing if the machine knows none. May ask DNS, once."""
        for name in (socket.gethostname(), socket.getfqdn()):
            if is_full_name(name):
                return name.lower()
        return ""


def is_full_name(name: str) -> bool:
    """Return True if it is a host name of several labels that more than this machine could have."""
    labels = name.split(".")
    return (
        len(labels) > 1
        and len(name) <= 253
        and not labels[-1].isdigit()
        and all(map(_LABEL.fullmatch, labels))
        and not name.lower().endswith(_NOBODYS)
    )


def is_ehlo_name(text: str) -> bool:
    """Return True if EHLO may carry it: a full name, or an address literal such as [192.0.2.1] or [IPv6:2001:db8::1]."""
    if not (text.startswith("[") and text.endswith("]")):
        return is_full_name(text)
    try:
        return format_address_literal(text[1:-1].removeprefix("IPv6:")) == text
    except ValueError:
        return False


def format_address_literal(address: str) -> str:
    """Return the IP address as EHLO carries it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return f"[IPv6:{ip}]" if ip.version == 6 else f"[{ip}]"
