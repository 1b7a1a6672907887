"""Sending over SMTP: Django's backend with the answers it hides, in a thread pool, with connections kept per account.

Before the final dot nothing is sent, whatever breaks; after it, silence is a doubt. Each recipient keeps its answer.
"""

import asyncio
import contextlib
import re
import smtplib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from django.core.mail.message import sanitize_address

from providers import classify, destinations, smtp_replies
from providers.account import AccountConfig
from providers.outcomes import Fault, Outcome, Refused, Unknown
from providers.smtp_replies import Phase

MAX_REPLY = 64 * 1024  # bytes
IDLE = 30.0  # seconds; an older connection is replaced, as most servers have closed it by then
_BROKEN = (OSError, ValueError)  # smtplib's own exceptions are OSErrors, but for words that it will not send
_PHASES = {"helo": Phase.EHLO} | {phase.value.lower(): phase for phase in Phase}
_LINE_END = re.compile(rb"\r\n|\r|\n")


class DeadlineOver(OSError):
    """The call's time is over; the thread that carries it out stops before the next step."""


class Call:
    """One delivery, seen by the thread that carries it out and by the event loop that may give it up."""

    def __init__(self, deadline: float) -> None:
        self._ends_at = time.monotonic() + deadline
        self._lock = threading.Lock()
        self._given_up = False
        self._socket: socket.socket | None = None
        self.past_dot = False

    def remaining(self) -> float:
        """Seconds left. Raises DeadlineOver if there are none, or if the call was given up."""
        if self.is_over():
            raise DeadlineOver("The deadline is over.")
        return max(0.001, self._ends_at - time.monotonic())

    def is_over(self) -> bool:
        """Whether the time is over, or the call was given up."""
        return self._given_up or time.monotonic() >= self._ends_at

    def uses(self, handle: socket.socket) -> None:
        """The socket that `give_up` shuts down."""
        with self._lock:
            self._socket = handle
        self.remaining()

    def pass_dot(self) -> None:
        """The point of no return: from here on the server may have the mail. Raises DeadlineOver if given up before."""
        with self._lock:
            self.remaining()
            self.past_dot = True

    def give_up(self) -> Refused | Unknown:
        """Stop the thread, whatever it waits for, and say what that means. It will not pass the dot after this."""
        with self._lock:
            self._given_up = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # not connected any more
                    self._socket.shutdown(socket.SHUT_RDWR)
            return self.timed_out()

    def timed_out(self) -> Refused | Unknown:
        """What it means that the time is over now."""
        if self.past_dot:
            return Unknown("read-timeout", "No reply to the mail's final dot within the deadline.")
        return classify.never_called(Fault.PROVIDER, "deadline", "The server was too slow to be handed the mail.")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A mail as SMTP carries it."""

    sender: str
    recipients: Mapping[str, str]  # as the mail has them -> as the wire wants them
    content: bytes

    @classmethod
    def of(cls, message: EmailMessage) -> "Envelope":
        """Write the mail down. Raises ValueError and its like for what cannot be written."""
        encoding = message.encoding or "utf-8"
        return cls(
            sender=sanitize_address(message.from_email, encoding),
            recipients={address: sanitize_address(address, encoding) for address in message.recipients()},
            content=_LINE_END.sub(b"\r\n", message.message().as_bytes()),  # no bare CR or LF: they hide a second mail
        )


class SmtpChannel:
    """One SMTP account: idle connections, and threads of the pool that talk on them."""

    def __init__(self, account: AccountConfig, *, pool: Executor, deadline: float, connect_timeout: float) -> None:
        self._pool = pool
        self._deadline = deadline
        self._closed = False
        secrets = [account.options["password"]] if account.options["password"] else []
        self._clean = classify.cleaner(secrets)
        self._new = partial(SmtpBackend, account, connect_timeout=connect_timeout, clean=self._clean)
        self._idle: deque[SmtpBackend] = deque()

    async def send(self, message: EmailMessage) -> Outcome:
        """Hand the mail over once. Ends within the deadline, also when the thread hangs in a call."""
        call = Call(self._deadline)
        thread = asyncio.get_running_loop().run_in_executor(self._pool, self._deliver, message, call)
        try:
            done, _ = await asyncio.wait({thread}, timeout=self._deadline)
        except asyncio.CancelledError:
            call.give_up()
            raise
        return thread.result() if done else call.give_up()

    def close(self) -> None:
        """Close the idle connections, and those in use once they are free."""
        self._closed = True
        while self._idle:
            self._idle.pop().drop()

    def _deliver(self, message: EmailMessage, call: Call) -> Outcome:
        try:
            envelope = Envelope.of(message)
        except (ValueError, TypeError, LookupError) as error:
            words = self._clean(f"The mail cannot be written: {error}")
            return classify.never_called(Fault.MESSAGE, "unsupported", words)
        backend = self._take()
        outcome = backend.deliver(envelope, call)
        if self._closed:
            backend.drop()
        elif backend.connection is not None:
            backend.idle_since = time.monotonic()
            self._idle.append(backend)
        return outcome

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
        return self._new()


class SmtpBackend(smtp.EmailBackend):
    """Django's backend for one connection. Every option is given, so that no global setting stands in for one."""

    connection: "_Connection | None"
    _partial_connection: "_Connection | None"

    def __init__(self, account: AccountConfig, *, connect_timeout: float, clean: Callable[[str], str]) -> None:
        options = account.options
        super().__init__(
            host=options["host"],
            port=options["port"],
            username=options["username"] or "",
            password=options["password"] or "",
            use_tls=options["security"] == "starttls",
            use_ssl=options["security"] == "tls",
            timeout=connect_timeout,
            ssl_keyfile="",
            ssl_certfile="",
            fail_silently=False,
        )
        self.call = Call(0)
        self.phase = Phase.GREETING  # the step of the conversation that the last reply answers
        self.idle_since = 0.0
        self.connect_timeout = connect_timeout
        self._clean = clean

    @property
    def connection_class(self) -> Any:
        """What Django's `open` calls with host, port and the rest."""
        return partial(_Connection, self)

    def deliver(self, envelope: Envelope, call: Call) -> Outcome:
        """Hand one mail over, once. A kept connection that turns out dead before the dot is replaced, once."""
        self.call = call
        if self.connection is not None:
            try:
                self.connection.reuse()
                return self._hand_over(self.connection, envelope)
            except _BROKEN as error:
                self.drop()
                if call.past_dot or isinstance(error, DeadlineOver | ValueError):
                    return self._failure(error)
        self.phase = Phase.GREETING
        try:
            self.open()
            if self.connection is None:
                raise smtplib.SMTPServerDisconnected("no connection")
            return self._hand_over(self.connection, envelope)
        except _BROKEN as error:
            outcome = self._failure(error)
            self.drop()
            return outcome

    def _not_spoken(self, error: ValueError) -> Refused:
        """Return what it means that a command cannot be written, by the step that it belongs to."""
        if self.phase in smtp_replies.BEFORE_MAIL:  # such as a user name beyond ASCII: nobody has seen the message
            words = "The account's options cannot be spoken to this server. Enter them again."
            return classify.never_called(Fault.ACCOUNT, "account-unusable", words)
        return classify.never_called(Fault.MESSAGE, "unsupported", self._clean(str(error)))  # an address, or its like

    def drop(self) -> None:
        """Close the connection without waiting for a goodbye."""
        for connection in (self.connection, self._partial_connection):
            if connection is not None:
                connection.close()
        self.connection = self._partial_connection = None

    def _hand_over(self, connection: "_Connection", envelope: Envelope) -> Outcome:
        """The conversation: sender, recipients, content. A reply that refuses ends it and leaves the connection in order."""
        connection.ehlo_or_helo_if_needed()
        options = ["body=8bitmime"] if connection.has_extn("8bitmime") else []
        code, text = self._reply(connection.mail(envelope.sender, options))
        if code == 421:
            raise smtplib.SMTPResponseException(code, text)
        if code != 250:
            return self._refused(connection, smtp_replies.refuse(code, text, Phase.MAIL))
        replies = {
            address: self._reply(connection.rcpt(on_the_wire)) for address, on_the_wire in envelope.recipients.items()
        }
        refusing = [(address, code, text) for address, (code, text) in replies.items() if code not in (250, 251)]
        if len(refusing) == len(replies):
            return self._refused(connection, smtp_replies.refuse_all(refusing))
        refused = tuple(smtp_replies.refuse_recipient(*reply) for reply in refusing)
        code, text = self._reply(connection.content(envelope.content))
        if code == 250:
            return smtp_replies.accept(code, text, refused)
        if self.call.past_dot and not 400 <= code < 600:
            self.drop()
            return Unknown(f"unexpected-{code}", text or "The answer to the mail's final dot was no SMTP reply.", None)
        phase = Phase.DOT if self.call.past_dot else Phase.DATA
        agreed = len(replies) - len(refused)
        return self._refused(connection, smtp_replies.refuse(code, text, phase, recipients=agreed, refused=refused))

    def _refused(self, connection: "_Connection", outcome: Refused) -> Refused:
        try:
            connection.rset()
        except OSError:
            self.drop()
        return outcome

    def _reply(self, reply: tuple[int, bytes]) -> tuple[int, str]:
        code, text = reply
        return code, self._clean(text.decode("utf-8", "replace"))

    def _failure(self, error: OSError | ValueError) -> Refused | Unknown:
        """What a conversation that broke means."""
        if self.call.past_dot:
            if isinstance(error, DeadlineOver | TimeoutError) or self.call.is_over():
                return self.call.timed_out()
            return Unknown("connection-lost", "The connection broke after the mail's final dot.")
        match error:
            case ssl.SSLError():  # a ValueError too, where the certificate is wrong
                return classify.connect_failure(error)
            case ValueError():
                return self._not_spoken(error)
            case DeadlineOver():
                return self.call.timed_out()
            case smtplib.SMTPResponseException():
                code, text = self._reply((error.smtp_code, _as_bytes(error.smtp_error)))
                return smtp_replies.refuse(code, text, self.phase)
            case smtplib.SMTPNotSupportedError():
                return classify.never_called(Fault.ACCOUNT, "smtp-unsupported", self._clean(str(error)))
            case smtplib.SMTPException():
                if self.call.is_over():
                    return self.call.timed_out()
                return classify.never_called(Fault.PROVIDER, "connection-lost", "The server hung up before the mail.")
        return classify.connect_failure(error)


