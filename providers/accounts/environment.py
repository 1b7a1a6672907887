"""Accounts from the environment: one URL each, `PROVIDER_<NAME>=<kind>://…`, and the prototype's names."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from mercury.lib import rates, variables
from providers import tls
from providers.accounts.config import AccountConfig
from providers.kinds.catalog import KINDS
from providers.kinds.options import OptionsInvalid, clean_options

PREFIX = "PROVIDER_"
PREFIXES = (PREFIX, "SENDGRID_", "MAILGUN_")  # of all variables that are read here


def load_accounts() -> Mapping[str, AccountConfig]:
    """Return the accounts that the environment of this process names. Raises ImproperlyConfigured.

    An unchanged environment is parsed once.
    """
    return _parse_cached(tuple(item for item in settings.MERCURY_ENVIRONMENT.items() if item[0].startswith(PREFIXES)))


@lru_cache(maxsize=4)
def _parse_cached(environ: tuple[tuple[str, str], ...]) -> Mapping[str, AccountConfig]:
    return parse_accounts(dict(environ))


def parse_accounts(environ: Mapping[str, str]) -> dict[str, AccountConfig]:
    """Return the accounts that the environment names, by name; empty variables count as absent.

    Raises ImproperlyConfigured. Its text names the variable, the problem and the remedy, and never shows a value.
    """
    found: dict[str, tuple[str, AccountConfig]] = {}
    sources = {
        **{name: _read_url for name in sorted(environ) if name.startswith(PREFIX)},
        "SENDGRID_API_KEY": _read_prototype_sendgrid,
        "MAILGUN_API_KEY": _read_prototype_mailgun,
    }
    for variable, read in sources.items():
        if not environ.get(variable, "").strip():
            continue
        config = read(variable, environ)
        if config.name in found:
            raise ImproperlyConfigured(
                f"{variable} and {found[config.name][0]} both create an account '{config.name}'. Remove one of them."
            )
        found[config.name] = (variable, config)
    return {name: config for name, (_, config) in found.items()}


def get_variable(name: str) -> str:
    """Return the variable that makes the account `name`."""
    return PREFIX + name.upper().replace("-", "_")


def parse_account(name: str, url: str) -> AccountConfig:
    """Return the account that a variable with this URL would make. Raises ImproperlyConfigured."""
    variable = get_variable(name)
    return _read_url(variable, {variable: url})


def _read_url(variable: str, environ: Mapping[str, str]) -> AccountConfig:
    name = variable.removeprefix(PREFIX).lower().replace("_", "-")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 64:
        raise ImproperlyConfigured(f"{variable}: an account's name is made of letters, digits and single underscores.")
    try:
        url = urlsplit(environ[variable].strip())
        port = url.port
    except ValueError:
        raise ImproperlyConfigured(
            f"{variable}: not a URL. Write /, ?, #, @ and : in a password as %2F, %3F, %23, %40 and %3A."
        ) from None
    if url.scheme not in _SCHEMES:
        raise ImproperlyConfigured(f"{variable}: unknown scheme '{url.scheme}'. Known: {', '.join(_SCHEMES)}.")
    kind, options_of = _SCHEMES[url.scheme]
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    common: dict[str, str] = {key: query.pop(key) for key in ("weight", "rate", "trust_500") if key in query}
    options = options_of(variable, url, port, query) | query
    if "ca_file" in options and KINDS[kind].find_option("ca"):
        options["ca"] = _read_file(variable, options.pop("ca_file"))
    return _build_account(variable, name, kind, options, common)


def _read_file(variable: str, path: str) -> str:
    """Return the text of a file that a variable names: certificates are too long for a URL."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(tls.MAX_CA + 1)
    except (OSError, ValueError):
        raise ImproperlyConfigured(
            f"{variable}: ca_file: the file cannot be read as text. Name one with PEM certificates."
        ) from None


def _build_account(
    variable: str, name: str, kind: str, options: Mapping[str, Any], common: Mapping[str, str]
) -> AccountConfig:
    weight = common.get("weight", "1")
    if not (weight.isascii() and weight.isdigit() and int(weight) <= 10_000):
        raise ImproperlyConfigured(f"{variable}: weight must be a whole number from 0 to 10000.")
    try:
        limit = rates.parse_rate(common.get("rate", ""))
        return AccountConfig(
            name=name,
            kind=kind,
            options=clean_options(kind, options),
            weight=int(weight),
            rate=limit.per_second if limit else None,
            trust_500=_read_switch("trust_500", common.get("trust_500") or "false"),
        )
    except (OptionsInvalid, ValueError) as error:
        raise ImproperlyConfigured(f"{variable}: {error}") from None


def _read_switch(name: str, text: str) -> bool:
    try:
        return variables.parse_switch(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _read_key_and_region(variable: str, url: SplitResult, kind: str, query: dict[str, str]) -> dict[str, Any]:
    """Return API key and address of an HTTP kind. The key is in the place of the URL's password."""
    options: dict[str, Any] = {"api_key": unquote(url.password or url.username or "")}
    region = query.pop("region", None)
    if region is not None:
        regions = KINDS[kind].regions
        if region not in regions:
            raise ImproperlyConfigured(f"{variable}: unknown region '{region}'. Known: {', '.join(regions)}.")
        options["api_url"] = regions[region]
    return options


def _read_sendgrid(variable: str, url: SplitResult, port: int | None, query: dict[str, str]) -> dict[str, Any]:
    return _read_key_and_region(variable, url, "sendgrid", query)


def _read_mailgun(variable: str, url: SplitResult, port: int | None, query: dict[str, str]) -> dict[str, Any]:
    return _read_key_and_region(variable, url, "mailgun", query) | {"sender_domain": url.hostname}


def _read_smtp(variable: str, url: SplitResult, port: int | None, query: dict[str, str]) -> dict[str, Any]:
    return {
        "host": url.hostname,
        "port": port,
        "username": unquote(url.username or ""),
        "password": unquote(url.password or ""),
    }


def _read_smtps(variable: str, url: SplitResult, port: int | None, query: dict[str, str]) -> dict[str, Any]:
    return _read_smtp(variable, url, port, query) | {"security": "tls"}


def _read_sandbox(variable: str, url: SplitResult, port: int | None, query: dict[str, str]) -> dict[str, Any]:
    return {}


_SCHEMES: dict[str, tuple[str, Callable[[str, SplitResult, int | None, dict[str, str]], dict[str, Any]]]] = {
    "sendgrid": ("sendgrid", _read_sendgrid),
    "mailgun": ("mailgun", _read_mailgun),
    "smtp": ("smtp", _read_smtp),
    "smtps": ("smtp", _read_smtps),
    "sandbox": ("sandbox", _read_sandbox),
}


def _read_prototype_sendgrid(variable: str, environ: Mapping[str, str]) -> AccountConfig:
    return _build_account(variable, "sendgrid", "sendgrid", {"api_key": environ[variable]}, {})


def _read_prototype_mailgun(variable: str, environ: Mapping[str, str]) -> AccountConfig:
    """Return the account that the prototype's variables name. Its URL ended with the resource, anymail's with the version."""
    options = {"api_key": environ[variable], "sender_domain": environ.get("MAILGUN_DOMAIN_NAME", "")}
    address = environ.get("MAILGUN_URL_API", "").strip()
    if address:
        options["api_url"] = re.sub(r"(/v\d+)/.*$", r"\1", address)
    return _build_account(variable, "mailgun", "mailgun", options, {})
