"""Accounts from the environment: one URL each, `PROVIDER_<NAME>=<scheme>://…`, and the variables of the prototype.

What is the same for all kinds is read here; each kind reads the parts of its URL.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from mercury.lib import rates, variables
from providers import tls
from providers.accounts.config import MAX_PRIORITY, MAX_WEIGHT, AccountConfig
from providers.kinds.base import AccountUrl, OptionsInvalid, ProviderKind
from providers.kinds.catalog import KINDS
from providers.kinds.options import clean_options
from providers.quotas.rules import FIELDS as QUOTA_FIELDS
from providers.quotas.rules import QuotaInvalid, build_rules, read_texts

PREFIX = "PROVIDER_"
_COMMON = ("weight", "priority", "rate", "trust_500", *QUOTA_FIELDS)  # parameters of every URL
_SCHEMES = {scheme: kind for kind in KINDS.values() for scheme in kind.schemes}
_VARIABLES = frozenset(name for kind in KINDS.values() for name in kind.variables)


def load_accounts() -> Mapping[str, AccountConfig]:
    """Return the accounts that the environment of this process names. Raises ImproperlyConfigured.

    An unchanged environment is parsed, and its files are read, once.
    """
    environ = settings.MERCURY_ENVIRONMENT
    return _parse_cached(
        tuple((name, environ[name]) for name in environ if name.startswith(PREFIX) or name in _VARIABLES)
    )


@lru_cache(maxsize=4)
def _parse_cached(environ: tuple[tuple[str, str], ...]) -> Mapping[str, AccountConfig]:
    return parse_accounts(dict(environ))


def parse_accounts(environ: Mapping[str, str]) -> dict[str, AccountConfig]:
    """Return the accounts that the environment names, by name; empty variables count as absent.

    Raises ImproperlyConfigured. Its text names the variable, the problem and the remedy, and never shows a value.
    """
    found: dict[str, tuple[str, AccountConfig]] = {}
    sources: dict[str, Callable[[str, Mapping[str, str]], AccountConfig]] = {
        name: _read_url for name in sorted(environ) if name.startswith(PREFIX)
    }
    sources |= {next(iter(kind.variables)): partial(_read_variables, kind) for kind in KINDS.values() if kind.variables}
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
    scheme, url, query = _split_url(variable, environ[variable].strip())
    if scheme not in _SCHEMES:
        raise ImproperlyConfigured(f"{variable}: unknown scheme '{scheme}'. Known: {', '.join(_SCHEMES)}.")
    kind = _SCHEMES[scheme]
    _check_parameters(variable, kind, query)
    common: dict[str, str] = {key: query.pop(key) for key in _COMMON if key in query}
    sources = kind.schemes[scheme](url), _read_region(variable, kind, query), _read_files(variable, kind, query), query
    return _build_account(variable, name, kind, _merge(variable, sources), common)


def _check_parameters(variable: str, kind: ProviderKind, query: Mapping[str, str]) -> None:
    """Raise ImproperlyConfigured for a parameter that a URL of this kind cannot have."""
    options = (f"{option.name}_file" if option.is_long else option.name for option in kind.options)
    known = [*_COMMON, *(["region"] if kind.regions else []), *options]
    for name in query:
        if name not in known and kind.find_option(name) is None:
            raise ImproperlyConfigured(
                f"{variable}: {name}: {kind.label} has no such option. Known: {', '.join(known)}."
            )


def _merge(variable: str, sources: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options that the parts of a URL give. One that is given twice is an error: nobody can see which counts."""
    merged: dict[str, Any] = {}
    for source in sources:
        given = {name: value for name, value in source.items() if value not in (None, "")}
        if twice := given.keys() & merged.keys():
            raise ImproperlyConfigured(
                f"{variable}: the URL gives {', '.join(sorted(twice))} twice. Remove one of them."
            )
        merged |= given
    return merged


def _read_variables(kind: ProviderKind, variable: str, environ: Mapping[str, str]) -> AccountConfig:
    """Return the account that a kind's other variables make, such as those of the prototype. Its name is the kind's."""
    options = {option: environ.get(name, "") for name, option in kind.variables.items()}
    return _build_account(variable, kind.key, kind, options, {})


def _split_url(variable: str, text: str) -> tuple[str, AccountUrl, dict[str, str]]:
    """Return the scheme, the decoded parts and the query of a URL."""
    try:
        url = urlsplit(text)
        parts = AccountUrl(
            username=unquote(url.username or ""),
            password=unquote(url.password or ""),
            host=url.hostname,
            port=url.port,
        )
    except ValueError:
        raise ImproperlyConfigured(
            f"{variable}: not a URL. Write /, ?, #, @ and : in a password as %2F, %3F, %23, %40 and %3A."
        ) from None
    if url.scheme in _SCHEMES and (url.path.strip("/") or url.fragment):
        raise ImproperlyConfigured(
            f"{variable}: a URL has nothing after the host but ?option=value. Write / and # in a password as %2F and %23."
        )
    query = parse_qsl(url.query, keep_blank_values=True)
    names = [name for name, _ in query]
    if len(names) > len(set(names)):
        raise ImproperlyConfigured(f"{variable}: an option of the URL is there twice. Remove one of them.")
    return url.scheme, parts, dict(query)


def _read_region(variable: str, kind: ProviderKind, query: dict[str, str]) -> dict[str, str]:
    """Return the address of the region that the query names, and take it out of the query."""
    if not kind.regions or "region" not in query:
        return {}
    region = query.pop("region")
    if region not in kind.regions:
        raise ImproperlyConfigured(f"{variable}: unknown region '{region}'. Known: {', '.join(kind.regions)}.")
    return {"api_url": kind.regions[region]}


def _read_files(variable: str, kind: ProviderKind, query: dict[str, str]) -> dict[str, str]:
    """Return the options that are too long for a URL, from the files that the query names."""
    long = {f"{option.name}_file": option.name for option in kind.options if option.is_long}
    return {long[key]: _read_file(variable, key, query.pop(key)) for key in list(query) if key in long}


def _read_file(variable: str, key: str, path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(tls.MAX_CA + 1)
    except (OSError, ValueError):
        raise ImproperlyConfigured(
            f"{variable}: {key}: the file cannot be read as text. Name one with PEM certificates."
        ) from None


def _build_account(
    variable: str, name: str, kind: ProviderKind, options: Mapping[str, Any], common: Mapping[str, str]
) -> AccountConfig:
    weight = _read_number(variable, "weight", common, least=0, most=MAX_WEIGHT)
    priority = _read_number(variable, "priority", common, least=1, most=MAX_PRIORITY)
    try:
        limit = rates.parse_rate(common.get("rate", ""))
        return AccountConfig(
            name=name,
            kind=kind.key,
            options=clean_options(kind.key, options),
            weight=weight,
            priority=priority,
            rate=limit.per_second if limit else None,
            quota=build_rules(read_texts({name: common[name] for name in QUOTA_FIELDS if name in common})),
            trust_500=_read_switch("trust_500", common.get("trust_500") or "false"),
        )
    except (OptionsInvalid, QuotaInvalid, ValueError) as error:
        raise ImproperlyConfigured(f"{variable}: {error}") from None


def _read_number(variable: str, name: str, common: Mapping[str, str], *, least: int, most: int) -> int:
    text = common.get(name, "1")
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ImproperlyConfigured(f"{variable}: {name} must be a whole number from {least} to {most}.")
    return int(text)


def _read_switch(name: str, text: str) -> bool:
    try:
        return variables.parse_switch(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
