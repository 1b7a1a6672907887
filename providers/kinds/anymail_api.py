"""Requests by django-anymail: it knows what each provider expects. Mercury sends them, and reads the answers itself.

All kinds share fast address parsing, and no work for fields that a message does not have.
"""

import base64
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from email.header import Header
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import urlencode, urljoin

import orjson
import requests
from anymail.backends.base import BasePayload
from anymail.backends.base_requests import AnymailRequestsBackend, RequestsPayload
from anymail.exceptions import AnymailError
from anymail.utils import (
    Attachment,
    EmailAddress,
    force_non_lazy,
    force_non_lazy_dict,
    force_non_lazy_list,
    parse_address_list,
)
from django.core.mail import EmailMessage

from providers.kinds.http_api import HttpApi, HttpRequest

# Every option anymail would otherwise take from Django's global settings.
NO_GLOBAL_FALLBACK: Mapping[str, Any] = {
    "ignore_unsupported_features": False,
    "ignore_recipient_status": False,
    "debug_api_requests": False,
    "send_defaults": {},
    "idna_encoder": "idna2008",
    "requests_timeout": None,
}
# Characters of a form. To encode more takes twenty times as long as multipart does, and makes up to three times the bytes.
MAX_URLENCODED = 64 * 1024

OUR_ID = "mercury_id"  # name of the metadata that has the email's id
MANY = 1000  # names of metadata: more than an email has
OCTETS = "application/octet-stream"
_PLAIN = re.compile(
    r"([\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)", re.ASCII
)


SET_BY_PROVIDER = frozenset({"date", "message-id"})  # headers that most providers write themselves


def is_plain_address(text: str) -> bool:
    """Return True for an address that needs no parser: ASCII, without a display name or quotes."""
    return _PLAIN.fullmatch(text) is not None


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


def find_shown(message: EmailMessage, idna_encode: Callable[[str], str]) -> dict[str, str]:
    """Return To and Cc with all recipients, as headers have them, of an email whose call goes to some of them only.

    Empty if the call names the same recipients, and without a To that names nobody: the only recipient of a blind copy.
    """
    called = {"To": ", ".join(message.to), "Cc": ", ".join(message.cc)}
    shown: Mapping[str, str] = getattr(message, "shown", called)
    if shown == called:
        return {}
    return {
        name: ", ".join(address.format(idna_encode=idna_encode) for address in parse_addresses(text))
        for name, text in shown.items()
        if text and not text.endswith(";")  # the end of an empty group
    }


