"""One SMTP session: hand emails over on one connection, and judge its outcomes. Each recipient keeps its own answer."""

import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage

from mercury.lib.mail.ehlo import get_ehlo_name
from providers import classify
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Outcome, Refused, Unknown
from providers.transports import mime, smtp_replies
from providers.transports.smtp_connection import OutOfStep, Reply, SmtpConnection, wire_address
from providers.transports.smtp_delivery import DeadlineOver, SmtpDelivery
from providers.transports.smtp_replies import Phase

_BROKEN = (OSError, ValueError)  # smtplib's own exceptions are OSErrors


OUT_OF_STEP = "smtp-out-of-step"
_NO_SMTPUTF8 = "The server cannot carry addresses with letters beyond ASCII before the @ (no SMTPUTF8)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An email as SMTP carries it."""

    sender: str
    recipients: Mapping[str, str]  # without display names -> as SMTP needs them
    content: bytes

    @property
    def is_utf8(self) -> bool:
        """Return True if an address has letters beyond ASCII: the server must support SMTPUTF8 (RFC 6531)."""
        return not all(map(str.isascii, (self.sender, *self.recipients.values()))) or not self.content.isascii()

    @classmethod
    def from_message(cls, message: EmailMessage) -> "Envelope":
        """Write the email. Raises ValueError, TypeError or LookupError if it cannot be written."""
        return cls(
            sender=wire_address(message.from_email),
            recipients={address: wire_address(address) for address in mime.list_addresses(message.recipients())},
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
        self.connection: SmtpConnection | None = None
        self.idle_since = 0.0

    def deliver(self, envelope: Envelope, delivery: SmtpDelivery) -> Outcome:
        """Send one email, once. A kept connection that is unusable before the final dot is replaced, once."""
        if self.connection is not None:
            try:
                self.connection.serve(delivery)
                return self._hand_over(self.connection, envelope, delivery)
            except _BROKEN as error:
                self.drop()
                if delivery.is_past_dot or isinstance(error, DeadlineOver):
                    return self._judge_failure(error, delivery)
        try:
            self.connection = self._open(delivery)
            return self._hand_over(self.connection, envelope, delivery)
        except _BROKEN as error:
            self.drop()
            return self._judge_failure(error, delivery)

    def drop(self) -> None:
        """Close the connection without QUIT."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _get_name(self, local_address: str) -> str:
        configured = self._options.get("ehlo_name") or settings.MERCURY_EHLO_NAME
        return get_ehlo_name(local_address, configured=configured)

    def _open(self, delivery: SmtpDelivery) -> SmtpConnection:
        options = self._options
        connection = SmtpConnection(
            options["host"],
            options["port"],
            delivery=delivery,
            name=self._get_name,
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

    def _hand_over(self, connection: SmtpConnection, envelope: Envelope, delivery: SmtpDelivery) -> Outcome:
        """Send sender, recipients and content. A refusing reply ends it and leaves the connection in order."""
        is_utf8 = envelope.is_utf8
        if is_utf8 and not connection.has_extn("smtputf8"):
            return NotAttempted(cause=Cause.MESSAGE, reason_code="smtputf8-unsupported", reason=_NO_SMTPUTF8)
        code, text = self._read(connection.mail_from(envelope.sender, utf8=is_utf8))
        if code == 421:
            raise smtplib.SMTPResponseException(code, text)
        if code != 250:
            return self._check_refused(connection, smtp_replies.build_refused(code, text, Phase.MAIL), delivery)
        replies = {
            address: self._name_recipient(connection, on_the_wire)
            for address, on_the_wire in envelope.recipients.items()
        }
        refusing = [(address, code, text) for address, (code, text) in replies.items() if code >= 400]
        if len(refusing) == len(replies):
            return self._check_refused(connection, smtp_replies.refuse_all(refusing), delivery)
        refused = tuple(smtp_replies.refuse_recipient(*reply) for reply in refusing)
        code, text = self._read(connection.data(envelope.content))
        if code == 250:
            return self._check_accepted(connection, smtp_replies.build_accepted(code, text, refused))
        if code < 400:  # only after the dot: `data` takes nothing but 354 before it
            raise OutOfStep(f"{code} instead of 250 to the final dot")
        agreed = len(replies) - len(refused)
        outcome = smtp_replies.build_refused(code, text, delivery.phase, recipients=agreed, refused=refused)
        return self._check_refused(connection, outcome, delivery)

    def _name_recipient(self, connection: SmtpConnection, address: str) -> tuple[int, str]:
        """Name one recipient. Raises SMTPResponseException for a 421: the server closes the connection."""
        code, text = self._read(connection.rcpt_to(address))
        if code == 421:
            raise smtplib.SMTPResponseException(code, text)
        return code, text

    def _check_accepted(self, connection: SmtpConnection, outcome: Accepted) -> Outcome:
        """Return the outcome, unless the server sends a refusal right behind it."""
        surplus = connection.read_surplus()
        if surplus:
            self.drop()
        if surplus[:1] in (b"4", b"5") and not surplus.startswith(b"421"):  # which announces a close
            return Unknown(
                reason_code=OUT_OF_STEP,
                reason=self._clean(f"The server accepted the email and refused it: {_read_first_line(surplus)}"),
            )
        return outcome

    def _check_refused(self, connection: SmtpConnection, outcome: Refused, delivery: SmtpDelivery) -> Outcome:
        """Return the outcome, unless the next reply shows that the refusal answered another command."""
        try:
            code, _ = connection.reset()
        except OutOfStep as error:
            self.drop()
            return self._judge_failure(error, delivery)
        except OSError:
            self.drop()
            return outcome
        if code != 250:
            self.drop()
        return outcome

    def _read(self, reply: Reply) -> tuple[int, str]:
        return reply.code, self._clean(reply.text.decode("utf-8", "replace"))

    def _judge_failure(self, error: OSError | ValueError, delivery: SmtpDelivery) -> Refused | Unknown | NotAttempted:
        """Return the outcome of a session that broke."""
        if isinstance(error, OutOfStep):
            return self._judge_out_of_step(error, delivery)
        if delivery.is_past_dot:
            if isinstance(error, DeadlineOver | TimeoutError) or delivery.is_over():
                return judge_timeout(delivery)
            return Unknown(
                reason_code="connection-lost", reason="The connection was lost after the final dot of the email."
            )
        if isinstance(error, smtplib.SMTPException):
            return self._judge_smtp_error(error, delivery)
        match error:
            case ssl.SSLError():  # a ValueError too, where the certificate is wrong
                return classify.judge_connect_error(error)
            case ValueError():  # the email was written already, so it is not the cause
                words = f"The account's options cannot be used ({type(error).__name__}). Enter them again."
                return NotAttempted(cause=Cause.ACCOUNT, reason_code="account-unusable", reason=words)
        return judge_timeout(delivery) if delivery.is_over() else classify.judge_connect_error(error)

    def _judge_smtp_error(
        self, error: smtplib.SMTPException, delivery: SmtpDelivery
    ) -> Refused | Unknown | NotAttempted:
        """Return the outcome if smtplib gave up before the email was sent."""
        match error:
            case smtplib.SMTPResponseException() if error.smtp_code < 400:
                return self._judge_out_of_step(OutOfStep(f"unexpected reply {error.smtp_code}"), delivery)
            case smtplib.SMTPResponseException():
                code, text = self._read(Reply(error.smtp_code, _to_bytes(error.smtp_error)))
                return smtp_replies.build_refused(code, text, delivery.phase)
            case smtplib.SMTPServerDisconnected():
                if delivery.is_over():
                    return judge_timeout(delivery)
                return classify.refuse_unreached(
                    "connection-lost", "The server closed the connection before the email was sent."
                )
        # No TLS although it is required, no log-in, or no log-in mechanism that smtplib knows.
        return Refused(
            failure_class=FailureClass.ACCOUNT, reason_code="smtp-unsupported", reason=self._clean(str(error))
        )

    def _judge_out_of_step(self, error: OutOfStep, delivery: SmtpDelivery) -> Refused | Unknown:
        words = self._clean(f"The server's replies do not fit the commands: {error}.")
        return (
            Unknown(reason_code=OUT_OF_STEP, reason=words)
            if delivery.is_past_dot
            else Refused(failure_class=FailureClass.PROVIDER, reason_code=OUT_OF_STEP, reason=words)
        )


def judge_timeout(delivery: SmtpDelivery) -> Refused | Unknown | NotAttempted:
    """Return the outcome if the delivery's time is over now."""
    if delivery.is_cut_short:
        return _judge_stop(delivery)
    if delivery.is_past_dot:
        return Unknown(
            reason_code="read-timeout",
            reason="No reply to the final dot of the email within MERCURY_FINAL_REPLY_TIMEOUT.",
        )
    if not delivery.is_started:
        return NotAttempted(
            cause=Cause.CAPACITY, reason_code="no-connection", reason="All connections of the account stayed in use."
        )
    if delivery.is_looking_up:
        return classify.judge_connect_error(classify.NO_RESOLVER)
    return classify.refuse_unreached("deadline", "The server was too slow to receive the email.")


def _judge_stop(delivery: SmtpDelivery) -> Unknown | NotAttempted:
    if delivery.is_past_dot:
        return Unknown(
            reason_code="stopped",
            reason="Mercury was stopped while it waited for the reply to the final dot of the email.",
        )
    return classify.blame_machine("stopped", "Mercury was stopped before it had sent the email.")


def _read_first_line(reply: bytes) -> str:
    return reply.split(b"\n")[0].decode("utf-8", "replace").strip()


def _to_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()
