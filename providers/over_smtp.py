"""Sending over SMTP, in a thread pool, with connections kept per account.

Before the final dot nothing is sent, whatever breaks; after it, silence is a doubt. Each recipient keeps its answer.
"""

import asyncio
import smtplib
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage

from mercury.lib.mail.ehlo import ehlo_name
from providers import classify, destinations, mime, redaction, smtp_replies, tls
from providers.account import AccountConfig
from providers.outcomes import Accepted, Fault, Outcome, Refused, Unknown
from providers.smtp_connection import Call, Connection, DeadlineOver, OutOfStep, Reply, wire_address
from providers.smtp_replies import Phase

SURPLUS = 5.0  # seconds that a connection is kept which the account's other emails can do without
IDLE = 30.0  # seconds; an older connection is replaced, as most servers have closed it by then
_BROKEN = (OSError, ValueError)  # smtplib's own exceptions are OSErrors
LOOK = 1.0  # seconds between two looks at the time of a call, which grows and may be cut
OUT_OF_STEP = "smtp-out-of-step"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A mail as SMTP carries it."""

    sender: str
    recipients: Mapping[str, str]  # as the mail has them -> as the wire wants them
    content: bytes

    @classmethod
    def of(cls, message: EmailMessage) -> "Envelope":
        """Write the mail down. Raises ValueError and its like for what cannot be written."""
        return cls(
            sender=wire_address(message.from_email),
            recipients={address: wire_address(address) for address in message.recipients()},
            content=mime.content_of(message),
        )


class SmtpChannel:
    """One SMTP account: idle connections, and threads of the pool that talk on them."""

    def __init__(
        self, account: AccountConfig, *, threads: int, deadline: float, final_reply: float, connect_timeout: float
    ) -> None:
        """`threads`: conversations at once. They are this account's own, so that one that waits keeps no other waiting."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"smtp-{account.name}")
        destinations.check_secret(account.options, allowed=destinations.allowed_hosts())
        self._deadline = deadline
        self._final_reply = final_reply
        self._latest = float("inf")
        self._calls: set[Call] = set()
        self._closed = False
        secrets = [account.options["password"]] if account.options["password"] else []
        self._clean = redaction.cleaner(secrets)
        context = tls.client_context(account.options.get("ca") or "")
        self._new = partial(SmtpBackend, account, connect_timeout=connect_timeout, clean=self._clean, context=context)
        self._idle: deque[SmtpBackend] = deque()
        self._backends: set[SmtpBackend] = set()  # those in use and those kept

    async def send(self, message: EmailMessage) -> Outcome:
        """Hand the mail over once. Ends within the call's time, also when the thread hangs in it."""
        call = Call(self._deadline, final_reply=self._final_reply)
        call.end_by(self._latest)
        try:
            thread = asyncio.get_running_loop().run_in_executor(self._pool, self._deliver, message, call)
        except RuntimeError:  # the pool keeps the call all the same, for a thread that it has already
            call.give_up()
            return timed_out(call) if call.past_dot else classify.no_thread()
        self._calls.add(call)
        try:
            while not thread.done():
                left = call.seconds_left()
                if left <= 0:
                    call.give_up()
                    return timed_out(call)
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

    def _deliver(self, message: EmailMessage, call: Call) -> Outcome:
        if call.is_over():  # all threads were busy until now
            return timed_out(call)
        call.started = True
        try:
            envelope = Envelope.of(message)
        except (ValueError, TypeError, LookupError) as error:
            words = self._clean(f"The mail cannot be written: {error}")
            return classify.never_called(Fault.MESSAGE, "unsupported", words)
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
            return classify.never_called(Fault.LOCAL, "internal-error", words)
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

    def _take(self) -> "SmtpBackend":
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


