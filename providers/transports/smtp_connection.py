"""One SMTP connection in step with its server: a reply counts only for the command that it answers.

smtplib accepts the next line as the answer, whatever it answers. Here unexpected input ends the connection before the next
command is sent, and each command knows the codes that can answer it.
"""

import binascii
import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

from yarl import URL

from mercury.lib.mail import name_address
from providers import outbound_hosts
from providers.transports.smtp_delivery import SmtpDelivery
from providers.transports.smtp_replies import Phase

MAX_REPLY = 64 * 1024  # bytes


_CHUNK = 16 * 1024


_PHASES = {"helo": Phase.EHLO} | {phase.value.lower(): phase for phase in Phase}


_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)


_ADDRESS = re.compile(r'(?:[^\s"<>@(),:;\\\[\]]+|"(?:[^"\\]|\\.)*")@(?:[^\s<>@\[\]]+|\[[^\s<>@\[\]]+\])')


class OutOfStep(smtplib.SMTPException):
    """The server answered without a command, or with a code that cannot answer it."""


class Reply(NamedTuple):
    """A server's reply to one command."""

    code: int
    text: bytes


class Replies:
    """The replies of a server on one socket."""

    def __init__(self, sock: socket.socket, time_left: Callable[[], float]) -> None:
        self._sock = sock
        self._time_left = time_left
        self._buffer = bytearray()

    def read(self) -> Reply:
        """Return the next reply, of at most 64 KB. Raises OutOfStep for anything else."""
        code, words, size = b"", [], 0
        while True:
            line = self._read_line()
            size += len(line)
            found = _REPLY_LINE.fullmatch(line.rstrip(b"\r\n"))
            if size > MAX_REPLY:
                raise OutOfStep("the reply is over 64 KB")
            if found is None or (code and found[1] != code):
                raise OutOfStep(f"no SMTP reply: {line[:80].decode('ascii', 'replace').strip()}")
            code = found[1]
            words.append((found[3] or b"").strip())
            if found[2] != b"-":
                return Reply(int(code), b"\n".join(words))

    def read_surplus(self) -> bytes:
        """Return input that no command asked for. Raises SMTPServerDisconnected if the server hung up."""
        patience = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            while len(self._buffer) <= MAX_REPLY:
                self._receive()
        except (BlockingIOError, ssl.SSLWantReadError):
            return bytes(self._buffer)
        except smtplib.SMTPServerDisconnected:
            if not self._buffer:
                raise
        finally:
            self._sock.settimeout(patience)  # TLS, which may follow, waits for its handshake
        return bytes(self._buffer)

    def close(self) -> None:
        """Forget the input. The socket belongs to the connection."""
        self._buffer.clear()

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\n") + 1) == 0:
            if len(self._buffer) > MAX_REPLY:
                raise OutOfStep("the reply is over 64 KB")
            self._sock.settimeout(self._time_left())
            self._receive()
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line

    def _receive(self) -> None:
        received = self._sock.recv(_CHUNK)
        if not received:
            raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
        self._buffer += received


