"""What an HTTP answer or a broken call means: it becomes an Outcome. Pure. `smtp_replies` does so for SMTP.

`docs/providers.md` has the whole table, and the tests read it.
"""

import datetime as dt
import errno
import socket
import ssl
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import aiohttp

from providers.outbound_hosts import HostNotAllowed
from providers.outcomes import FailureClass, Refused, Unknown
from providers.reply_words import (
    ACCOUNT_TOPICS,
    DEFAULT_WAIT,
    HOURLY_WAIT,
    MAX_WAIT,
    Topic,
    find_stated_wait,
    find_topic,
)

# Not the email but the account is at fault: key, payment, permission, address of the API. So are those that find fault
# with our way of asking: no other message would fare better, and an operator has to look.
_ACCOUNT_STATUSES = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 415, 431, 451})
_PASSING_STATUSES = frozenset({409, 421, 423, 425})  # 4xx that say "not now"
_RATE_TOPICS = frozenset({Topic.RATE, Topic.HOURLY, Topic.CONNECTIONS})
_EPOCH = 1e9  # more seconds than this are a moment since 1970, as some providers write it

# What this machine lacks. Says nothing of any account: EHOSTUNREACH is not here, for it may be the other machine that is off.
LOCAL_ERRORS: Mapping[int, tuple[str, str]] = {
    errno.EMFILE: ("no-descriptors", "This process has no file descriptor left."),
    errno.ENFILE: ("no-descriptors", "This machine has no file descriptor left."),
    errno.ENOMEM: ("no-memory", "This machine has no memory left."),
    errno.ENOBUFS: ("no-memory", "This machine has no memory left for the network."),
    errno.ENOSPC: ("disk-full", "The disk of this machine is full."),
    errno.EDQUOT: ("disk-full", "The disk quota of this process is used up."),
    errno.EADDRNOTAVAIL: ("no-ports", "This machine has no free port or address to call from."),
    errno.ENETDOWN: ("no-network", "The network of this machine is down."),
    errno.ENETUNREACH: ("no-network", "This machine has no route to the network of the host."),
    errno.EPERM: ("not-permitted", "This machine does not permit the connection."),
    errno.EACCES: ("not-permitted", "This machine does not permit the connection."),
}
# Reason codes of trouble that may also be one host's: its zone, the way to its network, a rule of our firewall for it.
MAY_BE_ONE_HOST = frozenset({"resolver", "no-network", "not-permitted"})
# The resolver could not answer. That a name does not exist is an answer.
_RESOLVER_ERRORS = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM})
NO_RESOLVER = socket.gaierror(socket.EAI_AGAIN, "The resolver did not answer.")


def judge_status(
    status: int,
    reason: str,
    *,
    retry_after: str | None = None,
    trust_500: bool = False,
    is_documented: bool = True,
    now: dt.datetime,
) -> Refused | Unknown:
    """Return what a status means that does not say "accepted".

    `reason` is clean already. `is_documented`: it came in the document that this provider puts its errors into. Only
    then does a 400 or 422 speak of the message; otherwise something between may have answered. A wait that the answer
    asks for is kept whatever the status (RFC 9110 §10.2.3).
    """
    code, asked = f"http-{status}", find_wait(retry_after, reason, now=now)
    fault = _fault(status, reason, trust_500=trust_500, is_documented=is_documented)
    if fault is None:
        return Unknown(code, reason, status, asked)
    at_capacity = fault is FailureClass.RATE and asked is None and find_topic(reason) is Topic.CONNECTIONS
    if fault is FailureClass.RATE and not at_capacity:
        asked = asked or (HOURLY_WAIT if find_topic(reason) is Topic.HOURLY else DEFAULT_WAIT)
    return Refused(fault, code, reason, status, asked, at_capacity=at_capacity)


def _fault(status: int, reason: str, *, trust_500: bool, is_documented: bool) -> FailureClass | None:
    """Return whose fault a status is, None if the message may have been sent."""
    if status == 429:
        return FailureClass.RATE
    if 300 <= status < 400 or status == 503 or status in _PASSING_STATUSES or (status == 500 and trust_500):
        return FailureClass.PROVIDER
    if status == 408 or not 400 <= status < 500:
        return None
    if status == 413:
        return FailureClass.MESSAGE
    about = find_topic(reason)
    if about in _RATE_TOPICS:
        return FailureClass.RATE
    if about in ACCOUNT_TOPICS or status in _ACCOUNT_STATUSES or not is_documented:
        return FailureClass.ACCOUNT
    return FailureClass.PROVIDER if about is Topic.SYSTEM else FailureClass.MESSAGE


