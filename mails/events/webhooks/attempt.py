"""One request to a webhook, and what its answer means."""

import datetime as dt
import socket
import time
from dataclasses import dataclass

from standardwebhooks import Webhook as Signer

from mails.events.webhooks import signing, urls
from mails.events.webhooks.backoff import MOST_RETRY_AFTER
from mails.models.webhook import MAX_ANSWER
from mercury.lib.mail.printable import replace_unprintable
from providers import classify, tls
from providers.kinds.http_api import HttpAnswer
from providers.transports.http_client import HttpClient, build_head
from providers.transports.http_connection import AnswerTimeout, AnswerUnreadable, HttpCallFailed, NotConnected

TIMEOUT = 20.0  # seconds, of a whole request
MAX_ERROR = 500  # characters
GONE = 410
_BUSY = frozenset({429, 503})
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": "Mercury/1.0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent: to where, and with which signatures."""

    url: str
    signers: list[Signer]
    message_id: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Result of one request. `error` is empty if the webhook accepted it."""

    error: str = ""
    status_code: int | None = None
    answer: str = ""
    duration_ms: int | None = None
    wait: float | None = None  # seconds that the answer asks to wait
    is_local: bool = False  # this machine failed, not the webhook
    is_final: bool = False  # no other attempt can succeed: there is nothing to send

    @property
    def is_success(self) -> bool:
        """Whether the webhook accepted it."""
        return not self.error


async def send(client: HttpClient, request: Request, now: dt.datetime) -> Attempt:
    """Send the request once, within 20 seconds; never raises for what the webhook does."""
    began = time.monotonic()
    try:
        endpoint = urls.parse_url(request.url)
    except urls.UrlNotAllowed as error:
        return Attempt(error=str(error))
    signed = signing.build_headers(request.signers, request.message_id, request.body, now)
    # Not through build_head, which keeps the headers that it has seen: these are different each time.
    own = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    head = build_head(endpoint, "POST", HEADERS, len(request.body))[:-2] + own.encode("ascii") + b"\r\n"
    try:
        answer = await client.call(endpoint, head, request.body, tls=tls.build_client_context(), time_left=TIMEOUT)
    except HttpCallFailed as error:
        return _judge_failure(error, _count_ms(began))
    return judge(answer, duration_ms=_count_ms(began), now=now)


def judge(answer: HttpAnswer, *, duration_ms: int, now: dt.datetime) -> Attempt:
    """Return what the answer means: 200 to 299 is a success, all else a failure."""
    status = answer.status_code
    wait = classify.parse_retry_after(answer.headers.get("Retry-After", ""), now) if status in _BUSY else None
    return Attempt(
        error="" if 200 <= status < 300 else _explain(answer)[:MAX_ERROR],
        status_code=status,
        answer=replace_unprintable(answer.text[: 2 * MAX_ANSWER])[:MAX_ANSWER],
        duration_ms=duration_ms,
        wait=None if wait is None else min(wait, MOST_RETRY_AFTER),
    )


def _explain(answer: HttpAnswer) -> str:
    status = answer.status_code
    if 300 <= status < 400:
        target = replace_unprintable(answer.headers.get("Location", ""), allowed="")
        return f"It answered {status}. Redirects are not followed: set the final URL{f', perhaps {target}' if target else ''}."
    if status == GONE:
        return "It answered 410: it is gone."
    return f"It answered {status}."


def _judge_failure(error: HttpCallFailed, duration_ms: int) -> Attempt:
    match error:
        case NotConnected():
            outcome = classify.judge_connect_error(error.cause, host=error.host)
            return Attempt(
                error=outcome.reason[:MAX_ERROR],
                duration_ms=duration_ms,
                is_local=_is_local(error.cause),
            )
        case AnswerTimeout():
            words = f"No answer within {TIMEOUT:g} seconds."
        case AnswerUnreadable():
            words = "The answer is not HTTP."
        case _:
            words = "The connection was lost before an answer."
    return Attempt(error=words, duration_ms=duration_ms)


def _is_local(cause: OSError) -> bool:
    """Return True if this machine could not connect to anything. A resolver that fails may fail for this name alone."""
    return classify.find_local_error(cause) is not None and not isinstance(cause, socket.gaierror)


def _count_ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
