"""Send over SMTP, in a thread pool, with connections kept for each account.

Until the final dot nothing is sent, whatever breaks; after it, a missing reply leaves the outcome unknown.
"""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from django.core.mail import EmailMessage

from providers import classify, outbound_hosts, tls
from providers.accounts.config import AccountConfig
from providers.outcomes import Cause, NotAttempted, Outcome, Refused
from providers.transports import redaction
from providers.transports.smtp_delivery import SmtpDelivery
from providers.transports.smtp_session import Envelope, SmtpSession, judge_timeout

SURPLUS = 5.0  # seconds that an unused connection is kept


IDLE = 30.0  # seconds; an older connection is replaced, as most servers have closed it by then


LOOK = 1.0  # seconds between two checks of a delivery's time, which may be extended or cut


class SmtpChannel:
    """One SMTP account: its idle connections, and the threads that use them."""

    def __init__(
        self, account: AccountConfig, *, threads: int, deadline: float, final_reply: float, connect_timeout: float
    ) -> None:
        """Start the account's own thread pool, so that a slow account delays no other. `threads`: concurrent sessions."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"smtp-{account.name}")
        outbound_hosts.check_secret(account.options, allowed=outbound_hosts.get_allowed_hosts())
        self._deadline = deadline
        self._final_reply = final_reply
        self._latest = float("inf")
        self._deliveries: set[SmtpDelivery] = set()
        self._is_closed = False
        secrets = [account.options["password"]] if account.options["password"] else []
        self._clean = redaction.build_cleaner(secrets)
        context = tls.build_client_context(account.options.get("ca") or "")
        self._new = partial(SmtpSession, account, connect_timeout=connect_timeout, clean=self._clean, context=context)
        self._idle: deque[SmtpSession] = deque()
        self._sessions: set[SmtpSession] = set()  # in use or kept

    async def send(self, message: EmailMessage) -> Outcome:
        """Send the email once. Ends within the delivery's time, also if the thread hangs."""
        delivery = SmtpDelivery(self._deadline, final_reply=self._final_reply)
        delivery.end_by(self._latest)
        try:
            thread = asyncio.get_running_loop().run_in_executor(self._pool, self._deliver, message, delivery)
        except RuntimeError:  # the pool keeps the work, for a thread that it already has
            delivery.give_up()
            return judge_timeout(delivery) if delivery.is_past_dot else classify.blame_missing_thread()
        self._deliveries.add(delivery)
        try:
            while not thread.done():
                left = delivery.count_seconds_left()
                if left <= 0:
                    delivery.give_up()
                    return judge_timeout(delivery)
                await asyncio.wait({thread}, timeout=min(left, LOOK))
            return thread.result()
        except asyncio.CancelledError:
            delivery.give_up()
            raise
        finally:
            self._deliveries.discard(delivery)

    def end_calls_by(self, latest: float) -> None:
        """End every delivery by `latest` (monotonic clock), also those that wait for the reply to their final dot."""
        self._latest = latest
        for delivery in list(self._deliveries):
            delivery.end_by(latest)

    def close(self) -> None:
        """Close the idle connections now, and the others once they are free."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().drop()
        self._pool.shutdown(wait=False)

    def _deliver(self, message: EmailMessage, delivery: SmtpDelivery) -> Outcome:
        if delivery.is_over():  # all threads were busy until now
            return judge_timeout(delivery)
        delivery.is_started = True
        try:
            envelope = Envelope.from_message(message)
        except (ValueError, TypeError, LookupError) as error:
            words = self._clean(f"The email cannot be written: {error}")
            return NotAttempted(cause=Cause.MESSAGE, reason_code="unsupported", reason=words)
        session = self._get_session()
        self._sessions.add(session)
        try:
            outcome = session.deliver(envelope, delivery)
        except Exception as error:
            session.drop()
            self._sessions.discard(session)
            if delivery.is_past_dot:
                raise
            words = f"Mercury failed before it sent the email: {type(error).__name__}."
            return classify.blame_machine("internal-error", words)
        if isinstance(outcome, Refused) and outcome.at_capacity:
            outcome = replace(outcome, calls_at_once=self._count_connections())
        if session.connection is None:
            self._sessions.discard(session)
        if self._is_closed:
            session.drop()
        elif session.connection is not None:
            session.idle_since = time.monotonic()
            self._idle.append(session)
            self._drop_surplus()
        return outcome

    def _drop_surplus(self) -> None:
        """Close connections unused for a while: other processes may need them if the server accepts few."""
        while self._idle:
            try:
                oldest = self._idle.popleft()
            except IndexError:  # another thread was faster
                return
            if time.monotonic() - oldest.idle_since < SURPLUS:
                self._idle.appendleft(oldest)
                return
            oldest.drop()
            self._sessions.discard(oldest)

    def _count_connections(self) -> int:
        """Return the number of open connections, in use or kept."""
        return sum(session.connection is not None for session in list(self._sessions))

    def _get_session(self) -> "SmtpSession":
        """Return the session that was used last, so that surplus ones expire; a new one if there is none."""
        while self._idle:
            try:
                session = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - session.idle_since < IDLE:
                return session
            session.drop()
            self._sessions.discard(session)
        return self._new()
