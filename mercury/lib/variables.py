"""Parse environment variables. Each kind of value has a function that returns the value, or raises ValueError with the remedy.

`settings.py` reads all of them and reports all errors at once. Errors are safe to log: they do not show values that
may contain a secret.
"""

import base64
import datetime as dt
import io
import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from redis.connection import parse_url

from mercury.lib import durations
from mercury.lib.mail import ehlo, printable

MAX_VALUES = 1000  # of one list
_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]"
_SETTING = re.compile(r"(?:export )?[A-Za-z_0-9]+=")  # as django-environ reads a line

T = TypeVar("T")


class Variables:
    """Read variables, and collect their names and errors."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.names: set[str] = set()
        self.errors: list[str] = []
        self._variables = variables

    def read(self, name: str, parse: Callable[[str], T], default: str = "") -> T:
        """Return the variable's value, or `default` if it is not set or blank. If `parse` refuses it, note an error."""
        self.names.add(name)
        text = self._variables.get(name, "")
        try:
            return parse(text if text.strip() else default)
        except ValueError as error:
            self.errors.append(f"{name}: {error}")
        try:
            return parse(default)
        except ValueError:  # the default is invalid here, too
            self.raise_on_errors()
            raise

    def raise_on_errors(self) -> None:
        """Raise ImproperlyConfigured with a line per error, if there are errors."""
        if self.errors:
            raise ImproperlyConfigured("\n".join(self.errors))


def load_env_file(path: Path) -> list[str]:
    """Load a file such as `.env`, if it exists, into the environment, and return its errors.

    Existing variables take precedence. An error names the number of a line, because its text may contain a secret.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror}). Make it readable for Mercury, or remove it."]
    except UnicodeDecodeError:
        return [f"{path}: is not UTF-8. Save it as UTF-8."]
    settings = [line for line in lines if _SETTING.match(line)]
    environ.Env.read_env(io.StringIO("\n".join(settings)))  # it would skip the others, and log them in full
    return [
        f"{path}, line {number}: is not a valid setting. "
        "Write NAME=value on one line, without spaces before the name or the equals sign. Comments begin with #."
        for number, line in enumerate(lines, 1)
        if not _SETTING.match(line) and line.strip() and not line.lstrip().startswith("#")
    ]


def parse_switch(text: str) -> bool:
    """Parse true or false; also 1 and 0, yes and no, on and off."""
    try:
        return _SWITCH[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{quote_value(text)} is neither true nor false. Write true or false.") from None


def parse_integer_between(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text) or not least <= int(text) <= most:
            raise ValueError(f"{quote_value(text)} is not a whole number from {least} to {most}.")
        return int(text)

    return parse


def parse_choice(*known: str) -> Callable[[str], str]:
    """Return a parser of one of these words, in upper or lower case."""

    def parse(text: str) -> str:
        for word in known:
            if text.strip().lower() == word.lower():
                return word
        raise ValueError(f"{quote_value(text)} is not valid. Use {', '.join(known[:-1])} or {known[-1]}.")

    return parse


def parse_duration_between(least: str, most: str) -> Callable[[str], dt.timedelta]:
    """Return a parser of durations from `least` to `most`."""

    def parse(text: str) -> dt.timedelta:
        parsed = durations.parse_bounded_duration(text)
        if not durations.parse_duration(least) <= parsed <= durations.parse_duration(most):
            raise ValueError(f"{quote_value(text)} is not between {least} and {most}.")
        return parsed

    return parse


def parse_size_between(least: str, most: str) -> Callable[[str], int]:
    """Return a parser of sizes such as 10MB, from `least` to `most`."""

    def parse(text: str) -> int:
        parsed = durations.parse_size(text)
        if not durations.parse_size(least) <= parsed <= durations.parse_size(most):
            raise ValueError(f"{quote_value(text)} is not between {least} and {most}.")
        return parsed

    return parse


def parse_shares(*defaults: str) -> Callable[[str], dict[str, int]]:
    """Return a parser of percentages by name, such as `bulk=20,large=10`; names that it leaves out keep their default."""
    known = {name: int(share) for name, _, share in (default.partition("=") for default in defaults)}

    def parse(text: str) -> dict[str, int]:
        pieces = [] if text.strip().lower() in ("", "none") else text.split(",")
        return known | dict(map(parse_one, pieces))

    def parse_one(piece: str) -> tuple[str, int]:
        name, _, share = (part.strip() for part in piece.partition("="))
        if name not in known:
            raise ValueError(f"{quote_value(piece)} names no queue. Use {', '.join(known)}, as in bulk=20.")
        if not share.isdecimal() or not 1 <= int(share) <= 100:
            raise ValueError(
                f"{quote_value(piece)} is no share from 1 to 100 percent. To stop a queue, pause it: "
                f"manage.py pause --queue {name}. 100 is all slots of a worker."
            )
        return name, int(share)

    return parse


def parse_list(parse: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return a parser of values separated by commas. Spaces and empty values are ignored."""

    def parse_values(text: str) -> list[T]:
        return [parse(value.strip()) for value in text.split(",") if value.strip()]

    return parse_values