class _Connection(smtplib.SMTP):
    """A connection that keeps to the call's deadline, to the bound of a reply, and to public addresses."""

    def __init__(self, backend: SmtpBackend, host: str, port: int, **options: Any) -> None:
        self._backend = backend
        self._context: ssl.SSLContext | None = options.pop("context", None)
        self._handle: socket.socket | None = None
        super().__init__(host, port, **options)

    def reuse(self) -> None:
        """Serve the backend's present call."""
        if self._handle is not None:
            self._backend.call.uses(self._handle)

    def content(self, content: bytes) -> tuple[int, bytes]:
        """DATA, with the final dot as a step of its own; returns the reply to it, or to DATA if that is refused."""
        code, text = self.docmd("data")
        if code != 354:
            return code, text
        if not content.endswith(b"\r\n"):
            content += b"\r\n"
        self.send(re.sub(rb"(?m)^\.", b"..", content))
        self._backend.call.pass_dot()
        self.send(b".\r\n")
        return self.getreply()

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command, and note the step that it begins. What AUTH sends after its first line begins none."""
        self._backend.phase = _PHASES.get(cmd.lower(), self._backend.phase)
        super().putcmd(cmd, args)

    def send(self, s: Any) -> None:
        """Send within the time that is left."""
        self._keep_time()
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        """Read one reply of at most 64 KB within the time that is left."""
        self._keep_time()
        if self.file is None and self.sock is not None:
            self.file = _BoundedReader(self.sock.makefile("rb"))
        if isinstance(self.file, _BoundedReader):
            self.file.left = MAX_REPLY
        return super().getreply()

    def close(self) -> None:
        """Close socket and handle."""
        super().close()
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect; with TLS from the start if the backend says so."""
        sock = destinations.connect(
            (host, port), timeout=self._backend.connect_timeout, allowed=destinations.allowed_hosts()
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the final dot is a small write of its own
        self._handle = sock.dup()  # TLS takes the socket itself away; this one still shuts it down
        self.reuse()
        sock.settimeout(self._backend.call.remaining())
        return self._context.wrap_socket(sock, server_hostname=host) if self._context is not None else sock

    def _keep_time(self) -> None:
        left = self._backend.call.remaining()
        if self.sock is not None:
            self.sock.settimeout(left)


class _BoundedReader:
    """A connection's file that breaks when a reply grows without end."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.left = MAX_REPLY

    def readline(self, limit: int = -1) -> bytes:
        """The next line; OSError once the bound is passed."""
        line: bytes = self._file.readline(limit)
        self.left -= len(line)
        if self.left < 0:
            raise OSError("the reply is over 64 KB")
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _as_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()
