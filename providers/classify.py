"""What an HTTP answer or a broken call means: it becomes an Outcome. Pure. `smtp_replies` does so for SMTP.

`docs/providers.md` has the whole table, and the tests read it.
"""

import datetime as dt
import re
import socket
import ssl
from collections.abc import Callable, Collection
from email.utils import parsedate_to_datetime

import aiohttp

from providers.destinations import DestinationRefused
from providers.outcomes import Fault, Refused, Unknown

MAX_REASON = 2048  # bytes of a provider's words that are kept
MAX_WAIT = 15 * 60.0  # seconds; whoever asks for more is asked again after that
DEFAULT_WAIT = 30.0  # seconds, where a 429 does not say how long

# Not the mail but the account is at fault: key, payment, permission, address of the API.
_ACCOUNT_STATUSES = frozenset({401, 402, 403, 404, 405, 407, 410, 451})
_PASSING_STATUSES = frozenset({409, 421, 423, 425})  # 4xx that say "not now"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")


def http_status(
    status: int,
    reason: str,
    *,
    retry_after: str | None = None,
    trust_500: bool = False,
    now: dt.datetime,
) -> Refused | Unknown:
    """What a status means that does not say "taken". `reason` is clean already."""
    code = f"http-{status}"
    if status == 429:
        return Refused(Fault.RATE, code, reason, status, wait(retry_after, reason, now=now))
    if 300 <= status < 400 or status == 503 or status in _PASSING_STATUSES:
        return Refused(Fault.PROVIDER, code, reason, status)
    if status == 500 and trust_500:
        return Refused(Fault.PROVIDER, code, reason, status)
    if status in _ACCOUNT_STATUSES:
        return Refused(Fault.ACCOUNT, code, reason, status)
    if 400 <= status < 500 and status != 408:
        return Refused(Fault.MESSAGE, code, reason, status)
    return Unknown(code, reason, status)


def wait(retry_after: str | None, reason: str, *, now: dt.datetime) -> float:
    """Seconds until the account may be called again: from Retry-After (seconds or a date), else from the words.

    Mailgun's 429 carries no header, it says "try again after 120 seconds".
    """
    seconds = _seconds(retry_after or "", now)
    if seconds is None:
        words = re.search(r"try again (?:after|in) (\d{1,9}) ?s", reason)
        seconds = float(words[1]) if words else None
    return min(seconds, MAX_WAIT) if seconds else DEFAULT_WAIT


def _seconds(text: str, now: dt.datetime) -> float | None:
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - now).total_seconds())


def http_failure(error: aiohttp.ClientError | OSError, clean: Callable[[str], str]) -> Refused | Unknown:
    """What a broken call means: everything up to the TLS handshake is surely not sent, the rest is unknown."""
    match error:
        case aiohttp.ClientConnectorDNSError(os_error=DestinationRefused() as refused):
            return never_called(Fault.ACCOUNT, "destination-refused", str(refused))
        case aiohttp.ClientConnectorDNSError():
            return never_called(Fault.PROVIDER, "dns", f"The name '{error.host}' was not found.")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return never_called(Fault.PROVIDER, "tls", clean(f"TLS failed: {error}"))
        case aiohttp.ClientConnectorError():
            return connect_failure(error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return connect_failure(TimeoutError())
        case aiohttp.InvalidURL():
            return never_called(Fault.ACCOUNT, "bad-url", "The account's API address is not a URL.")
        case TimeoutError():
            return Unknown("read-timeout", "No answer within the deadline.")
        case aiohttp.ClientResponseError():
            return Unknown("unreadable-answer", clean(error.message))
    return Unknown("connection-lost", "The connection broke after the request had gone out.")


def connect_failure(error: OSError) -> Refused:
    """Why no connection came about, one reason code each."""
    match error:
        case DestinationRefused():
            return never_called(Fault.ACCOUNT, "destination-refused", str(error))
        case ssl.SSLError():
            return never_called(Fault.PROVIDER, "tls", f"TLS failed: {error.reason or type(error).__name__}")
        case socket.gaierror():
            return never_called(Fault.PROVIDER, "dns", "The host's name was not found.")
        case ConnectionRefusedError():
            return never_called(Fault.PROVIDER, "connection-refused", "The host refuses connections on this port.")
        case TimeoutError():
            return never_called(Fault.PROVIDER, "connect-timeout", "No connection within the time to connect.")
    return never_called(Fault.PROVIDER, "connect-failed", f"No connection: {error.strerror or type(error).__name__}")


def never_called(fault: Fault, reason_code: str, reason: str) -> Refused:
    """The provider was not reached, or not asked: surely not sent."""
    return Refused(fault, reason_code, reason, asked=False)


def cleaner(secrets: Collection[str]) -> Callable[[str], str]:
    """A function that makes a provider's words safe to store: no secrets, no control characters, at most 2 KB."""
    pattern = re.compile(
        "|".join(re.escape(s) for s in sorted(secrets, key=len, reverse=True) if len(s) > 3) or r"(?!)"
    )

    def clean(text: str) -> str:
        text = pattern.sub("[secret]", text[: 64 * 1024])
        text = _UNPRINTABLE.sub(" ", text).strip()
        return text.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore")

    return clean