class SmtpBackend:
    """One connection of an account, kept from email to email."""

    def __init__(
        self,
        account: AccountConfig,
        *,
        connect_timeout: float,
        clean: Callable[[str], str],
        context: ssl.SSLContext,
    ) -> None:
        self._options = account.options
        self._connect_timeout = connect_timeout
        self._clean = clean
        self._context = context
        self.connection: Connection | None = None
        self.idle_since = 0.0

    def deliver(self, envelope: Envelope, call: Call) -> Outcome:
        """Hand one mail over, once. A kept connection that turns out unusable before the dot is replaced, once."""
        if self.connection is not None:
            try:
                self.connection.serve(call)
                return self._hand_over(self.connection, envelope, call)
            except _BROKEN as error:
                self.drop()
                if call.past_dot or isinstance(error, DeadlineOver):
                    return self._failure(error, call)
        try:
            self.connection = self._open(call)
            return self._hand_over(self.connection, envelope, call)
        except _BROKEN as error:
            self.drop()
            return self._failure(error, call)

    def drop(self) -> None:
        """Close the connection without waiting for a goodbye."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _name(self, local_address: str) -> str:
        configured = self._options.get("ehlo_name") or settings.MERCURY_EHLO_NAME
        return ehlo_name(local_address, configured=configured)

    def _open(self, call: Call) -> Connection:
        options = self._options
        connection = Connection(
            options["host"],
            options["port"],
            call=call,
            name=self._name,
            connect_timeout=self._connect_timeout,
            context=self._context if options["security"] == "tls" else None,
        )
        try:
            if options["security"] == "starttls":
                connection.starttls(context=self._context)
            if options["username"] and options["password"]:
                connection.login(options["username"], options["password"])
            connection.ehlo_or_helo_if_needed()
        except _BROKEN:
            connection.close()
            raise
        return connection

    def _hand_over(self, connection: Connection, envelope: Envelope, call: Call) -> Outcome:
        """The conversation: sender, recipients, content. A reply that refuses ends it and leaves the connection in order."""
        code, text = self._words(connection.mail_from(envelope.sender))
        if code == 421:
            raise smtplib.SMTPResponseException(code, text)
        if code != 250:
            return self._refused(connection, smtp_replies.refuse(code, text, Phase.MAIL), call)
        replies = {
            address: self._recipient(connection, on_the_wire) for address, on_the_wire in envelope.recipients.items()
        }
        refusing = [(address, code, text) for address, (code, text) in replies.items() if code >= 400]
        if len(refusing) == len(replies):
            return self._refused(connection, smtp_replies.refuse_all(refusing), call)
        refused = tuple(smtp_replies.refuse_recipient(*reply) for reply in refusing)
        code, text = self._words(connection.data(envelope.content))
        if code == 250:
            return self._accepted(connection, smtp_replies.accept(code, text, refused))
        if code < 400:  # only after the dot: `data` takes nothing but 354 before it
            raise OutOfStep(f"{code} instead of 250 to the final dot")
        agreed = len(replies) - len(refused)
        outcome = smtp_replies.refuse(code, text, call.phase, recipients=agreed, refused=refused)
        return self._refused(connection, outcome, call)

    def _recipient(self, connection: Connection, address: str) -> tuple[int, str]:
        """Name one recipient. Raises SMTPResponseException for a 421: the server closes, whoever else is to be named."""
        code, text = self._words(connection.rcpt_to(address))
        if code == 421:
            raise smtplib.SMTPResponseException(code, text)
        return code, text

    def _accepted(self, connection: Connection, outcome: Accepted) -> Outcome:
        """Return the outcome, unless the server says something else in the same breath."""
        surplus = connection.surplus()
        if surplus:
            self.drop()
        if surplus[:1] in (b"4", b"5") and not surplus.startswith(b"421"):  # which may announce that it closes
            return Unknown(
                OUT_OF_STEP, self._clean(f"The server took the email and refused it: {_first_line(surplus)}")
            )
        return outcome

    def _refused(self, connection: Connection, outcome: Refused, call: Call) -> Refused | Unknown:
        """Return the outcome, unless the next reply shows that the refusal was meant for another command."""
        try:
            code, _ = connection.reset()
        except OutOfStep as error:
            self.drop()
            return self._failure(error, call)
        except OSError:
            self.drop()
            return outcome
        if code != 250:
            self.drop()
        return outcome

    def _words(self, reply: Reply) -> tuple[int, str]:
        return reply.code, self._clean(reply.text.decode("utf-8", "replace"))

    def _failure(self, error: OSError | ValueError, call: Call) -> Refused | Unknown:
        """What a conversation that broke means."""
        if isinstance(error, OutOfStep):
            return self._out_of_step(error, call)
        if call.past_dot:
            if isinstance(error, DeadlineOver | TimeoutError) or call.is_over():
                return timed_out(call)
            return Unknown("connection-lost", "The connection broke after the mail's final dot.")
        if isinstance(error, smtplib.SMTPException):
            return self._conversation_failed(error, call)
        match error:
            case ssl.SSLError():  # a ValueError too, where the certificate is wrong
                return classify.connect_failure(error)
            case ValueError():  # the mail was written down already, so this is not its fault
                words = f"The account's options cannot be used ({type(error).__name__}). Enter them again."
                return classify.never_called(Fault.ACCOUNT, "account-unusable", words)
        return timed_out(call) if call.is_over() else classify.connect_failure(error)

    def _conversation_failed(self, error: smtplib.SMTPException, call: Call) -> Refused | Unknown:
        """What it means that smtplib gave up before the email was handed over."""
        match error:
            case smtplib.SMTPResponseException() if error.smtp_code < 400:
                return self._out_of_step(OutOfStep(f"{error.smtp_code} where it can be no answer"), call)
            case smtplib.SMTPResponseException():
                code, text = self._words(Reply(error.smtp_code, _as_bytes(error.smtp_error)))
                return smtp_replies.refuse(code, text, call.phase)
            case smtplib.SMTPServerDisconnected():
                if call.is_over():
                    return timed_out(call)
                return classify.never_called(Fault.PROVIDER, "connection-lost", "The server hung up before the mail.")
        # It has no TLS where TLS is demanded, no log-in, or none of the ways to log in that smtplib knows.
        return classify.never_called(Fault.ACCOUNT, "smtp-unsupported", self._clean(str(error)))

    def _out_of_step(self, error: OutOfStep, call: Call) -> Refused | Unknown:
        words = self._clean(f"The server's replies do not fit the commands: {error}.")
        return Unknown(OUT_OF_STEP, words) if call.past_dot else Refused(Fault.PROVIDER, OUT_OF_STEP, words)


def timed_out(call: Call) -> Refused | Unknown:
    """Return what it means that the call's time is over now."""
    if call.is_cut_short:
        return _stopped(call)
    if call.past_dot:
        return Unknown("read-timeout", "No reply to the email's final dot within MERCURY_FINAL_REPLY_TIMEOUT.")
    if not call.started:
        return classify.never_called(Fault.RATE, "no-connection", "All connections of the account stayed in use.")
    if call.is_looking_up:
        return classify.connect_failure(classify.NO_RESOLVER)
    return classify.never_called(Fault.PROVIDER, "deadline", "The server was too slow to be handed the mail.")


def _stopped(call: Call) -> Refused | Unknown:
    if call.past_dot:
        return Unknown("stopped", "Mercury was stopped while it waited for the reply to the email's final dot.")
    return classify.never_called(Fault.LOCAL, "stopped", "Mercury was stopped before it had handed the email over.")


def _first_line(reply: bytes) -> str:
    return reply.split(b"\n")[0].decode("utf-8", "replace").strip()


def _as_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()
