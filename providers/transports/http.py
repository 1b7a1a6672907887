"""Sending over HTTP: a payload class knows what to say, aiohttp says it on pooled connections, within bounds.

No redirect is followed, no proxy of the environment used, no more than 64 KB of an answer read, and one deadline
covers all. Whatever the provider does, the result is an Outcome.
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
from providers.kinds.capabilities import KINDS, MAX_CONNECTIONS
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Accepted, FailureClass, Outcome, Refused, Unknown
from providers.transports import redaction
from providers.transports.http_recipients import send_to_all

_OURS = frozenset({MAX_CONNECTIONS.name, "ca"})  # options that anymail's backends do not know
MAX_ANSWER = 64 * 1024  # bytes
KEEPALIVE = 4.0  # seconds: a reset on a stale connection would look like a lost answer
_DNS_TTL = 30


@dataclass(slots=True)
class Answer:
    """A provider's answer, looking enough like a `requests.Response` for anymail to read it."""

    status_code: int
    url: str
    headers: Mapping[str, str]
    content: bytes = b""
    whole: bool = True  # False: cut at the bound, broken off, or not to be unpacked
    reason: str = ""
    request: None = field(default=None)

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("nested too deep") from None


def open_session(*, deadline: float, connect_timeout: float) -> aiohttp.ClientSession:
    """The one session that all HTTP accounts of an event loop share."""
    to_connect = min(
        connect_timeout, 0.9 * deadline
    )  # always the first to end, so that a call that never began is known
    connector = aiohttp.TCPConnector(
        limit=0,  # the drain bounds the calls in flight; waiting here would count as time to connect
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
    """One account of an HTTP provider. Keeps what does not change from mail to mail; holds no connection of its own."""

    def __init__(self, account: AccountConfig, *, session: aiohttp.ClientSession) -> None:
        kind = KINDS[account.kind]
        ca = account.options.get("ca")
        self._tls: ssl.SSLContext | bool = tls.build_client_context(ca) if ca else True
        options = {name: value for name, value in account.options.items() if name not in _OURS}
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
        """Hand the email over within the session's deadline: in one call, or in more where some addresses are refused."""
        ends_at = time.monotonic() + (self._session.timeout.total or 0.0)

        def time_left() -> float:
            return ends_at - time.monotonic()

        async def send(addresses: Sequence[str]) -> tuple[Outcome, RejectedRecipients]:
            part = copy.copy(message)
            part.to = list(addresses)
            return await self._send_once(part, time_left())

        return await send_to_all(message.to, send, time_left=time_left)

    async def _send_once(self, message: EmailMessage, time_left: float) -> tuple[Outcome, RejectedRecipients]:
        """Call the provider once; return what came of it, and the recipients that it finds fault with."""
        try:
            payload = self._backend.build_message_payload(message, {})
            params = payload.get_request_params(self._backend.api_url)
            url, headers, body = self._url(params["url"]), *_encoded(params)
        except (AnymailError, ValueError, TypeError) as error:
            words = error.args[0] if error.args else type(error).__name__
            return classify.refuse_uncalled(FailureClass.MESSAGE, "unsupported", self._clean(str(words))), NONE_REJECTED
        try:
            answer = await self._call(params["method"], url, headers, body, time_left)
        except (aiohttp.ClientError, OSError) as error:
            return classify.judge_failure(error, self._clean), NONE_REJECTED
        outcome = self._outcome(answer, payload, message)
        if not isinstance(outcome, Refused) or outcome.fault is not FailureClass.MESSAGE:
            return outcome, NONE_REJECTED
        return outcome, self._blame(answer, message.to)

    def _blame(self, answer: Answer, recipients: Sequence[str]) -> RejectedRecipients:
        try:
            blame: RejectedRecipients = self._backend.blame(answer.json(), recipients)
        except ValueError:
            return NONE_REJECTED
        return replace(blame, words={address: self._clean(words) for address, words in blame.words.items()})

    def close(self) -> None:
        """Nothing is held open: connections belong to the session."""

    async def _call(self, method: str, url: URL, headers: dict[str, str], body: bytes, time_left: float) -> Answer:
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
            answer = Answer(response.status, str(url), response.headers)
            await _read_into(answer, response)
            return answer

    def _outcome(self, answer: Answer, payload: Any, message: EmailMessage) -> Outcome:
        status = answer.status_code
        if 200 <= status < 300:
            name = self._backend.name_given(answer, payload, message) if self._is_documented(answer) else None
            if name is None:
                return Unknown(f"unexpected-{status}", self._reason(answer), status)
            return Accepted(self._clean(name)[:255], status)
        return classify.judge_status(
            status,
            self._reason(answer),
            retry_after=_asked_wait(answer),
            trust_500=self._trust_500,
            is_documented=bool(_messages(answer)),
            now=dt.datetime.now(dt.UTC),
        )

    def _is_documented(self, answer: Answer) -> bool:
        return answer.whole and answer.status_code == self._backend.accepted_status

    def _reason(self, answer: Answer) -> str:
        """The provider's words: the messages of its JSON where there are some, else the text as it came."""
        return self._clean(_messages(answer) or answer.text) or f"HTTP {answer.status_code} without a text"

    def _url(self, text: str) -> URL:
        """A parsed URL; parsing one costs as much as building a small payload."""
        url = self._urls.get(text)
        if url is None:
            if len(self._urls) > 1000:
                self._urls.clear()
            url = self._urls[text] = URL(text)
        return url


def _asked_wait(answer: Answer) -> str | None:
    """Return what the answer's headers say of when to come back."""
    names = ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset") if answer.status_code == 429 else ("Retry-After",)
    return next((answer.headers[name] for name in names if name in answer.headers), None)


def _encoded(params: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Headers and body of what anymail would have handed to requests."""
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


async def _read_into(answer: Answer, response: aiohttp.ClientResponse) -> None:
    """Read at most 64 KB of the body. A status is an answer, whatever becomes of the body after it."""
    chunks, left = [], MAX_ANSWER + 1
    try:
        while left > 0 and (chunk := await response.content.read(left)):
            chunks.append(chunk)
            left -= len(chunk)
    except (aiohttp.ClientError, OSError):  # OSError: also the deadline, which is a TimeoutError
        answer.whole = False
    if left <= 0:
        answer.whole = False
        response.close()
    answer.content = b"".join(chunks)[:MAX_ANSWER]
    _unpack(answer)


def _unpack(answer: Answer) -> None:
    """Undo a Content-Encoding that we did not ask for, up to the same bound."""
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return
    unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        answer.content = unpacker.decompress(answer.content, MAX_ANSWER)
        answer.whole = answer.whole and unpacker.eof
    except zlib.error:
        answer.content, answer.whole = b"", False


def _messages(answer: Answer) -> str:
    """What SendGrid (`errors`) and Mailgun (`message`) put their words into."""
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
    found = [error for error in errors if isinstance(error, dict) and isinstance(error.get("message"), str)]
    return "; ".join(f"{e['field']}: {e['message']}" if e.get("field") else str(e["message"]) for e in found)
