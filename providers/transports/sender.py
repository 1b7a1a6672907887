"""Hand one mail to one account and say what came of it. The only place of the send path where errors become values.

Knows no database. Who speaks to a provider is a channel: `over_http`, `over_smtp`, `over_sandbox`, one per account.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol
from weakref import WeakSet

import aiohttp
import structlog
from django.core.mail import EmailMessage

from providers import classify, outbound_hosts
from providers.accounts.config import AccountConfig
from providers.kinds.capabilities import KINDS, Transport
from providers.outcomes import FailureClass, Outcome, Unknown
from providers.transports import http
from providers.transports.maildir import SandboxChannel
from providers.transports.smtp import SmtpChannel

log = structlog.get_logger(__name__)

MAX_THREADS = 32  # of one SMTP account, and of all sandboxes; most SMTP servers allow no more connections than that


class Channel(Protocol):
    """What `Sender` wants of whoever speaks to one account."""

    async def send(self, message: EmailMessage) -> Outcome:
        """Call the provider once, within the deadline, and over SMTP the time after the final dot."""

    def close(self) -> None:
        """Let go of what is held open. May block for a moment."""


class Sender:
    """Sends on one event loop, over one HTTP session and threads of each SMTP account; `async with` opens and closes all."""

    def __init__(
        self, *, deadline: float, connect_timeout: float, places: int, final_reply: float | None = None
    ) -> None:
        """`final_reply`: seconds that an SMTP server has to answer the end of an email; without it, the deadline's."""
        self._deadline = deadline
        self._final_reply = deadline if final_reply is None else final_reply
        self._latest = float("inf")
        self._connect_timeout = connect_timeout
        self._places = max(1, places)
        self._channels: dict[str, tuple[AccountConfig, Channel]] = {}
        self._smtp: WeakSet[SmtpChannel] = WeakSet()  # also those that were replaced, while calls of theirs go on

    async def __aenter__(self) -> "Sender":
        self._pool = ThreadPoolExecutor(min(self._places, MAX_THREADS), thread_name_prefix="sandbox")
        self._session: aiohttp.ClientSession = http.open_session(
            deadline=self._deadline, connect_timeout=self._connect_timeout
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for _, channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._session.close()

    async def send(self, account: AccountConfig, message: EmailMessage) -> Outcome:
        """Call the account's provider once with this mail, for all of its recipients.

        Never raises but for cancellation; ends within the deadline, and over SMTP the time after the final dot. The mail
        is not changed.
        """
        try:
            channel = self._channel(account)
        except outbound_hosts.HostNotAllowed as error:
            return classify.refuse_uncalled(FailureClass.ACCOUNT, "destination-refused", str(error))
        except Exception as error:  # noqa: BLE001  whatever is wrong with the options, nothing was called
            log.warning("account_unusable", account=account.name, error=type(error).__name__)
            return classify.refuse_uncalled(
                FailureClass.ACCOUNT, "account-unusable", "The account's options cannot be used. Enter them again."
            )
        try:
            return await channel.send(message)
        except Exception as error:  # noqa: BLE001  the call may have gone out
            # Its text may hold secrets or the mail, its type and place do not.
            log.warning("sending_failed", account=account.name, error=type(error).__name__, place=_place(error))
            return Unknown("internal-error", f"Mercury failed while it sent: {type(error).__name__}.")

    def end_calls_within(self, seconds: float) -> None:
        """End every call within so many seconds, also one that may wait longer for the reply to its final dot."""
        self._latest = time.monotonic() + seconds
        for channel in list(self._smtp):
            channel.end_calls_by(self._latest)

    def _channel(self, account: AccountConfig) -> Channel:
        """The account's channel; a new one if its options have changed."""
        known = self._channels.get(account.name)
        if known is not None:
            if known[0] is account or known[0] == account:
                return known[1]
            self._pool.submit(known[1].close)
        channel = self._opened(account)
        self._channels[account.name] = (account, channel)
        return channel

    def _opened(self, account: AccountConfig) -> Channel:
        match KINDS[account.kind].transport:
            case Transport.HTTP:
                return http.HttpChannel(account, session=self._session)
            case Transport.SMTP:
                channel = SmtpChannel(
                    account,
                    threads=min(self._places, max(MAX_THREADS, account.max_connections or 0)),
                    deadline=self._deadline,
                    final_reply=self._final_reply,
                    connect_timeout=self._connect_timeout,
                )
                channel.end_calls_by(self._latest)
                self._smtp.add(channel)
                return channel
            case Transport.SANDBOX:
                return SandboxChannel(account, pool=self._pool, deadline=self._deadline)


def _place(error: BaseException) -> str:
    """File and line where the error came from."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else ""
