"""Declaration of a provider kind: how it is spoken to, what it can carry, its options, and how its URL is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from providers.kinds import cleaning
from providers.kinds.capabilities import Capabilities
from providers.kinds.http_api import HttpApi


class Transport(Enum):
    """The protocol of an account."""

    HTTP = "http"  # a kind's HttpApi builds requests and reads answers
    SMTP = "smtp"
    SANDBOX = "sandbox"


class OptionsInvalid(Exception):
    """The options make no account of this kind. `errors` says for each option what is wrong."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {problem}" for name, problem in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of an account, with its check.

    `clean` returns the text as it is stored, and raises ValueError with a sentence that does not repeat it.
    """

    name: str
    label: str
    help: str = ""
    required: bool = False
    secret: bool = False  # never shown again once stored; ASCII, since it is sent in a login
    default: Any = None
    choices: tuple[str, ...] = ()
    most: int | None = None  # the largest value, for a whole number from 1
    is_long: bool = False  # several lines; a variable's URL names a file with them: <name>_file
    is_extra: bool = False  # left out of the stored options if it has no value
    is_destination: bool = False  # decides where the account connects to: to change it, the secret is entered again
    keeps_blanks: bool = False  # those around it are part of it
    clean: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUrl:
    """The parts of `PROVIDER_<NAME>=<scheme>://user:password@host:port?…`, decoded. Query parameters are options."""

    username: str
    password: str
    host: str | None
    port: int | None


UrlReader = Callable[[AccountUrl], Mapping[str, Any]]  # returns options


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """Everything that Mercury knows of one provider."""

    key: str
    label: str
    transport: Transport
    capabilities: Capabilities
    options: tuple[Option, ...]
    schemes: Mapping[str, UrlReader]  # of its URLs
    variables: Mapping[str, str] = field(default_factory=dict)  # of other names -> option; the first creates an account
    regions: Mapping[str, str] = field(default_factory=dict)  # region -> api_url; empty if it has only one
    api: Callable[[Mapping[str, Any]], HttpApi] | None = (
        None  # of an HTTP provider: opens one account's, given its options
    )
    complete: Callable[[dict[str, Any]], Mapping[str, Any]] | None = (
        None  # options that others decide; or OptionsInvalid
    )
    counts_recipients: bool = True  # its quotas count recipients; False: messages
    is_quota_rolling: bool = (
        False  # its day is the last 24 hours, so that some of a used up quota is free again each hour
    )
    most_at_once: int | None = None  # concurrent calls of one account in one process, unless the account sets a limit

    def find_option(self, name: str) -> Option | None:
        """Return the option of this name, None if the kind has none."""
        return next((option for option in self.options if option.name == name), None)

    def is_own_address(self, value: Any) -> bool:
        """Return True for an address of the provider itself: a region's, or the only one."""
        option = self.find_option("api_url")
        return value in self.regions.values() or (option is not None and value == option.default)

    def open_api(self, options: Mapping[str, Any]) -> HttpApi:
        """Return the API of an account with these options. Raises TypeError if the kind is not spoken to over HTTP."""
        if self.api is None:
            raise TypeError(f"{self.label} has no HTTP API.")
        return self.api(options)


def read_key(url: AccountUrl) -> Mapping[str, Any]:
    """Return the API key of a URL. It is in the place of the password."""
    return {"api_key": url.password or url.username}


API_KEY = Option(name="api_key", label="API key", required=True, secret=True)


def build_api_url(default: str, help_text: str, clean: Callable[[str], str] = cleaning.clean_url) -> Option:
    """Return the option for the address of an API."""
    return Option(
        name="api_url", label="API address", help=help_text, default=default, is_destination=True, clean=clean
    )


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
    is_destination=True,
    clean=cleaning.clean_ca,
)
