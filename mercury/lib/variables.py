"""Environment variables as values. Each kind of value is a function that takes the text or says how to write it.

`settings.py` reads all of them and stops once, with every fault that was found. What a fault says of a value is fit for a
log: of one that may hold a secret only what is wrong with it is told.
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

MOST_VALUES = 1000  # of one list
_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]"
_SETTING = re.compile(r"(?:export )?[A-Za-z_0-9]+=")  # as django-environ reads a line

T = TypeVar("T")


class Variables:
    """Reads variables, and remembers their names and the faults found in them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.names: set[str] = set()
        self.faults: list[str] = []
        self._variables = variables

    def read(self, name: str, kind: Callable[[str], T], default: str = "") -> T:
        """The variable's value; that of `default` where it is not set or blank, and, with a fault more, if `kind` refuses it."""
        self.names.add(name)
        text = self._variables.get(name, "")
        try:
            return kind(text if text.strip() else default)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
        try:
            return kind(default)
        except ValueError:  # the default cannot be read here either: there is nothing to go on with
            self.stop_on_faults()
            raise

    def stop_on_faults(self) -> None:
        """Raise ImproperlyConfigured with a line for each fault, if there is one."""
        if self.faults:
            raise ImproperlyConfigured("\n".join(self.faults))


def read_file(path: Path) -> list[str]:
    """Put the values of a file such as `.env`, which need not be there, into the environment, and return the file's faults.

    What the environment has already wins. A line that cannot be read is named by its number: it may hold a secret.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path}: it cannot be read ({error.strerror}). Let Mercury read it, or take it away."]
    except UnicodeDecodeError:
        return [f"{path}: it is not in UTF-8. Write it anew."]
    settings = [line for line in lines if _SETTING.match(line)]
    environ.Env.read_env(io.StringIO("\n".join(settings)))  # it would pass over the others, and log them whole
    return [
        f"{path}, line {number}: it is no setting. "
        "Write NAME=value on one line, without blanks before the name and the sign; a comment begins with #."
        for number, line in enumerate(lines, 1)
        if not _SETTING.match(line) and line.strip() and not line.lstrip().startswith("#")
    ]


def switch(text: str) -> bool:
    """A yes or no: true or false; also 1 and 0, yes and no, on and off."""
    try:
        return _SWITCH[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{shown(text)} is neither true nor false. Write true or false.") from None


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""

    def kind(text: str) -> int:
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text) or not least <= int(text) <= most:
            raise ValueError(f"{shown(text)} is not a whole number from {least} to {most}.")
        return int(text)

    return kind


def one_of(*known: str) -> Callable[[str], str]:
    """One of these words, in capitals or not."""

    def kind(text: str) -> str:
        for word in known:
            if text.strip().lower() == word.lower():
                return word
        raise ValueError(f"{shown(text)} is not known. Write {', '.join(known[:-1])} or {known[-1]}.")

    return kind


def duration(text: str) -> dt.timedelta:
    """A duration such as 30s, up to a hundred years."""
    parsed = durations.parse(text)
    if parsed > durations.LONGEST:
        raise ValueError(f"{shown(text)} is too long. Write 36500d, a hundred years, or less.")
    return parsed


def lasting(least: str, most: str) -> Callable[[str], dt.timedelta]:
    """A duration from `least` to `most`."""

    def kind(text: str) -> dt.timedelta:
        parsed = duration(text)
        if not durations.parse(least) <= parsed <= durations.parse(most):
            raise ValueError(f"{shown(text)} is not from {least} to {most}.")
        return parsed

    return kind


def sized(least: str, most: str) -> Callable[[str], int]:
    """A size such as 10MB, from `least` to `most`."""

    def kind(text: str) -> int:
        parsed = durations.parse_size(text)
        if not durations.parse_size(least) <= parsed <= durations.parse_size(most):
            raise ValueError(f"{shown(text)} is not from {least} to {most}.")
        return parsed

    return kind


def many(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Values separated by commas; blanks around them and empty ones do not count."""

    def kinds(text: str) -> list[T]:
        return [kind(one.strip()) for one in text.split(",") if one.strip()]

    return kinds


def some(kind: Callable[[str], T], example: str) -> Callable[[str], list[T]]:
    """Like `many`, but at least one."""

    def kinds(text: str) -> list[T]:
        found = many(kind)(text)
        if not found:
            raise ValueError(f"it is empty. Write values with commas, such as {example}, or take it out.")
        if len(found) > MOST_VALUES:
            raise ValueError(f"it has {len(found)} values. Write {MOST_VALUES} at most.")
        return found

    return kinds


def host(text: str) -> str:
    """A host name or an address, as a URL would have it, but without scheme and port."""
    if not re.fullmatch(_HOST, text) and not _is_address(text):
        raise ValueError(f"{shown(text)} is no host. Write it without scheme, port and path, such as mail.example.com.")
    return text


