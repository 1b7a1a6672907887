"""Sending over SMTP, in a thread pool, with connections kept per account.

Before the final dot nothing is sent, whatever breaks; after it, silence is a doubt. Each recipient keeps its answer.
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
from providers.outcomes import FailureClass, Outcome, Refused
from providers.transports import redaction
from providers.transports.smtp_delivery import SmtpDelivery
from providers.transports.smtp_session import Envelope, SmtpSession, judge_timeout

SURPLUS = 5.0  # seconds that a connection is kept which the account's other emails can do without


IDLE = 30.0  # seconds; an older connection is replaced, as most servers have closed it by then


LOOK = 1.0  # seconds between two looks at the time of a call, which grows and may be cut


class SmtpChannel:
    """One SMTP account: idle connections, and threads of the pool that talk on them."""

    def __init__(
        self, account: AccountConfig, *, threads: int, deadline: float, final_reply: float, connect_timeout: float
    ) -> None:
        """`threads`: conversations at once. They are this account's own, so that one that waits keeps no other waiting."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"smtp-{account.name}")
        outbound_hosts.check_secret(account.options, allowed=outbound_hosts.get_allowed_hosts())
        self._deadline = deadline
        self._final_reply = final_reply
        self._latest = float("inf")
        self._calls: set[SmtpDelivery] = set()
        self._closed = False
        secrets = [account.options["password"]] if account.options["password"] else []
        self._clean = redaction.build_cleaner(secrets)
        context = tls.build_client_context(account.options.get("ca") or "")
        self._new = partial(SmtpSession, account, connect_timeout=connect_timeout, clean=self._clean, context=context)
        self._idle: deque[SmtpSession] = deque()
        self._backends: set[SmtpSession] = set()  # those in use and those kept

    async def send(self, message: EmailMessage) -> Outcome:
        """Hand the mail over once. Ends within the call's time, also when the thread hangs in it."""
        call = SmtpDelivery(self._deadline, final_reply=self._final_reply)
        call.end_by(self._latest)
        try:
            thread = asyncio.get_running_loop().run_in_executor(self._pool, self._deliver, message, call)
        except RuntimeError:  # the pool keeps the call all the same, for a thread that it has already
            call.give_up()
            return judge_timeout(call) if call.past_dot else classify.refuse_without_thread()
        self._calls.add(call)
        try:
            while not thread.done():
                left = call.seconds_left()
                if left <= 0:
                    call.give_up()
                    return judge_timeout(call)
                await asyncio.wait({thread}, timeout=min(left, LOOK))
            return thread.result()
        except asyncio.CancelledError:
            call.give_up()
            raise
        finally:
            self._calls.discard(call)

    def end_calls_by(self, latest: float) -> None:
        """End every call by then (monotonic clock), also those that wait for the reply to their final dot."""
        self._latest = latest
        for call in list(self._calls):
            call.end_by(latest)

    def close(self) -> None:
        """Close the idle connections, and those in use once they are free."""
        self._closed = True
        while self._idle:
            self._idle.pop().drop()
        self._pool.shutdown(wait=False)

    def _deliver(self, message: EmailMessage, call: SmtpDelivery) -> Outcome:
        if call.is_over():  # all threads were busy until now
            return judge_timeout(call)
        call.started = True
        try:
            envelope = Envelope.of(message)
        except (ValueError, TypeError, LookupError) as error:
            words = self._clean(f"The mail cannot be written: {error}")
            return classify.refuse_uncalled(FailureClass.MESSAGE, "unsupported", words)
        backend = self._take()
        self._backends.add(backend)
        try:
            outcome = backend.deliver(envelope, call)
        except Exception as error:
            backend.drop()
            self._backends.discard(backend)
            if call.past_dot:
                raise
            words = f"Mercury failed before it handed the email over: {type(error).__name__}."
            return classify.refuse_uncalled(FailureClass.LOCAL, "internal-error", words)
        if isinstance(outcome, Refused) and outcome.at_capacity:
            outcome = replace(outcome, calls_at_once=self._connected())
        if backend.connection is None:
            self._backends.discard(backend)
        if self._closed:
            backend.drop()
        elif backend.connection is not None:
            backend.idle_since = time.monotonic()
            self._idle.append(backend)
            self._drop_surplus()
        return outcome

    def _drop_surplus(self) -> None:
        """Close connections that nobody has needed for a while: others may need them, where a server takes few."""
        while self._idle:
            try:
                oldest = self._idle.popleft()
            except IndexError:  # another thread was faster
                return
            if time.monotonic() - oldest.idle_since < SURPLUS:
                self._idle.appendleft(oldest)
                return
            oldest.drop()
            self._backends.discard(oldest)

    def _connected(self) -> int:
        """Return how many connections the server has taken, those in use and those kept."""
        return sum(backend.connection is not None for backend in list(self._backends))

    def _take(self) -> "SmtpSession":
        """The connection that was used last, so that surplus ones grow old and go."""
        while self._idle:
            try:
                backend = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - backend.idle_since < IDLE:
                return backend
            backend.drop()
            self._backends.discard(backend)
        return self._new()
