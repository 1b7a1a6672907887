"""Send one email through one account and return the outcome. The only place of the send path where errors become values.

Knows no database. A channel speaks to the provider: `http`, `smtp` or `maildir`, one for each account.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol
from weakref import WeakSet

import structlog
from django.core.mail import EmailMessage

from providers import classify, outbound_hosts
from providers.accounts.config import AccountConfig
from providers.kinds.base import Transport
from providers.kinds.catalog import KINDS
from providers.outcomes import Cause, NotAttempted, Outcome, Unknown
from providers.transports import http
from providers.transports.building import Builder
from providers.transports.maildir import SandboxChannel
from providers.transports.smtp import SmtpChannel

log = structlog.get_logger(__name__)

MAX_THREADS = 32  # of one SMTP account, and of all sandboxes; most SMTP servers allow no more connections than that


class Channel(Protocol):
    """The way to send through one account."""

    async def send(self, message: EmailMessage) -> Outcome:
        """Send once, within the deadline; over SMTP the final reply has time of its own."""

    def close(self) -> None:
        """Close all connections. May block for a moment."""


class Sender:
    """Sends on one event loop, over one HTTP client and threads of each SMTP account. `async with` opens and closes all."""

    def __init__(
        self, *, deadline: float, connect_timeout: float, concurrency: int, final_reply: float | None = None
    ) -> None:
        """Set the limits. `final_reply`: seconds for an SMTP server to answer the end of an email; default: `deadline`."""
        self._deadline = deadline
        self._final_reply = deadline if final_reply is None else final_reply
        self._latest = float("inf")
        self._connect_timeout = connect_timeout
        self._concurrency = max(1, concurrency)
        self._channels: dict[str, tuple[AccountConfig, Channel]] = {}
        self._smtp: WeakSet[SmtpChannel] = WeakSet()  # also replaced ones, while their calls end

    async def __aenter__(self) -> "Sender":
        self._pool = ThreadPoolExecutor(min(self._concurrency, MAX_THREADS), thread_name_prefix="sandbox")
        self._builder = Builder()
        self._http = http.open_client(deadline=self._deadline, connect_timeout=self._connect_timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for _, channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._builder.close()
        self._http.close()

    async def send(self, account: AccountConfig, message: EmailMessage) -> Outcome:
        """Send this email once through the account, to all of its recipients.

        Raises nothing but a cancellation; ends within the deadline, and over SMTP the time after the final dot. Does not
        change the email.
        """
        try:
            channel = self._get_channel(account)
        except outbound_hosts.HostNotAllowed as error:
            return classify.refuse_destination(error)
        except Exception as error:  # noqa: BLE001  whatever is wrong with the options, nothing was called
            log.warning("account_unusable", account=account.name, error=type(error).__name__)
            return NotAttempted(
                cause=Cause.ACCOUNT,
                reason_code="account-unusable",
                reason="The account's options cannot be used. Enter them again.",
            )
        try:
            return await channel.send(message)
        except Exception as error:  # noqa: BLE001  the call may have gone out
            # Its text may contain secrets or the email, its type and place do not.
            log.warning("sending_failed", account=account.name, error=type(error).__name__, place=_find_place(error))
            return Unknown(
                reason_code="internal-error", reason=f"Mercury failed while sending: {type(error).__name__}."
            )

    def end_calls_within(self, seconds: float) -> None:
        """End every call within `seconds`, also one that waits for the reply to its final dot."""
        self._latest = time.monotonic() + seconds
        for channel in list(self._smtp):
            channel.end_calls_by(self._latest)

    def _get_channel(self, account: AccountConfig) -> Channel:
        """Return the account's channel; open a new one if its options have changed."""
        known = self._channels.get(account.name)
        if known is not None:
            if known[0] is account or known[0] == account:
                return known[1]
            self._pool.submit(known[1].close)
        channel = self._open_channel(account)
        self._channels[account.name] = (account, channel)
        return channel

    def _open_channel(self, account: AccountConfig) -> Channel:
        match KINDS[account.kind].transport:
            case Transport.HTTP:
                return http.HttpChannel(account, client=self._http, builder=self._builder)
            case Transport.SMTP:
                channel = SmtpChannel(
                    account,
                    threads=min(self._concurrency, max(MAX_THREADS, account.max_connections or 0)),
                    deadline=self._deadline,
                    final_reply=self._final_reply,
                    connect_timeout=self._connect_timeout,
                )
                channel.end_calls_by(self._latest)
                self._smtp.add(channel)
                return channel
            case Transport.SANDBOX:
                return SandboxChannel(account, pool=self._pool, builder=self._builder, deadline=self._deadline)


def _find_place(error: BaseException) -> str:
    """Return file and line of the error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else ""
