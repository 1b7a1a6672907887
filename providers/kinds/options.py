"""Check the options of an account. Environment, API, admin and commands all use these rules."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from yarl import URL

from mercury.lib.mail import ehlo
from providers import tls
from providers.kinds.base import Option, Transport
from providers.kinds.catalog import KINDS


class OptionsInvalid(Exception):
    """The options make no account of this kind. `errors` says for each option what is wrong."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {problem}" for name, problem in errors.items()))
        self.errors = dict(errors)


_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----")


_LABEL = re.compile(r"[^\W_]([\w-]{0,61}[^\W_])?")


_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def clean_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options with defaults, as the transports need them.

    Raises OptionsInvalid, which names each invalid option, also one that the kind does not have. Does not check whether
    the host may be called: `outbound_hosts` does.
    """
    known = KINDS[kind]
    errors = {
        name: f"{known.label} has no such option. Known: {', '.join(o.name for o in known.options) or 'none'}."
        for name in options
        if known.find_option(name) is None
    }
    values: dict[str, Any] = {}
    for option in known.options:
        try:
            value = _clean_value(option, options.get(option.name))
        except ValueError as error:
            errors[option.name] = str(error)
            continue
        if value is not None or not option.is_extra:
            values[option.name] = value
    if errors:
        raise OptionsInvalid(errors)
    if known.transport is Transport.SMTP:
        values["port"] = values["port"] or _PORTS[values["security"]]
        if bool(values["username"]) != bool(values["password"]):
            raise OptionsInvalid({"password": "Set both user name and password, or neither."})
    return values


def _clean_value(option: Option, value: Any) -> Any:
    """Return the value as stored. Raises ValueError with a sentence that does not repeat the value."""
    if value is None or value == "":
        if option.required:
            raise ValueError("It is required.")
        return option.default
    if option.most is not None:
        return _clean_number(value, option.most)
    if not isinstance(value, str):
        raise ValueError("It must be a string.")
    if option.is_long:
        return _clean_ca(value)
    if option.name != "password":  # which may begin or end with a blank
        value = value.strip()
    if not value.isprintable() or len(value) > 2048:
        raise ValueError("It must be one line of at most 2048 printable characters.")
    if (option.secret or option.name == "username") and not value.isascii():
        raise ValueError("It must be ASCII: other characters cannot be sent in a login.")
    if option.choices and value not in option.choices:
        raise ValueError(f"It must be one of {', '.join(option.choices)}.")
    clean = _CLEANERS.get(option.name)
    return clean(value) if clean else value


def _clean_ca(value: str) -> str:
    """Return the certificates of a PEM text, without the text around them."""
    if len(value) > tls.MAX_CA:
        raise ValueError(f"It must have at most {tls.MAX_CA} characters.")
    certificates = "\n".join(_CERTIFICATE.findall(value.replace("\r\n", "\n")))
    if not certificates:
        raise ValueError("It contains no certificate in PEM form (-----BEGIN CERTIFICATE-----).")
    tls.build_client_context(certificates)
    return certificates


def _clean_ehlo_name(value: str) -> str:
    if not ehlo.is_ehlo_name(value):
        raise ValueError("It must be a full host name such as mail.example.com, or an address such as [192.0.2.1].")
    return value


def _clean_sender_domain(value: str) -> str:
    """Return the domain in its IDNA form, for the path of the API."""
    return URL.build(scheme="https", host=_clean_host(value)).raw_host or value


def _clean_host(value: str) -> str:
    host = value.removesuffix(".")
    if not _is_host(host):
        raise ValueError("It must be a bare host name.")
    return host


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


def _clean_number(value: Any, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 0 < int(value) <= most:
        raise ValueError(f"It must be a number from 1 to {most}.")
    return int(value)


def _clean_url(value: str) -> str:
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


_CLEANERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "api_url": _clean_url,
        "host": _clean_host,
        "sender_domain": _clean_sender_domain,
        "ehlo_name": _clean_ehlo_name,
    }
)
