"""Send over HTTP: a kind builds the request, aiohttp sends it on pooled connections, within limits.

It follows no redirect, uses no proxy of the environment, reads at most 64 KB of an answer, and has one deadline for all.
Whatever the provider does, the result is an Outcome.
"""

import base64
import copy
import datetime as dt
import json
import ssl
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import requests
from anymail.exceptions import AnymailError
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string
from yarl import URL

from providers import classify, outbound_hosts, tls
from providers.accounts.config import AccountConfig
from providers.kinds.base import MAX_CONNECTIONS
from providers.kinds.catalog import KINDS
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Accepted, FailureClass, Outcome, Refused, Unknown
from providers.transports import redaction
from providers.transports.http_recipients import send_to_all

_NOT_ANYMAILS = frozenset({MAX_CONNECTIONS.name, "ca"})  # options that anymail does not know
MAX_ANSWER = 64 * 1024  # bytes
KEEPALIVE = 4.0  # seconds: a reset on a stale connection would look like a lost answer
_DNS_TTL = 30


@dataclass(slots=True, kw_only=True)
class HttpAnswer:
    """A provider's answer, enough like a `requests.Response` for anymail to read it."""

    status_code: int
    url: str
    headers: Mapping[str, str]
    content: bytes = b""
    is_whole: bool = True  # False: cut at the limit, broken off, or impossible to decompress
    reason: str = ""
    request: None = field(default=None)

    @property
    def text(self) -> str:
        """Return the body as text; bytes that are not UTF-8 are replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON. Raises ValueError."""
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("nested too deep") from None


def open_session(*, deadline: float, connect_timeout: float) -> aiohttp.ClientSession:
    """Return the session that all HTTP accounts of an event loop share."""
    to_connect = min(connect_timeout, 0.9 * deadline)  # ends first, so that a call that never began is known as such
    connector = aiohttp.TCPConnector(
        limit=0,  # the dispatcher limits the calls in progress; waiting here would count as time to connect
        keepalive_timeout=KEEPALIVE,
        ttl_dns_cache=_DNS_TTL,
        resolver=outbound_hosts.GuardedResolver(outbound_hosts.get_allowed_hosts(), patience=0.9 * to_connect),
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=deadline, connect=to_connect, sock_connect=to_connect),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


class HttpChannel:
    """One account of an HTTP provider. Keeps what is the same for all emails; has no connection of its own."""

    def __init__(self, account: AccountConfig, *, session: aiohttp.ClientSession) -> None:
        kind = KINDS[account.kind]
        ca = account.options.get("ca")
        self._tls: ssl.SSLContext | bool = tls.build_client_context(ca) if ca else True
        options = {name: value for name, value in account.options.items() if name not in _NOT_ANYMAILS}
        self._backend = import_string(kind.backend)(**options)
        self._trust_500 = account.trust_500
        self._session = session
        self._clean = redaction.build_cleaner(
            [str(account.options[o.name]) for o in kind.options if o.secret and account.options.get(o.name)]
        )
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Mercury/1.0"}
        self._urls: dict[str, URL] = {}
        outbound_hosts.check_secret(account.options, allowed=outbound_hosts.get_allowed_hosts())
        outbound_hosts.check_literal(
            outbound_hosts.extract_host(account.options["api_url"]), allowed=outbound_hosts.get_allowed_hosts()
        )

    async def send(self, message: EmailMessage) -> Outcome:
        """Send the email within the session's deadline: in one call, or in more if some addresses are refused."""
        ends_at = time.monotonic() + (self._session.timeout.total or 0.0)

        def time_left() -> float:
            return ends_at - time.monotonic()

        async def send(addresses: Sequence[str]) -> tuple[Outcome, RejectedRecipients]:
            part = copy.copy(message)
            part.to = list(addresses)
            return await self._send_once(part, time_left())

        return await send_to_all(message.to, send, time_left=time_left)

    async def _send_once(self, message: EmailMessage, time_left: float) -> tuple[Outcome, RejectedRecipients]:
        """Call the provider once; return the outcome and the recipients that a refusal is about."""
        try:
            payload = self._backend.build_message_payload(message, {})
            params = payload.get_request_params(self._backend.api_url)
            url, headers, body = self._parse_url(params["url"]), *_encode(params)
        except (AnymailError, ValueError, TypeError) as error:
            words = error.args[0] if error.args else type(error).__name__
            return classify.refuse_uncalled(FailureClass.MESSAGE, "unsupported", self._clean(str(words))), NONE_REJECTED
        try:
            answer = await self._call(params["method"], url, headers, body, time_left)
        except (aiohttp.ClientError, OSError) as error:
            return classify.judge_failure(error, self._clean), NONE_REJECTED
        outcome = self._judge(answer, payload, message)
        if not isinstance(outcome, Refused) or outcome.failure_class is not FailureClass.MESSAGE:
            return outcome, NONE_REJECTED
        return outcome, self._find_rejected(answer, message.to)

    def _find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        try:
            rejected: RejectedRecipients = self._backend.find_rejected(answer.json(), recipients)
        except ValueError:
            return NONE_REJECTED
        return replace(rejected, reasons={address: self._clean(text) for address, text in rejected.reasons.items()})

    def close(self) -> None:
        """Close nothing: connections belong to the session."""

    async def _call(self, method: str, url: URL, headers: dict[str, str], body: bytes, time_left: float) -> HttpAnswer:
        to_connect = min(self._session.timeout.connect or time_left, 0.9 * time_left)
        timeout = aiohttp.ClientTimeout(total=time_left, connect=to_connect, sock_connect=to_connect)
        async with self._session.request(
            method,
            url,
            data=body,
            headers=self._headers | headers,
            allow_redirects=False,
            timeout=timeout,
            ssl=self._tls,
        ) as response:
            answer = HttpAnswer(status_code=response.status, url=str(url), headers=response.headers)
            await _read_into(answer, response)
            return answer

    def _judge(self, answer: HttpAnswer, payload: Any, message: EmailMessage) -> Outcome:
        status = answer.status_code
        if 200 <= status < 300:
            message_id = (
                self._backend.read_message_id(answer, payload, message) if self._is_documented(answer) else None
            )
            if message_id is None:
                return Unknown(reason_code=f"unexpected-{status}", reason=self._read_reason(answer), status_code=status)
            return Accepted(provider_message_id=self._clean(message_id)[:255], status_code=status)
        return classify.judge_status(
            status,
            self._read_reason(answer),
            retry_after=_read_wait_header(answer),
            trust_500=self._trust_500,
            is_documented=bool(_read_messages(answer)),
            now=dt.datetime.now(dt.UTC),
        )

    def _is_documented(self, answer: HttpAnswer) -> bool:
        return answer.is_whole and answer.status_code == self._backend.accepted_status

    def _read_reason(self, answer: HttpAnswer) -> str:
        """Return the provider's words: the messages of its JSON if it has some, else the whole text."""
        return self._clean(_read_messages(answer) or answer.text) or f"HTTP {answer.status_code} without a body"

    def _parse_url(self, text: str) -> URL:
        """Return the URL parsed. Results are kept: parsing costs as much as building a small payload."""
        url = self._urls.get(text)
        if url is None:
            if len(self._urls) > 1000:
                self._urls.clear()
            url = self._urls[text] = URL(text)
        return url


