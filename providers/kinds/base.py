"""Declaration of a kind of provider: options, capabilities, transport, and the options that several kinds share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from providers.kinds.http_api import HttpApi


class Transport(Enum):
    """The protocol of an account."""

    HTTP = "http"  # a kind's HttpApi builds requests and reads answers
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
    """Everything that Mercury knows of one provider."""

    key: str
    label: str
    transport: Transport
    options: tuple[Option, ...]
    can: tuple[str, ...]  # for people, shown with an account
    cannot: tuple[str, ...]
    api: Callable[[Mapping[str, Any]], HttpApi] | None = (
        None  # of an HTTP provider: opens one account's, given its options
    )
    regions: Mapping[str, str] = field(default_factory=dict)  # region -> api_url
    max_recipients: int | None = None  # of one call
    most_at_once: int | None = None  # concurrent calls of one account in one process, unless the account sets a limit

    def find_option(self, name: str) -> Option | None:
        """Return the option of this name, None if the kind has none."""
        return next((option for option in self.options if option.name == name), None)

    def open_api(self, options: Mapping[str, Any]) -> HttpApi:
        """Return the API of an account with these options. Raises TypeError if the kind is not spoken to over HTTP."""
        if self.api is None:
            raise TypeError(f"{self.label} has no HTTP API.")
        return self.api(options)


API_KEY = Option(name="api_key", label="API key", required=True, secret=True)


MAX_CONNECTIONS = Option(
    name="max_connections",
    label="Maximum connections",
    help="For all processes of Mercury together, such as 3 for a mailbox of Exchange 365. Empty: learned from refusals.",
    most=10_000,
)


CA = Option(
    name="ca",
    label="Certificate authority",
    help="PEM certificates of your own authority. The server is checked against them alone. Empty: the public authorities.",
    is_long=True,
    is_extra=True,
)