def leave_out(headers: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the headers without these names, which are in lower case."""
    return {name: value for name, value in headers.items() if name.lower() not in names}


def encode_headers(headers: Mapping[str, str], *, without: Collection[str] = ()) -> dict[str, str]:
    """Return the headers with values in ASCII (RFC 2047), which every provider passes on as they are.

    `without`: names in lower case, which the provider writes itself.
    """
    return {
        name: value if value.isascii() else Header(value, "utf-8").encode(linesep="")
        for name, value in leave_out(headers, without).items()
    }


def fit_metadata(metadata: Mapping[str, str], *, size: int, most: int = MANY) -> dict[str, str]:
    """Return our id, and of the rest what fits into `size` bytes of JSON and `most` names.

    A provider refuses an email whose metadata is too large; what is left out, Mercury has.
    """
    fitting: dict[str, str] = {}
    for name, value in sorted(metadata.items(), key=lambda entry: entry[0] != OUR_ID):
        larger = fitting | {name: value}
        if len(larger) <= most and len(json.dumps(larger)) <= size:
            fitting = larger
    return fitting


SMALL = 1_000_000  # bytes of a file that is encoded once for the emails that have it


class ExactAttachment(Attachment):  # type: ignore[misc]
    """A file with the bytes and the type that its sender gave it.

    anymail would decode text as UTF-8, which fails for text in another encoding, and name UTF-8 in its type.
    """

    def __init__(self, attachment: Any) -> None:
        match attachment:
            case (name, bytes(content), str(content_type)) if content_type:
                super().__init__((name, content, OCTETS))
                self.content_type, self.mimetype = content_type, content_type.partition(";")[0].strip()
                self.maintype, _, self.subtype = self.mimetype.partition("/")
            case _:
                super().__init__(attachment)

    @property
    def b64content(self) -> str:
        """Its bytes in base64."""
        return encode_base64(self.content_bytes)

    @property
    def b64content_utf8(self) -> str:
        """Its bytes in base64; a text is not converted to UTF-8."""
        return encode_base64(self.content_utf8_bytes)


def encode_base64(content: bytes) -> str:
    """Return the bytes in base64; those of a small file that many emails have are encoded once."""
    return _encode_again(content) if len(content) <= SMALL else base64.b64encode(content).decode()


@lru_cache(maxsize=8)  # at most 20 MB; bytes keep their hash, so that the same ones are found at once
def _encode_again(content: bytes) -> str:
    return base64.b64encode(content).decode()


_Attrs = Sequence[tuple[str, Any, Any]]  # name, how defaults are combined with it, how it is converted

_CONVERTERS: Mapping[Any, Any] = {
    parse_address_list: parse_addresses,
    force_non_lazy: None,
    force_non_lazy_list: list,
    force_non_lazy_dict: dict,
}


def _simplify(attrs: _Attrs) -> _Attrs:
    """Return anymail's attributes for messages that have no lazy text, and no default to be combined with."""
    return tuple(
        (name, None, convert if isinstance(convert, str) else _CONVERTERS.get(convert, convert))
        for name, _, convert in attrs
    )


_MESSAGE_ATTRS, _ANYMAIL_ATTRS = _simplify(BasePayload.base_message_attrs), _simplify(BasePayload.anymail_message_attrs)
_ALWAYS = frozenset({"subject", "body", *BasePayload.batch_attrs})  # a space replaces an empty one; anymail needs these
_join = lru_cache(maxsize=1024)(urljoin)


class LeanPayload(RequestsPayload):  # type: ignore[misc]
    """anymail's payload, without the work for what a message does not have: half of its cost.

    `never_empty`: what the provider refuses if it is empty, "subject" or "body"; a space replaces it.
    """

    never_empty: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, message: Any, defaults: Mapping[str, Any], backend: Any, **options: Any) -> None:
        self.base_message_attrs = _select_filled(message, _MESSAGE_ATTRS)
        self.anymail_message_attrs = _select_filled(message, _ANYMAIL_ATTRS)
        super().__init__(message, defaults, backend, **options)

    def set_subject(self, subject: str) -> None:
        """Set the subject, or a space."""
        super().set_subject(subject or (" " if "subject" in self.never_empty else subject))

    def set_text_body(self, body: str) -> None:
        """Set the text, or a space if it is all that there is."""
        is_blank = not body and "body" in self.never_empty and not getattr(self.message, "alternatives", None)
        super().set_text_body(" " if is_blank else body)

    def prepped_attachments(self, attachments: Sequence[Any]) -> list[Attachment]:
        """Return the attachments with their own bytes and types."""
        return [ExactAttachment(attachment) for attachment in attachments]

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        """Return the arguments that anymail would pass to `requests`. Joins the URL once for all emails."""
        params: dict[str, Any] = super().get_request_params("")  # so its `url` is the endpoint alone
        params["url"] = _join(api_url, params["url"])
        return params

    def serialize_json(self, data: Any) -> bytes:
        """Return the document as UTF-8. Raises TypeError for a value that JSON cannot hold."""
        return orjson.dumps(data, default=self._json_default)


def _select_filled(message: Any, attrs: _Attrs) -> _Attrs:
    """Return the attributes that have a value in this message."""
    return tuple(attr for attr in attrs if attr[0] in _ALWAYS or getattr(message, attr[0], None))


class AnymailApi(HttpApi):
    """An API whose requests anymail's `backend` builds, with the payload class of a kind."""

    payload_class: ClassVar[type[LeanPayload]]

    def __init__(self, backend: AnymailRequestsBackend) -> None:
        self._backend = backend

    def build_request(self, message: EmailMessage) -> HttpRequest:
        """Return the request that anymail would make. Raises ValueError or TypeError if the provider cannot carry it."""
        try:
            params = self.payload_class(message, {}, self._backend).get_request_params(self._backend.api_url)
        except AnymailError as error:
            raise ValueError(error.args[0] if error.args else type(error).__name__) from None
        headers, body = _encode(params)
        return HttpRequest(method=params["method"], url=params["url"], headers=headers, body=body)


def _encode(params: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the request that anymail would have passed to `requests`."""
    headers, data, files, auth = dict(params["headers"] or {}), params["data"], params.get("files"), params["auth"]
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    if isinstance(data, bytes):
        return headers, data
    fields = [(name, value) for name, values in data.items() for value in _as_list(values)]
    if not files and sum(len(value) for _, value in fields) <= MAX_URLENCODED:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return headers, urlencode(fields).encode()
    parts = [(name, (None, value)) for name, value in fields] + list(files or ())
    prepared = requests.Request("POST", params["url"], files=parts).prepare()
    headers["Content-Type"] = prepared.headers["Content-Type"]
    return headers, prepared.body if isinstance(prepared.body, bytes) else b""


def _as_list(values: Any) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list | tuple) else [str(values)]
