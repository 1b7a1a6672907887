"""Send over HTTP: a kind builds the request and reads the answer, `http_client` makes the call, within one deadline.

Whatever the provider does, the result is an Outcome.
"""

import datetime as dt
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from django.core.mail import EmailMessage

from providers import classify, outbound_hosts, tls
from providers.accounts.config import AccountConfig
from providers.kinds.catalog import KINDS
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Outcome, Refused, Unknown
from providers.transports import mime, redaction
from providers.transports.building import Builder
from providers.transports.http_client import Endpoint, HttpClient, build_head, parse_endpoint
from providers.transports.http_connection import (
    MAX_ANSWER,
    AnswerTimeout,
    AnswerUnreadable,
    HttpCallFailed,
    NotConnected,
)
from providers.transports.http_recipients import send_to_all

_MAX_ENDPOINTS = 1000  # kept parsed; parsing costs as much as building a small payload


def open_client(*, deadline: float, connect_timeout: float) -> HttpClient:
    """Return the client that all HTTP accounts of an event loop share."""
    resolver = outbound_hosts.GuardedResolver(outbound_hosts.get_allowed_hosts())
    return HttpClient(deadline=deadline, connect_timeout=connect_timeout, resolver=resolver)


class HttpChannel:
    """One account of an HTTP provider. Keeps what is the same for all emails; has no connection of its own."""

    def __init__(self, account: AccountConfig, *, client: HttpClient, builder: Builder) -> None:
        kind = KINDS[account.kind]
        self._tls = tls.build_client_context(account.options.get("ca") or "")
        self._api = kind.open_api(account.options)
        self._trust_500 = account.trust_500
        self._most_recipients = kind.capabilities.max_recipients
        self._client = client
        self._builder = builder
        self._clean = redaction.build_cleaner(
            [str(account.options[o.name]) for o in kind.options if o.secret and account.options.get(o.name)]
        )
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Mercury/1.0"}
        self._endpoints: dict[str, Endpoint] = {}
        outbound_hosts.check_secret(account.options, allowed=outbound_hosts.get_allowed_hosts())
        outbound_hosts.check_literal(
            outbound_hosts.extract_host(account.options["api_url"]), allowed=outbound_hosts.get_allowed_hosts()
        )

    async def send(self, message: EmailMessage) -> Outcome:
        """Send the email within the client's deadline: in one call, or in more if some addresses are refused."""
        ends_at = time.monotonic() + self._client.deadline

        def time_left() -> float:
            return ends_at - time.monotonic()

        async def send(addresses: Sequence[str]) -> tuple[Outcome, RejectedRecipients]:
            if message.to and addresses == recipients:
                return await self._send_once(message, recipients, time_left)
            part = mime.narrow(message, addresses)
            return await self._send_once(part, mime.list_addresses(part.recipients()), time_left)

        recipients, blind = mime.list_addresses(message.recipients()), mime.list_addresses(message.bcc)
        return await send_to_all(recipients, send, time_left=time_left, most=self._most_recipients, blind=blind)

    async def _send_once(
        self, message: EmailMessage, recipients: Sequence[str], time_left: Callable[[], float]
    ) -> tuple[Outcome, RejectedRecipients]:
        """Call the provider once; return the outcome and those of the message's recipients that the answer rejects."""
        try:
            request = await self._builder.build(self._api.build_request, message)
        except (ValueError, TypeError) as error:
            words = error.args[0] if error.args else type(error).__name__
            words = self._clean(str(words))
            return NotAttempted(cause=Cause.MESSAGE, reason_code="unsupported", reason=words), NONE_REJECTED
        try:
            endpoint = self._find_endpoint(request.url)
            headers = {**self._headers, **request.headers}
            head = build_head(endpoint, request.method, headers, len(request.body))
        except ValueError:
            words = "The account's API address or key is unusable. Enter it again."
            return NotAttempted(cause=Cause.ACCOUNT, reason_code="account-unusable", reason=words), NONE_REJECTED
        left = time_left()
        if left <= 0:
            words = "The request was not built within the time limit."
            return NotAttempted(cause=Cause.WORKER, reason_code="not-built", reason=words), NONE_REJECTED
        try:
            answer = await self._client.call(endpoint, head, request.body, tls=self._tls, time_left=left)
        except HttpCallFailed as error:
            return self._judge_failure(error), NONE_REJECTED
        _decompress(answer)
        outcome = self._judge(answer)
        match outcome:
            case Accepted() | Refused(failure_class=FailureClass.MESSAGE):
                return outcome, self._find_rejected(answer, recipients)
        return outcome, NONE_REJECTED

    def _find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that the answer rejects, spelled as they were asked for."""
        rejected = self._api.find_rejected(answer, recipients)
        if not rejected.reasons:
            return rejected
        reasons = {address.lower(): self._clean(text) for address, text in rejected.reasons.items()}
        named = {address: reasons[address.lower()] for address in recipients if address.lower() in reasons}
        return replace(rejected, reasons=named)

    def close(self) -> None:
        """Close nothing: connections belong to the client."""

    def _judge_failure(self, error: HttpCallFailed) -> Refused | Unknown | NotAttempted:
        """Return the outcome of a call without a status: without a connection surely not sent, after it unknown."""
        match error:
            case NotConnected():
                return classify.judge_connect_error(error.cause, host=error.host)
            case AnswerTimeout():
                return Unknown(reason_code="read-timeout", reason="No answer within the time limit.")
            case AnswerUnreadable():
                return Unknown(reason_code="unreadable-answer", reason=self._clean(str(error)))
        return Unknown(reason_code="connection-lost", reason="The connection was lost after the request was sent.")

    def _judge(self, answer: HttpAnswer) -> Outcome:
        status, meant = answer.status_code, self._api.read_status(answer)
        if 200 <= meant < 300:
            message_id = self._api.read_message_id(answer) if self._is_documented(answer) else None
            if message_id is None:
                return Unknown(reason_code=f"unexpected-{status}", reason=self._read_reason(answer), status_code=status)
            return Accepted(provider_message_id=self._clean(message_id)[:255], status_code=status)
        outcome = classify.judge_status(
            meant,
            self._read_reason(answer),
            retry_after=_read_wait_header(answer, self._api.wait_header),
            trust_500=self._trust_500,
            is_documented=bool(self._api.read_error(answer)),
            topic=self._api.read_topic(answer),
            now=dt.datetime.now(dt.UTC),
        )
        if isinstance(outcome, Refused) and outcome.used_up and (period := self._api.read_quota_period(answer)):
            outcome = replace(outcome, used_up=replace(outcome.used_up, period=period))
        return replace(outcome, reason_code=f"http-{status}", status_code=status)

    def _is_documented(self, answer: HttpAnswer) -> bool:
        return answer.is_whole and answer.status_code == self._api.accepted_status

    def _read_reason(self, answer: HttpAnswer) -> str:
        """Return the provider's words: those of its error document if it is one, else the whole text."""
        return self._clean(self._api.read_error(answer) or answer.text) or f"HTTP {answer.status_code} without a body"

    def _find_endpoint(self, url: str) -> Endpoint:
        """Return where the URL leads. Raises ValueError."""
        endpoint = self._endpoints.get(url)
        if endpoint is None:
            if len(self._endpoints) >= _MAX_ENDPOINTS:
                self._endpoints.clear()
            endpoint = self._endpoints[url] = parse_endpoint(url)
        return endpoint


def _read_wait_header(answer: HttpAnswer, own: str) -> str | None:
    """Return the header that says when to come back, None if there is none. `own`: the name of the provider's own."""
    is_limit = answer.status_code == 429
    names = ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset", own) if is_limit else ("Retry-After",)
    return next((answer.headers[name] for name in names if name in answer.headers), None)


def _decompress(answer: HttpAnswer) -> None:
    """Undo a Content-Encoding that we did not request, up to the same limit."""
    if not answer.content:  # some proxies name an encoding for an empty body
        return
    if answer.headers.get("Content-Encoding", "identity").lower() == "identity":
        return
    unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        answer.content = unpacker.decompress(answer.content, MAX_ANSWER)
        answer.is_whole = answer.is_whole and unpacker.eof
    except zlib.error:
        answer.content, answer.is_whole = b"", False