class SmtpConnection(smtplib.SMTP):
    """A connection that keeps its delivery's deadline, stays in step, and connects to allowed hosts only."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        delivery: SmtpDelivery,
        name: Callable[[str], str],
        connect_timeout: float,
        context: ssl.SSLContext | None,
    ) -> None:
        """Connect and read the greeting. `name`: returns our EHLO name for a local address. `context`: for implicit TLS."""
        self._delivery = delivery
        self._connect_timeout = connect_timeout
        self._context = context
        self._handle: socket.socket | None = None
        try:
            super().__init__(host, port, local_hostname="[127.0.0.1]")
        except BaseException:
            self.close()
            raise
        if self.sock is not None:
            with delivery.mark_lookup():
                self.local_hostname = name(str(self.sock.getsockname()[0]))

    def serve(self, delivery: SmtpDelivery) -> None:
        """Serve this delivery from now on. Raises OutOfStep or SMTPServerDisconnected if the server spoke since the last."""
        self._delivery = delivery
        if self._handle is not None:
            delivery.remember_socket(self._handle)
        self.expect_silence()

    def mail_from(self, address: str, *, utf8: bool = False) -> Reply:
        """Name the sender. `utf8`: addresses and headers have letters beyond ASCII (RFC 6531), until the next sender."""
        self.command_encoding = "utf-8" if utf8 else "ascii"
        return self._ask(f"MAIL FROM:<{address}>{' BODY=8BITMIME SMTPUTF8' if utf8 else ''}", 250)

    def rcpt_to(self, address: str) -> Reply:
        """Name one recipient."""
        return self._ask(f"RCPT TO:<{address}>", 250, 251, 252)

    def data(self, msg: bytes) -> Reply:  # type: ignore[override]
        """Send the content; return the reply to its final dot, or to DATA if that is refused."""
        started = self._ask("DATA", 354)
        if started.code != 354:
            return started
        if not msg.endswith(b"\r\n"):
            msg += b"\r\n"
        self._delivery.extend_for(len(msg))
        self.send(re.sub(rb"(?m)^\.", b"..", msg))
        self.expect_silence()
        self._delivery.pass_dot()
        self.send(b".\r\n")
        return self.getreply()

    def reset(self) -> Reply:
        """Forget sender and recipients."""
        return self._ask("RSET", 250)

    def expect_silence(self) -> None:
        """Raise OutOfStep if unexpected input has arrived; SMTPResponseException if it is a 421."""
        replies = self._get_replies()
        surplus = replies.read_surplus() if replies is not None else b""
        if not surplus:
            return
        if surplus.startswith(b"421"):  # a server that closes may say so at any time (RFC 5321 §3.8)
            code, text = self.getreply()
            raise smtplib.SMTPResponseException(code, text)
        words = surplus[:80].decode("ascii", "replace").split("\n")[0].strip()
        raise OutOfStep(f"a reply that belongs to no command: {words}")

    def read_surplus(self) -> bytes:
        """Return input that no command asked for; nothing if the server hung up."""
        replies = self._get_replies()
        try:
            return replies.read_surplus() if replies is not None else b""
        except OSError:
            return b""

    # The methods below replace parts of smtplib.

    def docmd(self, cmd: str, args: str = "") -> Reply:
        """Send a command and read its reply. Nothing may follow the reply to STARTTLS before TLS begins."""
        self.putcmd(cmd, args)
        reply = self.getreply()
        if cmd.upper() == "STARTTLS" and reply.code == 220:
            self.expect_silence()
        return reply

    def ehlo(self, name: str = "") -> Reply:
        """Send EHLO. Raises SMTPHeloError for a reply that neither accepts nor refuses it."""
        return _check_greeting(*super().ehlo(name))

    def helo(self, name: str = "") -> Reply:
        """Send HELO, for a server without EHLO."""
        return _check_greeting(*super().helo(name))

    def auth(self, mechanism: str, authobject: Any, *, initial_response_ok: bool = True) -> Reply:
        """Log in. Only 235 means success; smtplib would accept a 503 too."""
        try:
            code, text = super().auth(mechanism, authobject, initial_response_ok=initial_response_ok)
        except binascii.Error:
            raise OutOfStep("a challenge that is not base64") from None
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, text)
        return Reply(code, text)

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command, if the server waits for one. The later lines of AUTH begin no new step."""
        self.expect_silence()
        verb = cmd.partition(" ")[0].lower()
        self._delivery.phase = _PHASES.get(verb, self._delivery.phase)
        super().putcmd(cmd, args)

    def send(self, s: Any) -> None:
        """Send within the time that is left."""
        left = self._delivery.require_time()
        if self.sock is not None:
            self.sock.settimeout(left)
        super().send(s)

    def getreply(self) -> Reply:
        """Read one reply within the time that is left."""
        self._delivery.require_time()
        replies = self._get_replies()
        if replies is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        return replies.read()

    def close(self) -> None:
        """Close socket and handle."""
        super().close()
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _ask(self, command: str, *codes: int) -> Reply:
        """Send a command; return its reply, or raise OutOfStep for a code that can neither accept nor refuse it."""
        reply = self.docmd(command)
        if reply.code < 400 and reply.code not in codes:
            verb = command.partition(":")[0]
            raise OutOfStep(f"{reply.code} instead of {codes[0]} to {verb}")
        return reply

    def _get_replies(self) -> Replies | None:
        """Return the reader of the present socket. STARTTLS replaces it, and discards earlier input."""
        if self.file is None and self.sock is not None:
            self.file = Replies(self.sock, self._get_time_left)
        return self.file if isinstance(self.file, Replies) else None

    def _get_time_left(self) -> float:
        return self._delivery.require_time()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect, with implicit TLS if there is a context for it."""
        with self._delivery.mark_lookup():
            targets = outbound_hosts.resolve_host((host, port), allowed=outbound_hosts.get_allowed_hosts())
        sock = outbound_hosts.connect(targets, timeout=self._connect_timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the final dot is a small separate write
        self._handle = sock.dup()  # TLS replaces the socket; this handle can still shut it down
        self._delivery.remember_socket(self._handle)
        sock.settimeout(self._delivery.require_time())
        return self._context.wrap_socket(sock, server_hostname=host) if self._context is not None else sock


def _check_greeting(code: int, text: bytes) -> Reply:
    if code != 250 and (code < 400 or code == 421):
        raise smtplib.SMTPHeloError(code, text)
    return Reply(code, text)


def wire_address(text: str) -> str:
    """Return the address of `Name <address>` as SMTP commands carry it. Raises ValueError if it is not one.

    The domain goes out in ASCII. Letters beyond ASCII before the @ need SMTPUTF8 (RFC 6531) on the whole way.
    """
    named = name_address.split_name(text)
    address = named[1] if named else text
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        address = f"{local}@{URL.build(scheme='https', host=domain).raw_host}"
    if not address.isprintable() or not _ADDRESS.fullmatch(address):
        raise ValueError("an address is not valid in SMTP")
    return address