def _read_wait_header(answer: HttpAnswer) -> str | None:
    """Return the header that says when to come back, None if there is none."""
    names = ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset") if answer.status_code == 429 else ("Retry-After",)
    return next((answer.headers[name] for name in names if name in answer.headers), None)


def _encode(params: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the request that anymail would have passed to `requests`."""
    headers, data, auth = dict(params["headers"] or {}), params["data"], params["auth"]
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    if params.get("files"):
        prepared = requests.Request("POST", params["url"], data=data, files=params["files"]).prepare()
        headers["Content-Type"] = prepared.headers["Content-Type"]
        return headers, prepared.body if isinstance(prepared.body, bytes) else b""
    if isinstance(data, bytes):
        return headers, data
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    return headers, urlencode(data, doseq=True).encode()


async def _read_into(answer: HttpAnswer, response: aiohttp.ClientResponse) -> None:
    """Read at most 64 KB of the body. A status is an answer, even if the body breaks off."""
    chunks, left = [], MAX_ANSWER + 1
    try:
        while left > 0 and (chunk := await response.content.read(left)):
            chunks.append(chunk)
            left -= len(chunk)
    except (aiohttp.ClientError, OSError):  # OSError: also the deadline, which is a TimeoutError
        answer.is_whole = False
    if left <= 0:
        answer.is_whole = False
        response.close()
    answer.content = b"".join(chunks)[:MAX_ANSWER]
    _decompress(answer)


def _decompress(answer: HttpAnswer) -> None:
    """Undo a Content-Encoding that we did not request, up to the same limit."""
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return
    unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        answer.content = unpacker.decompress(answer.content, MAX_ANSWER)
        answer.is_whole = answer.is_whole and unpacker.eof
    except zlib.error:
        answer.content, answer.is_whole = b"", False


def _read_messages(answer: HttpAnswer) -> str:
    """Return the messages in SendGrid's `errors` or Mailgun's `message`; empty if there are none."""
    try:
        document = answer.json()
    except ValueError:
        return ""
    if not isinstance(document, dict):
        return ""
    if isinstance(document.get("message"), str):
        return str(document["message"])
    errors = document.get("errors")
    if not isinstance(errors, list):
        return ""
    entries = [error for error in errors if isinstance(error, dict) and isinstance(error.get("message"), str)]
    return "; ".join(f"{e['field']}: {e['message']}" if e.get("field") else str(e["message"]) for e in entries)
