"""Register, change and remove accounts, each with a line of history."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from mercury.lib import rates
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.runtime import process
from providers import history
from providers.accounts.config import MAX_PRIORITY, MAX_WEIGHT
from providers.accounts.environment import load_accounts
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.options import encrypt_options, find_new_options, get_options
from providers.accounts.registry import DEFAULT_SANDBOXES, build_default_sandboxes, is_used, mark_sandboxes_changed
from providers.models import Account, AccountSource, Breaker
from providers.quotas.rules import FIELDS as QUOTA_FIELDS
from providers.quotas.rules import QuotaInvalid, build_rules, list_values

NO_CHANGES: Mapping[str, Any] = MappingProxyType({})
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def register(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    *,
    weight: int = 1,
    priority: int = 1,
    rate: float | None = None,
    quota: Mapping[str, Any] = NO_CHANGES,
    trust_500: bool = False,
    enabled: bool = True,
    by: str,
) -> Account:
    """Store a new account, its options encrypted, with a closed breaker and a line of history.

    `quota`: values of `quotas.rules.FIELDS`; an absent one has its default.

    Raises AccountInvalid, which names each invalid field.
    """
    stored = check_new(name, kind, options, weight=weight, priority=priority, rate=rate, quota=quota)
    try:
        with transaction.atomic():
            account = Account.objects.create(
                name=name,
                kind=kind,
                secret_options=stored,
                weight=weight,
                priority=priority,
                rate=rate,
                trust_500=trust_500,
                enabled=enabled,
                **list_values(build_rules(quota)),
            )
            Breaker.objects.create(account=account)
            history.record(account, by=by, what=_describe_registration(name), act=Act.REGISTER)
            mark_sandboxes_changed()
    except IntegrityError:  # another one was first
        raise _build_taken(name) from None
    return account


def check_new(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    *,
    weight: int = 1,
    priority: int = 1,
    rate: float | None = None,
    quota: Mapping[str, Any] = NO_CHANGES,
) -> str:
    """Return the options of a new account as its row stores them. Raises AccountInvalid as `register` does. One query."""
    errors = _check_name(name) | _check_numbers(weight, rate, priority) | _check_quota(quota)
    stored = encrypt_options(kind, options, errors)
    if Account.objects.filter(name=name).exists():
        raise _build_taken(name)
    return stored


def update(
    account: Account,
    *,
    by: str,
    options: Mapping[str, Any] | None = None,
    weight: int | None = None,
    priority: int | None = None,
    rate: float | None = None,
    quota: Mapping[str, Any] = NO_CHANGES,
    trust_500: bool | None = None,
    enabled: bool | None = None,
    no_rate: bool = False,
    why: str = "",
) -> Account:
    """Change the given fields, with a line of history that ends with `why`; `no_rate` removes the rate limit.

    `quota`: the values of `quotas.rules.FIELDS` to change; None removes one.

    Options that are not named stay as they are, and so does a secret given as `list_shown_options` shows it. Raises
    AccountInvalid, which names each invalid field; AccountChangeNotAllowed for options that come from the environment,
    and for enabling a default sandbox while other accounts exist.
    """
    wanted: dict[str, Any] = {
        "weight": weight,
        "priority": priority,
        "rate": rate,
        "trust_500": trust_500,
        "enabled": enabled,
    }
    changed = {field: value for field, value in wanted.items() if value not in (None, getattr(account, field))}
    if no_rate and account.rate is not None:
        changed["rate"] = None
    if changed.get("enabled"):
        check_enabling(account)
    errors = _check_numbers(*(changed.get(name, getattr(account, name)) for name in ("weight", "rate", "priority")))
    wanted_quota = {name: getattr(account, name) for name in QUOTA_FIELDS} | dict(quota)
    errors |= _check_quota(wanted_quota)
    if quota and not errors:
        new_quota = list_values(build_rules(wanted_quota))
        changed |= {name: value for name, value in new_quota.items() if value != getattr(account, name)}
    changes = [_describe_change(field, getattr(account, field), value) for field, value in changed.items()]
    new_options = find_new_options(account, options or {})
    if new_options:
        changed["secret_options"] = encrypt_options(
            account.kind, new_options, errors, before=get_options(account) or {}
        )
        changes.append("new options")
    elif errors:
        raise AccountInvalid(errors)
    if not changed:
        return account
    with transaction.atomic():
        Account.objects.filter(pk=account.pk).update(**changed, updated_at=timezone.now())
        history.record(account, by=by, what=history.add_note(", ".join(changes), why), act=Act.CHANGE)
    account.refresh_from_db()
    return account


def check_enabling(account: Account) -> None:
    """Raise AccountChangeNotAllowed for a default sandbox that would stay unused."""
    if not is_used(account):
        raise AccountChangeNotAllowed(
            f"'{account.name}' is a default sandbox: it is used only while no other account exists, so enabling it "
            "changes nothing. Add a sandbox account of your own to use one together with the others."
        )


def check_removable(account: Account) -> None:
    """Raise AccountChangeNotAllowed for an account that Mercury would make again."""
    if account.source == AccountSource.ENVIRONMENT and account.name in load_accounts() and not process.is_terminal():
        raise AccountChangeNotAllowed(
            f"'{account.name}' comes from the environment. Remove its variable, restart Mercury, and delete it then. "
            "Or disable it, which works at once."
        )
    if account.source == AccountSource.DEFAULT:
        raise AccountChangeNotAllowed(
            f"'{account.name}' exists because no other account does. Register one, and it is no longer used."
        )


def remove(account: Account, *, by: str = audit.COMMAND_LINE) -> None:
    """Delete an account with its breaker. Its history stays, and emails and events keep its name.

    After the last account that was registered, the default sandboxes stay off until a person enables them: they would
    accept email that was meant to be delivered. Raises AccountChangeNotAllowed as `check_removable` does.
    """
    check_removable(account)
    with transaction.atomic():
        history.record(account, by=by, what="deleted", act=Act.DELETE)
        account.delete()
        if not Account.objects.exclude(source=AccountSource.DEFAULT).exists():
            Account.objects.bulk_create(build_default_sandboxes(), ignore_conflicts=True)
            Account.objects.filter(source=AccountSource.DEFAULT).update(enabled=False, updated_at=timezone.now())


def _build_taken(name: str) -> AccountInvalid:
    return AccountInvalid({"name": f"An account '{name}' exists already. Choose another name."})


def _check_name(name: str) -> dict[str, str]:
    if not _NAME.fullmatch(name) or len(name) > 64:
        return {"name": "A name has at most 64 lower case letters, digits and single dashes, such as mailgun-eu."}
    if name in DEFAULT_SANDBOXES or (name in load_accounts() and not process.is_terminal()):
        return {"name": f"'{name}' is already used. Choose another name."}
    return {}


def _check_numbers(weight: int, rate: float | None, priority: int) -> dict[str, str]:
    errors = {}
    if not 0 <= weight <= MAX_WEIGHT:
        errors["weight"] = f"A weight is a whole number from 0 (no email) to {MAX_WEIGHT}."
    if not 1 <= priority <= MAX_PRIORITY:
        errors["priority"] = f"A priority is a whole number from 1 (goes first) to {MAX_PRIORITY}."
    if rate is not None and not rates.MIN_PER_SECOND <= rate <= rates.MAX_PER_SECOND:
        errors["rate"] = (
            f"A rate is a number of requests per second, from one per day to {rates.MAX_PER_SECOND:.0f}; null: no limit."
        )
    return errors


def _check_quota(quota: Mapping[str, Any]) -> dict[str, str]:
    try:
        build_rules(quota)
    except QuotaInvalid as error:
        return error.errors
    return {}


def _describe_change(field: str, before: Any, after: Any) -> str:
    """Return the words for a changed field in the history."""
    match field:
        case "enabled":
            return "enabled" if after else "disabled"
        case "trust_500":
            return "HTTP 500 means “not sent”" if after else "HTTP 500 leaves the outcome unknown"
        case "rate":
            return f"limit {_describe_rate(before)} → {_describe_rate(after)}"
        case "weight" | "priority":
            return f"{field} {before} → {after}"
        case _:  # a quota
            return f"{field.replace('_', ' ')} {_describe_quota(before)} → {_describe_quota(after)}"


def _describe_quota(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value in (None, "") else f"{value:,}" if isinstance(value, int) else str(value)


def _describe_rate(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:g} /s"


def _describe_registration(name: str) -> str:
    """Return the first line of a history. It mentions an earlier account of this name: emails record the name alone."""
    before = history.get_deleted_at(name)
    again = f"; another account of this name was deleted on {before:%Y-%m-%d %H:%M} UTC" if before else ""
    return f"registered{again}"
