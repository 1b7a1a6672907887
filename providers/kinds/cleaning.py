"""Checks of single option values. Each returns the value as it is stored, or raises ValueError with a sentence for people.

The sentence never repeats the value: it may be a secret.
"""

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from yarl import URL

from mercury.lib.mail import ehlo
from providers import tls

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----")
_LABEL = re.compile(r"[^\W_]([\w-]{0,61}[^\W_])?")
MAX_LENGTH = 2048  # characters of one line


def clean_line(value: str) -> str:
    """Return one line of printable characters."""
    if not value.isprintable() or len(value) > MAX_LENGTH:
        raise ValueError(f"It must be one line of at most {MAX_LENGTH} printable characters.")
    return value


def clean_login(value: str) -> str:
    """Return text that can be sent in a login."""
    if not value.isascii():
        raise ValueError("It must be ASCII: other characters cannot be sent in a login.")
    return value


def clean_number(value: Any, most: int) -> int:
    """Return a whole number from 1."""
    if not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 0 < int(value) <= most:
        raise ValueError(f"It must be a number from 1 to {most}.")
    return int(value)


def clean_ca(value: str) -> str:
    """Return the certificates of a PEM text, without the text around them."""
    if len(value) > tls.MAX_CA:
        raise ValueError(f"It must have at most {tls.MAX_CA} characters.")
    certificates = "\n".join(_CERTIFICATE.findall(value.replace("\r\n", "\n")))
    if not certificates:
        raise ValueError("It contains no certificate in PEM form (-----BEGIN CERTIFICATE-----).")
    tls.build_client_context(certificates)
    return certificates


def clean_ehlo_name(value: str) -> str:
    """Return a full host name, or an address in brackets."""
    if not ehlo.is_ehlo_name(value):
        raise ValueError("It must be a full host name such as mail.example.com, or an address such as [192.0.2.1].")
    return value


def clean_domain(value: str) -> str:
    """Return the domain in its IDNA form, for the path of the API."""
    return URL.build(scheme="https", host=clean_host(value)).raw_host or value


def clean_host(value: str) -> str:
    """Return a bare host name or address, without the final dot."""
    host = value.removesuffix(".")
    if not _is_host(host):
        raise ValueError("It must be a host name or an address alone, without scheme, port or path.")
    return host


def clean_url(value: str) -> str:
    """Return the address of an API: https or http, a host, no user name, query or fragment."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("It is not a URL.") from None
    if parts.scheme not in ("https", "http") or not _is_host((parts.hostname or "").removesuffix(".")):
        raise ValueError("It must begin with https:// and a host.")
    if port == 0:
        raise ValueError("Its port must be a number from 1 to 65535.")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("It must have no user name, query or fragment.")
    return value


def _is_host(text: str) -> bool:
    """Return True for a host name (RFC 1123 §2.1, or an international one) or an IP address."""
    if ":" in text:
        return _is_ipv6(text)
    if text.rpartition(".")[2].isdigit():  # no top-level domain is a number
        return _is_ipv4(text)
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))


def _is_ipv4(text: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    """Return True for an IPv6 address without a zone: zones name interfaces of this machine."""
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False
