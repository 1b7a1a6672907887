"""The options of an account: read them with secrets, show them without, check and encrypt new ones."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mercury.lib import encryption
from providers import outbound_hosts
from providers.accounts import environment, secrets
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.kinds.base import OptionsInvalid, ProviderKind, Transport
from providers.kinds.catalog import KINDS
from providers.kinds.options import clean_options
from providers.models import Account, AccountSource

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOption:
    """One option of an account as people may see it."""

    name: str
    label: str
    secret: bool
    value: str  # "set, ends …4fA" for a secret


def get_options(account: Account) -> Mapping[str, Any] | None:
    """Return the account's options with secrets in the clear; None if this process does not have them."""
    if account.source == AccountSource.ENVIRONMENT:
        config = environment.load_accounts().get(account.name)
        return config.options if config else None
    if not account.secret_options:
        return {}
    return secrets.read_options(account)


def list_shown_options(account: Account) -> list[ShownOption]:
    """Return the account's options as people may see them; a secret only as "set, ends …4fA"."""
    kind = KINDS.get(account.kind)
    options = get_options(account) or {}
    if kind is None:
        return []
    return [
        ShownOption(
            name=option.name,
            label=option.label,
            secret=option.secret,
            value=_show(options.get(option.name), secret=option.secret),
        )
        for option in kind.options
    ]


def encrypt_options(
    kind: str, options: Mapping[str, Any], errors: dict[str, str], *, before: Mapping[str, Any] = _NO_OPTIONS
) -> str:
    """Return the options encrypted, as the row stores them; what is not given stays as it was `before`.

    Raises AccountInvalid with the errors found here, and with `errors` found before.
    """
    known = KINDS.get(kind)
    if known is None:
        raise AccountInvalid({**errors, "kind": f"Unknown kind. Known: {', '.join(KINDS)}."})
    try:
        values = clean_options(kind, {**before, **options})
        _check_destination(known, values)
        _check_secrets(known, values, given=options, before=before)
    except OptionsInvalid as error:
        errors = errors | {f"options.{name}": problem for name, problem in error.errors.items()}
    if errors:
        raise AccountInvalid(errors)
    return encryption.encrypt(json.dumps(values))


def _check_destination(kind: ProviderKind, values: Mapping[str, Any]) -> None:
    """Raise OptionsInvalid if the account would connect to a private network, or send a secret unencrypted. Asks DNS."""
    if kind.transport is Transport.SANDBOX:
        return
    field = "host" if kind.transport is Transport.SMTP else "api_url"
    if kind.is_own_address(values[field]):
        return
    if field == "host" and outbound_hosts.is_secret_exposed(values, allowed=outbound_hosts.get_allowed_hosts()):
        words = "Without TLS others can read the password: choose starttls or tls."
        raise OptionsInvalid({"security": f"{words} MERCURY_PRIVATE_HOSTS_ALLOWED lists exceptions."})
    host = values[field] if field == "host" else outbound_hosts.extract_host(values[field])
    if outbound_hosts.is_unencrypted(values[field]) and host not in outbound_hosts.get_allowed_hosts():
        words = "It must begin with https://, or others can read the key."
        raise OptionsInvalid({field: f"{words} MERCURY_PRIVATE_HOSTS_ALLOWED lists exceptions."})
    try:
        outbound_hosts.check_host(host, allowed=outbound_hosts.get_allowed_hosts())
    except outbound_hosts.HostNotAllowed as error:
        raise OptionsInvalid({field: str(error)}) from None


def _check_secrets(
    kind: ProviderKind, values: Mapping[str, Any], *, given: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Raise OptionsInvalid if a stored secret would be sent to another host than the one it was entered for.

    The provider's own regions count as one host. Values are compared as stored, so that another spelling changes nothing.
    """
    moved = [
        option.name
        for option in kind.options
        if option.is_destination and values.get(option.name) != before.get(option.name)
    ]
    if all(kind.is_own_address(values.get(name)) for name in moved):
        return
    kept = [option.name for option in kind.options if option.secret and option.name not in given]
    errors = {name: "The address it is sent to has changed: enter it again." for name in kept if before.get(name)}
    if errors:
        raise OptionsInvalid(errors)


def find_new_options(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that change something. Raises AccountChangeNotAllowed if they come from the environment."""
    shown = {option.name: option.value for option in list_shown_options(account)}
    new = {name: value for name, value in options.items() if name not in shown or value != shown[name]}
    if new and account.source != AccountSource.DATABASE:
        raise AccountChangeNotAllowed(
            f"The options of '{account.name}' come from the environment. Change its variable and restart Mercury."
            if account.source == AccountSource.ENVIRONMENT
            else f"'{account.name}' is a default sandbox and has no options. Register an account of your own."
        )
    return new


def _show(value: Any, *, secret: bool) -> str:
    if value in (None, ""):
        return ""
    if not secret:
        return str(value)
    return f"set, ends …{value[-3:]}" if len(value) >= 12 else "set"
