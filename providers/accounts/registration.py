"""The accounts that this house has, from the environment and from the database, as plain values for the sending side."""

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from mercury.lib import rates
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.runtime import process
from providers import history
from providers.accounts.environment import load_accounts
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.options import encrypt_options, find_new_options, get_options
from providers.accounts.registry import DEFAULT_SANDBOXES, build_default_sandboxes, is_used, mark_sandboxes_changed
from providers.models import Account, AccountSource, Breaker

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def register(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    *,
    weight: int = 1,
    rate: float | None = None,
    trust_500: bool = False,
    enabled: bool = True,
    by: str,
) -> Account:
    """Store a new account, its options encrypted, with a closed breaker and a line of history.

    Raises AccountInvalid naming each field at fault.
    """
    errors = _faults_of_name(name) | _faults_of_numbers(weight, rate)
    stored = encrypt_options(kind, options, errors)
    try:
        with transaction.atomic():
            account = Account.objects.create(
                name=name,
                kind=kind,
                secret_options=stored,
                weight=weight,
                rate=rate,
                trust_500=trust_500,
                enabled=enabled,
            )
            Breaker.objects.create(account=account)
            history.record(account, by=by, what=_told_registered(name), act=Act.REGISTER)
            mark_sandboxes_changed()
    except IntegrityError:
        raise AccountInvalid({"name": f"An account '{name}' exists already. Choose another name."}) from None
    return account


def update(
    account: Account,
    *,
    by: str,
    options: Mapping[str, Any] | None = None,
    weight: int | None = None,
    rate: float | None = None,
    trust_500: bool | None = None,
    enabled: bool | None = None,
    no_rate: bool = False,
    why: str = "",
) -> Account:
    """Change what is given, with a line of history that ends with `why`; `no_rate` takes the limit away.

    Options that are not named stay as they are, so does a secret given as `shown_options` shows it. Raises
    AccountInvalid naming each field at fault, AccountFixed for options of an account that is not made here, and for
    enabling a default sandbox that other accounts keep out of use.
    """
    given: dict[str, Any] = {"weight": weight, "rate": rate, "trust_500": trust_500, "enabled": enabled}
    changed = {field: value for field, value in given.items() if value not in (None, getattr(account, field))}
    if no_rate and account.rate is not None:
        changed["rate"] = None
    if changed.get("enabled") and not is_used(account):
        raise AccountChangeNotAllowed(
            f"'{account.name}' is a default sandbox: it is used only while no other account exists, so enabling it "
            "changes nothing. Add a sandbox account of your own to use one together with the others."
        )
    errors = _faults_of_numbers(changed.get("weight", account.weight), changed.get("rate", account.rate))
    words = [_words_of(field, getattr(account, field), value) for field, value in changed.items()]
    new_options = find_new_options(account, options or {})
    if new_options:
        changed["secret_options"] = encrypt_options(
            account.kind, new_options, errors, before=get_options(account) or {}
        )
        words.append("new options")
    elif errors:
        raise AccountInvalid(errors)
    if not changed:
        return account
    with transaction.atomic():
        Account.objects.filter(pk=account.pk).update(**changed, updated_at=timezone.now())
        history.record(account, by=by, what=history.add_note(", ".join(words), why), act=Act.CHANGE)
    account.refresh_from_db()
    return account


def check_removable(account: Account) -> None:
    """Raise AccountFixed for an account that would come back by itself."""
    if account.source == AccountSource.ENVIRONMENT and account.name in load_accounts() and not process.is_terminal():
        raise AccountChangeNotAllowed(
            f"'{account.name}' comes from the environment. Remove its variable, restart Mercury, and delete it then; "
            "or disable it, which works at once."
        )
    if account.source == AccountSource.DEFAULT:
        raise AccountChangeNotAllowed(
            f"'{account.name}' is there because no other account is. Register one: it stops being used."
        )


def remove(account: Account, *, by: str = audit.COMMAND_LINE) -> None:
    """Delete an account with its breaker. Its history stays, and mails and events keep its name.

    After the last account of one's own, the default sandboxes stay off until a person enables them: they would take
    mails that were meant to go out. Raises AccountFixed as `check_removable` does.
    """
    check_removable(account)
    with transaction.atomic():
        history.record(account, by=by, what="deleted", act=Act.DELETE)
        account.delete()
        if not Account.objects.exclude(source=AccountSource.DEFAULT).exists():
            Account.objects.bulk_create(build_default_sandboxes(), ignore_conflicts=True)
            Account.objects.filter(source=AccountSource.DEFAULT).update(enabled=False, updated_at=timezone.now())


def _faults_of_name(name: str) -> dict[str, str]:
    if not _NAME.fullmatch(name) or len(name) > 64:
        return {"name": "A name has at most 64 lower case letters, digits and single dashes, such as mailgun-eu."}
    if name in DEFAULT_SANDBOXES or (name in load_accounts() and not process.is_terminal()):
        return {"name": f"'{name}' is taken. Choose another name."}
    return {}


def _faults_of_numbers(weight: int, rate: float | None) -> dict[str, str]:
    errors = {}
    if not 0 <= weight <= 10_000:
        errors["weight"] = "A weight is a whole number from 0 (never drawn) to 10000."
    if rate is not None and not rates.SLOWEST <= rate <= rates.FASTEST:
        errors["rate"] = f"A rate is calls a second, from one a day to {rates.FASTEST:.0f}; null is no limit."
    return errors


def _words_of(field: str, before: Any, after: Any) -> str:
    """A change of one field as the history tells it."""
    match field:
        case "enabled":
            return "enabled" if after else "disabled"
        case "trust_500":
            return "its 500s mean “not taken”" if after else "its 500s leave the outcome unknown"
        case "rate":
            return f"limit {_rate(before)} → {_rate(after)}"
        case _:
            return f"{field} {before} → {after}"


def _rate(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:g} /s"


def _told_registered(name: str) -> str:
    """The first line of a history; it says so if another account had the name, for emails have only that."""
    before = history.get_deleted_at(name)
    again = f"; another account of this name was deleted on {before:%Y-%m-%d %H:%M} UTC" if before else ""
    return f"registered{again}"