def parse_nonempty_list(parse: Callable[[str], T], example: str) -> Callable[[str], list[T]]:
    """Return a parser of at least one value, see `parse_list`."""

    def parse_values(text: str) -> list[T]:
        found = parse_list(parse)(text)
        if not found:
            raise ValueError(f"it is empty. Write values separated by commas, such as {example}, or remove it.")
        if len(found) > MAX_VALUES:
            raise ValueError(f"it has {len(found)} values. Use at most {MAX_VALUES}.")
        return found

    return parse_values


def parse_host(text: str) -> str:
    """Parse a host name or an address, without scheme and port."""
    if not re.fullmatch(_HOST, text) and not _is_address(text):
        raise ValueError(
            f"{quote_value(text)} is not a host name. Write it without scheme, port and path, such as mail.example.com."
        )
    return text


def parse_ehlo_name(text: str) -> str:
    """Parse a name for EHLO: a full host name or an address literal; empty lets Mercury choose."""
    if text and not ehlo.is_ehlo_name(text):
        raise ValueError(
            f"{quote_value(text)} is not a valid EHLO name. Write the full name of this machine, such as mail.example.com, or [192.0.2.1]."
        )
    return text


def parse_served_host(text: str) -> str:
    """Parse a host that Mercury serves: also `.example.com` with its subdomains, or `*` for any."""
    if not re.fullmatch(rf"\*|\.?({_HOST})", text):
        raise ValueError(
            f"{quote_value(text)} is not a host name. Write mail.example.com, or .example.com for all subdomains, without scheme, port or path."
        )
    return text


def parse_private_domains(text: str) -> list[str]:
    """Parse domains outside the public DNS: `none`, names such as local, or `*` for any name, also without a dot."""
    if text.strip().lower() == "none":
        return []
    return parse_list(_parse_private_domain)(text)


def _parse_private_domain(text: str) -> str:
    name = text.lower().strip(".")
    if name != "*" and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
        raise ValueError(
            f"{quote_value(text)} is not a domain. Write names such as local,intranet.example.com, or * for any."
        )
    return name


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Parse a network such as 10.0.0.0/8, or one address."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}. Write networks such as 10.0.0.0/8,::1/128.") from None


def parse_origin(text: str) -> str:
    """Parse an origin: scheme and host."""
    if not re.fullmatch(rf"https?://(\*\.)?({_HOST})(:[0-9]{{1,5}})?", text):
        raise ValueError(
            f"{quote_value(text)} is not an origin. Write scheme and host, such as https://mail.example.com."
        )
    return text