def ehlo_name(text: str) -> str:
    """A name for EHLO: a full host name or an address literal; nothing leaves it to Mercury."""
    if text and not ehlo.is_ehlo_name(text):
        raise ValueError(
            f"{shown(text)} is no name for EHLO. Write this machine's full name, such as mail.example.com, or [192.0.2.1]."
        )
    return text


def served_host(text: str) -> str:
    """A host that requests may be for: also `.example.com` for all below it, and `*` for any."""
    if not re.fullmatch(rf"\*|\.?({_HOST})", text):
        raise ValueError(
            f"{shown(text)} is no host. Write mail.example.com, or .example.com with all below it; no scheme, port or path."
        )
    return text


def private_domains(text: str) -> list[str]:
    """Domains that the public DNS does not have: `none`, or names such as local; `*` is any name, also without a dot."""
    if text.strip().lower() == "none":
        return []
    return many(_private_domain)(text)


def _private_domain(text: str) -> str:
    name = text.lower().strip(".")
    if name != "*" and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
        raise ValueError(f"{shown(text)} is no domain. Write names such as local,intranet.example.com, or * for any.")
    return name


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network such as 10.0.0.0/8, or one address."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}. Write networks such as 10.0.0.0/8,::1/128.") from None


def origin(text: str) -> str:
    """Scheme and host, as a browser names where a form came from."""
    if not re.fullmatch(rf"https?://(\*\.)?({_HOST})(:[0-9]{{1,5}})?", text):
        raise ValueError(f"{shown(text)} is no origin. Write scheme and host, such as https://mail.example.com.")
    return text


def base_url(text: str) -> str:
    """An address that URLs begin with, without a slash at its end; or nothing."""
    text = text.strip().rstrip("/")
    if text and not re.fullmatch(rf"https?://({_HOST})(:[0-9]{{1,5}})?(/[^\s?#@]*)?", text):
        raise ValueError(f"{shown(text)} is no address of a site. Write it such as https://mail.example.com.")
    return text


def folder(text: str) -> Path:
    """A folder, which need not be there yet."""
    path = Path(text).resolve()
    if path.exists() and not path.is_dir():
        raise ValueError(f"{shown(text)} is a file. Write the path of a folder.")
    return path


def database_url(text: str) -> str:
    """The URL of a database of SQLite's or PostgreSQL's, or nothing. It is never shown."""
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
            f"its host or port cannot be read. {write} In a password /, ?, #, @ and : are %2F, %3F, %23, %40 and %3A."
        ) from None
    if name in ("", ":memory:"):
        raise ValueError(f"it names no database. {write}")
    return text


def redis_url(text: str) -> str:
    """The URL of a Redis database, or nothing. It is never shown."""
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
        raise ValueError(f"its host, port or options cannot be read. {write}") from None
    if not text.startswith("unix:") and not re.fullmatch(r"(/[0-9]*/?)?", path):
        raise ValueError(f"a database of Redis is a number. {write}")
    return text


def secret(text: str) -> str:
    """Any text, but for the name of another variable and a comment, which would both be taken. It is never shown."""
    if re.fullmatch(r"\$\{?\w+\}?", text):
        raise ValueError("it is the name of another variable, and would be taken as it stands. Write the value itself.")
    if re.search(r"\s#|^#\s", text):
        raise ValueError("it has a comment in it, which would be part of it. Give the comment a line of its own.")
    return text


def dsn(text: str) -> str:
    """Where a Sentry takes events, or nothing. It is never shown: it holds a key."""
    text = text.strip()
    if text and not re.fullmatch(
        rf"https?://[^\s/:@]+(?::[^\s/:@]+)?@({_HOST})(:[0-9]{{1,5}})?/([^\s?#]*/)?[0-9]+", text
    ):
        raise ValueError("it is not the DSN of a Sentry project. Write it as Sentry shows it: https://KEY@HOST/NUMBER.")
    return text


def fernet_key(text: str) -> str:
    """A key of 32 bytes in URL-safe base64. It is never shown."""
    try:
        length = len(base64.urlsafe_b64decode(text))
    except ValueError:
        length = 0
    if length != 32:
        raise ValueError(
            "a key is not 32 bytes in URL-safe base64. Make one with: openssl rand -base64 32 | tr '+/' '-_'"
        )
    return text


def shown(text: str) -> str:
    """A value in quotes, fit for one line of a log: no password of a URL, no control characters, not without end."""
    text = re.sub(r"//[^/]*@", "//…@", text)
    return "'" + printable.replace_unprintable(text[:80], allowed="") + ("…'" if len(text) > 80 else "'")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