def find_wait(retry_after: str | None, reason: str, *, now: dt.datetime) -> float | None:
    """Return the seconds that an answer asks to wait, in Retry-After (seconds or a date) or else in its words.

    Mailgun's 429 carries no header, it says "try again after 120 seconds". None if it does not ask.
    """
    seconds = _seconds(retry_after or "", now)
    if seconds is None:
        seconds = find_stated_wait(reason)
    return min(seconds, MAX_WAIT) if seconds else None


def _seconds(text: str, now: dt.datetime) -> float | None:
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
        return max(0.0, seconds - now.timestamp()) if seconds > _EPOCH else seconds
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - now).total_seconds())


def judge_failure(error: aiohttp.ClientError | OSError, clean: Callable[[str], str]) -> Refused | Unknown:
    """Return what a broken call means: everything up to the TLS handshake is surely not sent, the rest is unknown."""
    match error:
        case aiohttp.ClientConnectorDNSError(os_error=HostNotAllowed() as refused):
            return refuse_uncalled(FailureClass.ACCOUNT, "destination-refused", str(refused))
        case aiohttp.ClientConnectorDNSError():
            return judge_connect_error(error.os_error, host=error.host)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return refuse_uncalled(FailureClass.PROVIDER, "tls", clean(f"TLS failed: {error}"))
        case aiohttp.ClientConnectorError():
            return judge_connect_error(error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return judge_connect_error(TimeoutError())
        case aiohttp.InvalidURL():
            return refuse_uncalled(FailureClass.ACCOUNT, "bad-url", "The account's API address is not a URL.")
        case TimeoutError():
            return Unknown("read-timeout", "No answer within the deadline.")
        case aiohttp.ClientResponseError():
            return Unknown("unreadable-answer", clean(error.message))
    return Unknown("connection-lost", "The connection broke after the request had gone out.")


def judge_connect_error(error: OSError, *, host: str = "") -> Refused:
    """Return why there is no connection, one reason code each."""
    local = find_local_error(error)
    if local is not None:
        return local
    match error:
        case HostNotAllowed():
            return refuse_uncalled(FailureClass.ACCOUNT, "destination-refused", str(error))
        case ssl.SSLError():
            return refuse_uncalled(FailureClass.PROVIDER, "tls", f"TLS failed: {error.reason or type(error).__name__}")
        case socket.gaierror():
            named = f"The name '{host}'" if host else "The host's name"
            return refuse_uncalled(FailureClass.PROVIDER, "dns", f"{named} was not found.")
        case ConnectionRefusedError():
            return refuse_uncalled(
                FailureClass.PROVIDER, "connection-refused", "The host refuses connections on this port."
            )
        case TimeoutError():
            return refuse_uncalled(
                FailureClass.PROVIDER, "connect-timeout", "No connection within the time to connect."
            )
    return refuse_uncalled(
        FailureClass.PROVIDER, "connect-failed", f"No connection: {error.strerror or type(error).__name__}"
    )


def find_local_error(error: BaseException) -> Refused | None:
    """Return the refusal for an error of this machine, None for an error that the other side may have caused."""
    match error:
        case MemoryError():
            return refuse_uncalled(FailureClass.LOCAL, *LOCAL_ERRORS[errno.ENOMEM])
        case socket.gaierror(errno=number) if number in _RESOLVER_ERRORS:
            return refuse_uncalled(
                FailureClass.LOCAL, "resolver", "The resolver of this machine could not look the host's name up."
            )
        case socket.gaierror() | ssl.SSLError():  # their numbers are of another kind
            return None
        case OSError(errno=int(number)) if number in LOCAL_ERRORS:
            return refuse_uncalled(FailureClass.LOCAL, *LOCAL_ERRORS[number])
    return None


def refuse_without_thread() -> Refused:
    """Return the refusal for a call that no thread could be started for."""
    return refuse_uncalled(FailureClass.LOCAL, "no-threads", "This machine could not start one more thread.")


def refuse_uncalled(fault: FailureClass, reason_code: str, reason: str) -> Refused:
    """The provider was not reached, or not asked: surely not sent."""
    return Refused(fault, reason_code, reason, asked=False)
