"""Send over HTTP: a kind builds the request, aiohttp sends it on pooled connections, within limits.

It follows no redirect, uses no proxy of the environment, reads at most 64 KB of an answer, and has one deadline for all.
Whatever the provider does, the result is an Outcome.
"""

import copy
import datetime as dt
import ssl
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace

import aiohttp
from django.core.mail import EmailMessage
from yarl import URL

from providers import classify, outbound_hosts, tls
from providers.accounts.config import AccountConfig
from providers.kinds.catalog import KINDS
from providers.kinds.http_api import HttpAnswer, HttpRequest
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Outcome, Refused, Unknown
from providers.transports import redaction
from providers.transports.http_recipients import send_to_all

MAX_ANSWER = 64 * 1024  # bytes
KEEPALIVE = 4.0  # seconds: a reset on a stale connection would look like a lost answer
_DNS_TTL = 30


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
        self._api = kind.open_api(account.options)
        self._trust_500 = account.trust_500
        self._most_recipients = kind.capabilities.max_recipients
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

        return await send_to_all(message.to, send, time_left=time_left, most=self._most_recipients)

    async def _send_once(self, message: EmailMessage, time_left: float) -> tuple[Outcome, RejectedRecipients]:
        """Call the provider once; return the outcome and the recipients that a refusal is about."""
        try:
            request = self._api.build_request(message)
            url = self._parse_url(request.url)
        except (ValueError, TypeError) as error:
            words = error.args[0] if error.args else type(error).__name__
            words = self._clean(str(words))
            return NotAttempted(cause=Cause.MESSAGE, reason_code="unsupported", reason=words), NONE_REJECTED
        try:
            answer = await self._call(request, url, time_left)
        except (aiohttp.ClientError, OSError) as error:
            return classify.judge_failure(error, self._clean), NONE_REJECTED
        outcome = self._judge(answer)
        if not isinstance(outcome, Refused) or outcome.failure_class is not FailureClass.MESSAGE:
            return outcome, NONE_REJECTED
        return outcome, self._find_rejected(answer, message.to)

    def _find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        rejected = self._api.find_rejected(answer, recipients)
        return replace(rejected, reasons={address: self._clean(text) for address, text in rejected.reasons.items()})

    def close(self) -> None:
        """Close nothing: connections belong to the session."""

    async def _call(self, request: HttpRequest, url: URL, time_left: float) -> HttpAnswer:
        to_connect = min(self._session.timeout.connect or time_left, 0.9 * time_left)
        timeout = aiohttp.ClientTimeout(total=time_left, connect=to_connect, sock_connect=to_connect)
        async with self._session.request(
            request.method,
            url,
            data=request.body,
            headers={**self._headers, **request.headers},
            allow_redirects=False,
            timeout=timeout,
            ssl=self._tls,
        ) as response:
            answer = HttpAnswer(status_code=response.status, headers=response.headers)
            await _read_into(answer, response)
            return answer

    def _judge(self, answer: HttpAnswer) -> Outcome:
        status = answer.status_code
        if 200 <= status < 300:
            message_id = self._api.read_message_id(answer) if self._is_documented(answer) else None
            if message_id is None:
                return Unknown(reason_code=f"unexpected-{status}", reason=self._read_reason(answer), status_code=status)
            return Accepted(provider_message_id=self._clean(message_id)[:255], status_code=status)
        return classify.judge_status(
            status,
            self._read_reason(answer),
            retry_after=_read_wait_header(answer),
            trust_500=self._trust_500,
            is_documented=bool(self._api.read_error(answer)),
            now=dt.datetime.now(dt.UTC),
        )

    def _is_documented(self, answer: HttpAnswer) -> bool:
        return answer.is_whole and answer.status_code == self._api.accepted_status

    def _read_reason(self, answer: HttpAnswer) -> str:
        """Return the provider's words: those of its error document if it is one, else the whole text."""
        return self._clean(self._api.read_error(answer) or answer.text) or f"HTTP {answer.status_code} without a body"

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
