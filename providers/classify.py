"""Turn an HTTP answer or a failed request into an Outcome. Pure; `transports.smtp_replies` does so for SMTP.

`docs/providers.md` has the whole table, and the tests read it.
"""

import datetime as dt
import errno
import socket
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from providers.outbound_hosts import HostNotAllowed
from providers.outcomes import Cause, FailureClass, NotAttempted, Refused, Unknown, UsedUpQuota
from providers.reply_words import (
    ACCOUNT_TOPICS,
    DEFAULT_WAIT,
    EARLIER_WAIT,
    HOURLY_WAIT,
    MAX_WAIT,
    Topic,
    find_quota_period,
    find_stated_wait,
    find_topic,
)

# About the account, not the email: key, payment, permission, address of the API. Statuses that complain about the form of
# our request are here too: every other message would get the same, and an operator has to look.
_ACCOUNT_STATUSES = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 415, 431, 451})
_PASSING_STATUSES = frozenset({409, 421, 423, 425})  # 4xx that say "not now"
_RATE_TOPICS = frozenset({Topic.RATE, Topic.HOURLY, Topic.CONNECTIONS})
_QUOTA_STATUSES = frozenset({402, 429})  # that a proxy does not invent
_MAX_RESET = 32 * 86_400.0  # seconds until a quota is free again: those of a month
_EPOCH = 1e9  # more seconds than this are a moment since 1970, as some providers write it

# Errors of this machine, which say nothing about an account. EHOSTUNREACH is missing: the other machine may be off.
LOCAL_ERRORS: Mapping[int, tuple[str, str]] = {
    errno.EMFILE: ("no-descriptors", "This process has no file descriptor left."),
    errno.ENFILE: ("no-descriptors", "This machine has no file descriptor left."),
    errno.ENOMEM: ("no-memory", "This machine has no memory left."),
    errno.ENOBUFS: ("no-memory", "This machine has no memory left for the network."),
    errno.ENOSPC: ("disk-full", "The disk of this machine is full."),
    errno.EDQUOT: ("disk-full", "The disk quota of this process is used up."),
    errno.EADDRNOTAVAIL: ("no-ports", "This machine has no free port or address."),
    errno.ENETDOWN: ("no-network", "The network of this machine is down."),
    errno.ENETUNREACH: ("no-network", "This machine has no route to the network of the host."),
    errno.EPERM: ("not-permitted", "This machine does not permit the connection."),
    errno.EACCES: ("not-permitted", "This machine does not permit the connection."),
}
# Reason codes of local errors that may concern one host only: its DNS zone, a route, a firewall rule.
MAY_BE_ONE_HOST = frozenset({"resolver", "no-network", "not-permitted"})
# The resolver could not answer. That a name does not exist is an answer.
_RESOLVER_ERRORS = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM})
NO_RESOLVER = socket.gaierror(socket.EAI_AGAIN, "The DNS resolver did not answer.")


def judge_status(
    status: int,
    reason: str,
    *,
    retry_after: str | None = None,
    trust_500: bool = False,
    is_documented: bool = True,
    topic: Topic | None = None,
    now: dt.datetime,
) -> Refused | Unknown:
    """Return the outcome of a status other than "accepted".

    `reason` is redacted already. `is_documented`: it came in the document that this provider uses for errors. Only then
    is a 400 or 422 about the message; otherwise a proxy may have answered. `topic`: what the provider's code says; None:
    the words do. A requested wait counts for any status (RFC 9110 §10.2.3).
    """
    code, asked = f"http-{status}", find_wait(retry_after, reason, now=now)
    about = topic or find_topic(reason)
    if about is Topic.IN_PROGRESS:  # this request sends no copy, and the account need not rest
        return Refused(
            failure_class=FailureClass.RATE,
            reason_code=code,
            reason=reason,
            status_code=status,
            repeat_in=asked or EARLIER_WAIT,
        )
    failure = _classify_status(status, about, trust_500=trust_500, is_documented=is_documented)
    if failure is None:
        return Unknown(reason_code=code, reason=reason, status_code=status, retry_after=asked)
    at_capacity = failure is FailureClass.RATE and asked is None and about is Topic.CONNECTIONS
    if failure is FailureClass.RATE and not at_capacity:
        asked = asked or (HOURLY_WAIT if about is Topic.HOURLY else DEFAULT_WAIT)
    return Refused(
        failure_class=failure,
        reason_code=code,
        reason=reason,
        status_code=status,
        retry_after=asked,
        at_capacity=at_capacity,
        used_up=find_used_up(retry_after, reason, now=now)
        if failure is FailureClass.ACCOUNT and about is Topic.QUOTA and (is_documented or status in _QUOTA_STATUSES)
        else None,
    )


