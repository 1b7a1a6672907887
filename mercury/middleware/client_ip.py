"""The client's address behind proxies."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from mercury.lib import client_addresses

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def set_client_address(get_response: GetResponse) -> GetResponse:
    """Take the client's address from X-Forwarded-For, as far as MERCURY_PROXIES says that it can be believed.

    Each proxy of ours appends the address that it was called from, so the client's is that many from the right; what
    comes before it, the client may have written. Where the header has fewer, or what is no address, the client's is not known,
    and empty: the proxy's own address is never used for it. Without the header the client called directly.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        said = request.META.get("HTTP_X_FORWARDED_FOR")
        if settings.MERCURY_PROXIES and said is not None:
            request.META["REMOTE_ADDR"] = _find_client(said.split(","), settings.MERCURY_PROXIES)
        return get_response(request)

    return middleware


def _find_client(said: list[str], proxies: int) -> str:
    try:
        return client_addresses.parse(said[-proxies])
    except (IndexError, ValueError):
        return ""
