"""SMTP: submission to a mail server (RFC 6409). `transports.smtp` speaks it."""

from collections.abc import Mapping
from typing import Any

from providers.kinds import cleaning
from providers.kinds.base import CA, MAX_CONNECTIONS, AccountUrl, Option, OptionsInvalid, ProviderKind, Transport
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature

_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def _read_url(url: AccountUrl) -> Mapping[str, Any]:
    return {"host": url.host, "port": url.port, "username": url.username, "password": url.password}


def _read_tls_url(url: AccountUrl) -> Mapping[str, Any]:
    return {**_read_url(url), "security": "tls"}


def _complete(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the port, which follows from the security. Raises OptionsInvalid for half a login."""
    if bool(options["username"]) != bool(options["password"]):
        raise OptionsInvalid({"password": "Set both user name and password, or neither."})
    return {"port": options["port"] or _PORTS[options["security"]]}


SMTP = ProviderKind(
    key="smtp",
    label="SMTP",
    transport=Transport.SMTP,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.SMTPUTF8},  # where the server says so, which is known only then
        keeps_message_id=True,
        sends_exact_bytes=True,
        shows_all_recipients=True,
        answers_per_recipient=True,
        reports_delivery=False,
    ),
    options=(
        Option(name="host", label="Host", required=True, is_destination=True, clean=cleaning.clean_host),
        Option(
            name="port",
            label="Port",
            help="Empty: 587 with STARTTLS, 465 with TLS, 25 without.",
            most=65535,
            is_destination=True,
        ),
        Option(name="username", label="User name", clean=cleaning.clean_login),
        Option(name="password", label="Password", secret=True, keeps_blanks=True),
        Option(name="security", label="Security", default="starttls", choices=tuple(_PORTS), is_destination=True),
        MAX_CONNECTIONS,
        Option(
            name="ehlo_name",
            label="EHLO name",
            help="Empty: MERCURY_EHLO_NAME, or this machine's full name.",
            is_extra=True,
            clean=cleaning.clean_ehlo_name,
        ),
        CA,
    ),
    complete=_complete,
    schemes={"smtp": _read_url, "smtps": _read_tls_url},
    counts_recipients=False,
    most_at_once=32,
)