def find_used_up(retry_after: str | None, reason: str, *, now: dt.datetime) -> UsedUpQuota:
    """Return which quota a refusal about a quota says is used up, and when it is free again if that is said."""
    seconds = parse_retry_after(retry_after or "", now) or find_stated_wait(reason)
    return UsedUpQuota(period=find_quota_period(reason), resets_in=min(seconds, _MAX_RESET) if seconds else None)


def _classify_status(status: int, about: Topic | None, *, trust_500: bool, is_documented: bool) -> FailureClass | None:
    """Return the failure class of a status, None if the message may have been sent."""
    if about is Topic.REPEATED:
        return None
    if status == 429:  # the rate of requests, or a quota that no wait of minutes brings back
        return FailureClass.ACCOUNT if about is Topic.QUOTA else FailureClass.RATE
    if 300 <= status < 400 or status == 503 or status in _PASSING_STATUSES or (status == 500 and trust_500):
        return FailureClass.PROVIDER
    if status == 408 or not 400 <= status < 500:
        return None
    if status == 413:
        return FailureClass.MESSAGE
    if about in _RATE_TOPICS:
        return FailureClass.RATE
    if about in ACCOUNT_TOPICS or status in _ACCOUNT_STATUSES or not is_documented:
        return FailureClass.ACCOUNT
    return FailureClass.PROVIDER if about is Topic.SYSTEM else FailureClass.MESSAGE


def find_wait(retry_after: str | None, reason: str, *, now: dt.datetime) -> float | None:
    """Return the seconds that an answer asks to wait, in Retry-After (seconds or a date) or else in its words.

    Mailgun's 429 carries no header, it says "try again after 120 seconds". None if it does not ask.
    """
    seconds = parse_retry_after(retry_after or "", now)
    if seconds is None:
        seconds = find_stated_wait(reason)
    return min(seconds, MAX_WAIT) if seconds else None


def parse_retry_after(text: str, now: dt.datetime) -> float | None:
    """Return the seconds from now on that Retry-After says, as a number or a date; None if it says neither."""
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


def judge_connect_error(error: OSError, *, host: str = "") -> Refused | NotAttempted:
    """Return the outcome of a connection that could not be made, with a reason code for each cause."""
    local = find_local_error(error)
    if local is not None:
        return local
    match error:
        case HostNotAllowed():
            return refuse_destination(error)
        case ssl.SSLError():
            return refuse_unreached("tls", f"TLS failed: {_describe_tls_error(error)}")
        case socket.gaierror():
            named = f"The name '{host}'" if host else "The host's name"
            return refuse_unreached("dns", f"{named} was not found.")
        case ConnectionRefusedError():
            return refuse_unreached("connection-refused", "The host refuses connections on this port.")
        case TimeoutError():
            return refuse_unreached("connect-timeout", "No connection within the time limit.")
    return refuse_unreached("connect-failed", f"No connection: {error.strerror or type(error).__name__}")


def _describe_tls_error(error: ssl.SSLError) -> str:
    """Return what OpenSSL says; it has better words for certificates."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.reason or type(error).__name__


def find_local_error(error: BaseException) -> NotAttempted | None:
    """Return the outcome of an error of this machine, None for an error that the provider may have caused."""
    match error:
        case MemoryError():
            return blame_machine(*LOCAL_ERRORS[errno.ENOMEM])
        case socket.gaierror(errno=number) if number in _RESOLVER_ERRORS:
            return blame_machine("resolver", "The DNS resolver of this machine could not resolve the host name.")
        case socket.gaierror() | ssl.SSLError():  # their numbers are of another kind
            return None
        case OSError(errno=int(number)) if number in LOCAL_ERRORS:
            return blame_machine(*LOCAL_ERRORS[number])
    return None


def blame_missing_thread() -> NotAttempted:
    """Return the outcome of an attempt for which no thread could be started."""
    return blame_machine("no-threads", "This machine could not start one more thread.")


def blame_machine(reason_code: str, reason: str) -> NotAttempted:
    """Return the outcome of an attempt that trouble of this machine prevented."""
    return NotAttempted(cause=Cause.MACHINE, reason_code=reason_code, reason=reason)


def refuse_destination(error: HostNotAllowed) -> NotAttempted:
    """Return the outcome of an attempt whose host Mercury may not connect to."""
    return NotAttempted(cause=Cause.ACCOUNT, reason_code="destination-refused", reason=str(error))


def refuse_unreached(reason_code: str, reason: str) -> Refused:
    """Return the refusal for a provider that could not be reached: it counts towards its breaker."""
    return Refused(failure_class=FailureClass.PROVIDER, reason_code=reason_code, reason=reason)
