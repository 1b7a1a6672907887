"""The kinds of provider: the options of an account, what it can and cannot do, and how it is spoken to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any


class Transport(Enum):
    """The protocol of an account."""

    HTTP = "http"  # payload by django-anymail, sent by aiohttp
    SMTP = "smtp"
    SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of an account."""

    name: str
    label: str
    help: str = ""
    required: bool = False
    secret: bool = False  # never shown again once stored
    default: Any = None
    choices: tuple[str, ...] = ()
    most: int | None = None  # the largest value, for a whole number from 1
    is_long: bool = False  # several lines
    is_extra: bool = False  # left out of the stored options if it has no value


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """What Mercury knows of one provider."""

    key: str
    label: str
    transport: Transport
    options: tuple[Option, ...]
    backend: str  # dotted path of the class that builds its requests; empty for the sandbox
    can: tuple[str, ...]  # for people, shown with an account
    cannot: tuple[str, ...]
    regions: Mapping[str, str] = field(default_factory=dict)  # region -> api_url
    max_recipients: int | None = None  # of one call
    most_at_once: int | None = None  # concurrent calls of one account in one process, unless the account sets a limit

    def find_option(self, name: str) -> Option | None:
        """Return the option of this name, None if the kind has none."""
        return next((option for option in self.options if option.name == name), None)


_API_KEY = Option(name="api_key", label="API key", required=True, secret=True)


MAX_CONNECTIONS = Option(
    name="max_connections",
    label="Maximum connections",
    help="For all processes of Mercury together, such as 3 for a mailbox of Exchange 365. Empty: learned from refusals.",
    most=10_000,
)


_PORT = Option(name="port", label="Port", help="Empty: 587 with STARTTLS, 465 with TLS, 25 without.", most=65535)


_CA = Option(
    name="ca",
    label="Certificate authority",
    help="PEM certificates of your own authority. The server is checked against them alone. Empty: the public authorities.",
    is_long=True,
    is_extra=True,
)


KINDS: Mapping[str, ProviderKind] = MappingProxyType(
    {
        kind.key: kind
        for kind in (
            ProviderKind(
                key="sendgrid",
                label="SendGrid",
                transport=Transport.HTTP,
                options=(
                    _API_KEY,
                    Option(
                        name="api_url",
                        label="API address",
                        help="Another one for EU subusers.",
                        default="https://api.sendgrid.com/v3/",
                    ),
                    MAX_CONNECTIONS,
                    _CA,
                ),
                backend="providers.kinds.payloads.SendGridBackend",
                can=("keeps the Message-ID", "reports delivery by webhook"),
                cannot=(
                    "answer for each recipient",
                    "show recipients of another request in To",
                    "send an empty subject or body (a space is sent)",
                ),
                regions=MappingProxyType(
                    {"us": "https://api.sendgrid.com/v3/", "eu": "https://api.eu.sendgrid.com/v3/"}
                ),
                max_recipients=1000,
            ),
            ProviderKind(
                key="mailgun",
                label="Mailgun",
                transport=Transport.HTTP,
                options=(
                    _API_KEY,
                    Option(
                        name="sender_domain", label="Sending domain", help="Empty: the domain of the sender's address."
                    ),
                    Option(
                        name="api_url",
                        label="API address",
                        help="Another one for the EU.",
                        default="https://api.mailgun.net/v3",
                    ),
                    MAX_CONNECTIONS,
                    _CA,
                ),
                backend="providers.kinds.payloads.MailgunBackend",
                can=("keeps the Message-ID", "reports delivery by webhook"),
                cannot=(
                    "answer for each recipient",
                    "show recipients of another request in To",
                    "send an empty body (a space is sent)",
                ),
                regions=MappingProxyType({"us": "https://api.mailgun.net/v3", "eu": "https://api.eu.mailgun.net/v3"}),
                max_recipients=1000,
            ),
            ProviderKind(
                key="smtp",
                label="SMTP",
                transport=Transport.SMTP,
                options=(
                    Option(name="host", label="Host", required=True),
                    _PORT,
                    Option(name="username", label="User name"),
                    Option(name="password", label="Password", secret=True),
                    Option(name="security", label="Security", default="starttls", choices=("starttls", "tls", "none")),
                    MAX_CONNECTIONS,
                    Option(
                        name="ehlo_name",
                        label="EHLO name",
                        help="Empty: MERCURY_EHLO_NAME, or this machine's full name.",
                        is_extra=True,
                    ),
                    _CA,
                ),
                backend="providers.transports.smtp_session.SmtpSession",
                can=(
                    "keeps the Message-ID",
                    "sends exactly the bytes that Mercury shows",
                    "answers for each recipient",
                ),
                cannot=("report delivery by webhook",),
                most_at_once=32,
            ),
            ProviderKind(
                key="sandbox",
                label="Sandbox",
                transport=Transport.SANDBOX,
                options=(),
                backend="",
                can=(
                    "keeps every email for you to read",
                    "simulates slow, refused, missing, alternating and lost answers",
                ),
                cannot=("deliver email",),
            ),
        )
    }
)
