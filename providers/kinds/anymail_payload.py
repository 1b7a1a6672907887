"""The part of a payload that all kinds built by django-anymail share: fast address parsing, and no work for absent fields.

anymail builds the payload and reads the answer; `transports.http` opens the connection.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

import orjson
from anymail.backends.base import BasePayload
from anymail.backends.base_requests import RequestsPayload
from anymail.utils import EmailAddress, parse_address_list

# Every option anymail would otherwise take from Django's global settings.
NO_GLOBAL_FALLBACK: Mapping[str, Any] = {
    "ignore_unsupported_features": False,
    "ignore_recipient_status": False,
    "debug_api_requests": False,
    "send_defaults": {},
    "idna_encoder": "idna2008",
    "requests_timeout": None,
}


_PLAIN = re.compile(
    r"([\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)", re.ASCII
)


def parse_addresses(texts: str | Sequence[str]) -> list[EmailAddress]:
    """Return the parsed addresses. Plain ones skip the parser, which is a third of a payload's cost."""
    found: list[EmailAddress] = []
    for address in (texts,) if isinstance(texts, str) else texts:
        plain = _PLAIN.fullmatch(address)
        if plain:
            found.append(EmailAddress(username=plain[1], domain=plain[2]))
        else:
            found += parse_address_list([address])
    return found


_MESSAGE_ATTRS = tuple(
    (name, combine, parse_addresses if convert is parse_address_list else convert)
    for name, combine, convert in BasePayload.base_message_attrs
)
_ALWAYS = frozenset({"subject", "body", *BasePayload.batch_attrs})  # a space replaces an empty one; anymail needs these
_join = lru_cache(maxsize=1024)(urljoin)


class LeanPayload(RequestsPayload):  # type: ignore[misc]
    """anymail's payload, without the work for what a message does not have: half of its cost."""

    def __init__(self, message: Any, defaults: Mapping[str, Any], backend: Any, **options: Any) -> None:
        self.base_message_attrs = _select_filled(message, _MESSAGE_ATTRS)
        self.anymail_message_attrs = _select_filled(message, BasePayload.anymail_message_attrs)
        super().__init__(message, defaults, backend, **options)

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        """Return the arguments that anymail would pass to `requests`."""
        params: dict[str, Any] = super().get_request_params(_join(api_url, super().get_api_endpoint()))
        return params

    def get_api_endpoint(self) -> None:
        """Return nothing: `get_request_params` joins it to the URL, once for all emails."""

    def serialize_json(self, data: Any) -> bytes:
        """Return the document as UTF-8. Raises TypeError for a value that JSON cannot hold."""
        return orjson.dumps(data, default=self._json_default)


def _select_filled(message: Any, attrs: Sequence[tuple[str, Any, Any]]) -> tuple[tuple[str, Any, Any], ...]:
    """Return the attributes that have a value in this message."""
    return tuple(attr for attr in attrs if attr[0] in _ALWAYS or getattr(message, attr[0], None))
