"""The URLs that a webhook may have."""

from urllib.parse import urlsplit

from providers import outbound_hosts
from providers.outbound_hosts import HostNotAllowed
from providers.transports.http_client import Endpoint, parse_endpoint

MAX_URL = 2000  # characters


class UrlNotAllowed(ValueError):
    """The URL cannot be that of a webhook; the text says why, and what to do."""


def check_url(url: str) -> None:
    """Raise UrlNotAllowed unless a webhook may have this URL. Asks DNS: private addresses are refused.

    The addresses that its host has at the moment of sending are checked again, so that a name that changes them gains
    nothing.
    """
    endpoint = parse_url(url)
    try:
        outbound_hosts.check_host(endpoint.host, allowed=outbound_hosts.get_allowed_hosts())
    except HostNotAllowed as error:
        raise UrlNotAllowed(str(error)) from None


def parse_url(url: str) -> Endpoint:
    """Return where the URL leads. Raises UrlNotAllowed for what can be seen without DNS."""
    if len(url) > MAX_URL:
        raise UrlNotAllowed(f"The URL has {len(url):,} characters; the maximum is {MAX_URL:,}.")
    if not url.isprintable() or " " in url:
        raise UrlNotAllowed("The URL has a space or an invisible character.")
    try:
        parts, endpoint = urlsplit(url), parse_endpoint(url)
    except ValueError:
        raise UrlNotAllowed("It is not a URL with a host. Write it as https://example.com/path.") from None
    if parts.username is not None or parts.password is not None:
        raise UrlNotAllowed("The URL has a user name or password. Remove them: each request is signed.")
    if parts.fragment:
        raise UrlNotAllowed("The URL has a fragment (#…), which is never sent. Remove it.")
    if not endpoint.is_tls and endpoint.host.lower() not in outbound_hosts.get_allowed_hosts():
        raise UrlNotAllowed("The URL needs https. HTTP is allowed to hosts in MERCURY_PRIVATE_HOSTS_ALLOWED alone.")
    try:
        outbound_hosts.check_literal(endpoint.host, allowed=outbound_hosts.get_allowed_hosts())
    except HostNotAllowed as error:
        raise UrlNotAllowed(str(error)) from None
    return endpoint
