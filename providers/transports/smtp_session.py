"""Sending over SMTP, in a thread pool, with connections kept per account.

Before the final dot nothing is sent, whatever breaks; after it, silence is a doubt. Each recipient keeps its answer.
"""

import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage

from mercury.lib.mail.ehlo import ehlo_name
from providers import classify
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted, FailureClass, Outcome, Refused, Unknown
from providers.transports import mime, smtp_replies
from providers.transports.smtp_connection import Connection, OutOfStep, Reply, wire_address
from providers.transports.smtp_delivery import DeadlineOver, SmtpDelivery
from providers.transports.smtp_replies import Phase

_BROKEN = (OSError, ValueError)  # smtplib's own exceptions are OSErrors


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
            content=mime.build_content(message),
        )


class SmtpSession:
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

    def deliver(self, envelope: Envelope, call: SmtpDelivery) -> Outcome:
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

    def _open(self, call: SmtpDelivery) -> Connection:
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

    def _hand_over(self, connection: Connection, envelope: Envelope, call: SmtpDelivery) -> Outcome:
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

    def _refused(self, connection: Connection, outcome: Refused, call: SmtpDelivery) -> Refused | Unknown:
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

    def _failure(self, error: OSError | ValueError, call: SmtpDelivery) -> Refused | Unknown:
        """What a conversation that broke means."""
        if isinstance(error, OutOfStep):
            return self._out_of_step(error, call)
        if call.past_dot:
            if isinstance(error, DeadlineOver | TimeoutError) or call.is_over():
                return judge_timeout(call)
            return Unknown("connection-lost", "The connection broke after the mail's final dot.")
        if isinstance(error, smtplib.SMTPException):
            return self._conversation_failed(error, call)
        match error:
            case ssl.SSLError():  # a ValueError too, where the certificate is wrong
                return classify.judge_connect_error(error)
            case ValueError():  # the mail was written down already, so this is not its fault
                words = f"The account's options cannot be used ({type(error).__name__}). Enter them again."
                return classify.refuse_uncalled(FailureClass.ACCOUNT, "account-unusable", words)
        return judge_timeout(call) if call.is_over() else classify.judge_connect_error(error)

    def _conversation_failed(self, error: smtplib.SMTPException, call: SmtpDelivery) -> Refused | Unknown:
        """What it means that smtplib gave up before the email was handed over."""
        match error:
            case smtplib.SMTPResponseException() if error.smtp_code < 400:
                return self._out_of_step(OutOfStep(f"{error.smtp_code} where it can be no answer"), call)
            case smtplib.SMTPResponseException():
                code, text = self._words(Reply(error.smtp_code, _as_bytes(error.smtp_error)))
                return smtp_replies.refuse(code, text, call.phase)
            case smtplib.SMTPServerDisconnected():
                if call.is_over():
                    return judge_timeout(call)
                return classify.refuse_uncalled(
                    FailureClass.PROVIDER, "connection-lost", "The server hung up before the mail."
                )
        # It has no TLS where TLS is demanded, no log-in, or none of the ways to log in that smtplib knows.
        return classify.refuse_uncalled(FailureClass.ACCOUNT, "smtp-unsupported", self._clean(str(error)))

    def _out_of_step(self, error: OutOfStep, call: SmtpDelivery) -> Refused | Unknown:
        words = self._clean(f"The server's replies do not fit the commands: {error}.")
        return Unknown(OUT_OF_STEP, words) if call.past_dot else Refused(FailureClass.PROVIDER, OUT_OF_STEP, words)


def judge_timeout(call: SmtpDelivery) -> Refused | Unknown:
    """Return what it means that the call's time is over now."""
    if call.is_cut_short:
        return _stopped(call)
    if call.past_dot:
        return Unknown("read-timeout", "No reply to the email's final dot within MERCURY_FINAL_REPLY_TIMEOUT.")
    if not call.started:
        return classify.refuse_uncalled(
            FailureClass.RATE, "no-connection", "All connections of the account stayed in use."
        )
    if call.is_looking_up:
        return classify.judge_connect_error(classify.NO_RESOLVER)
    return classify.refuse_uncalled(FailureClass.PROVIDER, "deadline", "The server was too slow to be handed the mail.")


def _stopped(call: SmtpDelivery) -> Refused | Unknown:
    if call.past_dot:
        return Unknown("stopped", "Mercury was stopped while it waited for the reply to the email's final dot.")
    return classify.refuse_uncalled(
        FailureClass.LOCAL, "stopped", "Mercury was stopped before it had handed the email over."
    )


def _first_line(reply: bytes) -> str:
    return reply.split(b"\n")[0].decode("utf-8", "replace").strip()


def _as_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()