def parse_base_url(text: str) -> str:
    """Parse the base of URLs, and remove a trailing slash; may be empty."""
    text = text.strip().rstrip("/")
    if text and not re.fullmatch(rf"https?://({_HOST})(:[0-9]{{1,5}})?(/[^\s?#@]*)?", text):
        raise ValueError(f"{quote_value(text)} is not a site URL. Write it like https://mail.example.com.")
    return text


def parse_folder(text: str) -> Path:
    """Parse a folder, which need not exist yet."""
    path = Path(text).resolve()
    if path.exists() and not path.is_dir():
        raise ValueError(f"{quote_value(text)} is a file. Use the path of a folder.")
    return path


def parse_database_url(text: str) -> str:
    """Parse the URL of an SQLite or PostgreSQL database; may be empty. It is never shown."""
    write = "Write postgres://USER:PASSWORD@HOST:5432/NAME or sqlite:///PATH."
    text = text.strip()
    if not text:
        return text
    if not re.match(r"(?i)(postgres|postgresql|psql|pgsql|sqlite)://", text):
        raise ValueError(f"it begins neither with postgres:// nor with sqlite://. {write}")
    try:
        name = environ.Env.db_url_config(text)["NAME"]
    except ValueError:
        raise ValueError(
            f"its host or port is invalid. {write} In a password, write /, ?, #, @ and : as %2F, %3F, %23, %40 and %3A."
        ) from None
    if name in ("", ":memory:"):
        raise ValueError(f"it has no database name. {write}")
    return text


def parse_redis_url(text: str) -> str:
    """Parse the URL of a Redis database; may be empty. It is never shown."""
    write = "Write redis://HOST:6379/0, or rediss:// for TLS."
    text = text.strip()
    if not text:
        return text
    if not re.match(r"(redis|rediss|unix)://", text):
        raise ValueError(f"it begins neither with redis:// nor with rediss://. {write}")
    try:
        parse_url(text)  # type: ignore[no-untyped-call]
        path = urlsplit(text).path
    except ValueError:
        raise ValueError(f"its host, port or options are invalid. {write}") from None
    if not text.startswith("unix:") and not re.fullmatch(r"(/[0-9]*/?)?", path):
        raise ValueError(f"the Redis database must be a number. {write}")
    return text


def parse_secret(text: str) -> str:
    """Parse any text. Refuse a reference to another variable and a comment, which would become part of the value. It is never shown."""
    if re.fullmatch(r"\$\{?\w+\}?", text):
        raise ValueError("it refers to another variable, but references are not resolved. Write the value itself.")
    if re.search(r"\s#|^#\s", text):
        raise ValueError(
            "it contains a comment, which would become part of the value. Put the comment on its own line."
        )
    return text


def parse_sentry_dsn(text: str) -> str:
    """Parse the DSN of a Sentry project; may be empty. It is never shown: it contains a key."""
    text = text.strip()
    if text and not re.fullmatch(
        rf"https?://[^\s/:@]+(?::[^\s/:@]+)?@({_HOST})(:[0-9]{{1,5}})?/([^\s?#]*/)?[0-9]+", text
    ):
        raise ValueError("it is not a Sentry DSN. Copy it from Sentry: https://KEY@HOST/NUMBER.")
    return text


def parse_fernet_key(text: str) -> str:
    """Parse a key of 32 bytes in URL-safe base64. It is never shown."""
    try:
        length = len(base64.urlsafe_b64decode(text))
    except ValueError:
        length = 0
    if length != 32:
        raise ValueError(
            "a key is not 32 bytes in URL-safe base64. Generate one with: openssl rand -base64 32 | tr '+/' '-_'"
        )
    return text


def quote_value(text: str) -> str:
    """Return a value in quotes, safe for one line of a log: shortened, without URL passwords and control characters."""
    text = re.sub(r"//[^/]*@", "//…@", text)
    return "'" + printable.replace_unprintable(text[:80], allowed="") + ("…'" if len(text) > 80 else "'")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
