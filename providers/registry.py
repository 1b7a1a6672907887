"""The accounts that this house has, from the environment and from the database, as plain values for the sending side."""

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from mercury.lib import encryption, rates
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.runtime import process
from providers import capabilities, circuit_breaker, destinations, environment, history, stored_options
from providers.account import AccountConfig
from providers.capabilities import Kind, Transport
from providers.models import Account, AccountSource, Breaker, SandboxFault
from providers.refusals import Run
from providers.sandbox.faults import FaultKind, FaultSetting

log = structlog.get_logger(__name__)

DEFAULT_SANDBOXES = ("sandbox-a", "sandbox-b")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DESTINATION = frozenset(
    {"api_url", "host", "port", "security", "ca"}
)  # options that say whom an account calls, and how
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class RegistryError(Exception):
    """Tree: RegistryError > AccountInvalid, AccountFixed."""


class AccountInvalid(RegistryError):
    """What was given makes no account; `errors` says for each field what is wrong. Options are `options.<name>`."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {fault}" for field, fault in errors.items()))
        self.errors = dict(errors)


class AccountFixed(RegistryError):
    """The account is not made here, so this cannot be changed here; the text says where it can."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One account as routing sees it."""

    id: int
    config: AccountConfig
    enabled: bool
    configured: bool  # False: this process lacks its options (environment variable gone, key lost)
    breaker: circuit_breaker.Snapshot
    source: str = AccountSource.DATABASE
    refusals: Run | None = None  # in a row; None where it never refused an email for its own sake
    version: dt.datetime | None = None  # of the account's row: another one after each change that a person makes

    @property
    def usable(self) -> bool:
        """Whether mails may go through it at all, however it stands right now."""
        return self.enabled and self.configured and self.config.weight > 0


@dataclass(frozen=True, slots=True)
class ShownOption:
    """One option of an account as people may see it."""

    name: str
    label: str
    secret: bool
    value: str  # "set, ends …4fA" for a secret


def candidates() -> list[Candidate]:
    """Every account with its breaker, by name. One query, unless accounts are missing and have to be made first.

    In a terminal's command nothing is made: it reads what is stored.
    """
    rows = _rows()
    if not process.is_terminal() and (not rows or _outdated(rows)):
        sync()
        rows = _rows()
    real_exists = any(row.source != AccountSource.DEFAULT for row in rows)
    stored_options.forget_others(rows)
    return [_candidate(row, real_exists=real_exists) for row in rows]


def sync() -> None:
    """Make the rows of accounts from the environment, and two sandboxes where no account exists at all.

    Safe to repeat and to run in several processes at once. An account keeps the weight, rate and state that people
    gave it; only its kind follows the environment. A name that is taken by an account of the database stays with it.
    The variables of a terminal are not the instance's: there only the sandboxes and missing breakers are made.
    """
    present = {row.name: row for row in Account.objects.all()}
    follows: Mapping[str, AccountConfig] = {} if process.is_terminal() else from_environment()
    wanted = [_row_of(config) for name, config in follows.items() if name not in present]
    if not present and not wanted:
        wanted = _default_sandboxes()
    if wanted:
        with transaction.atomic():
            Account.objects.bulk_create(wanted, ignore_conflicts=True)
            _mark_sandboxes_changed()
    for name, config in follows.items():
        row = present.get(name)
        if row is not None and row.source == AccountSource.DATABASE:
            log.warning("account_name_taken", account=name, source=row.source)
        elif row is not None and _differs(row, config):
            with transaction.atomic():
                Account.objects.filter(pk=row.pk).update(
                    kind=config.kind, source=AccountSource.ENVIRONMENT, updated_at=timezone.now()
                )
                _mark_sandboxes_changed()
    lacking = Account.objects.filter(breaker__isnull=True).values_list("pk", flat=True)
    Breaker.objects.bulk_create([Breaker(account_id=pk) for pk in lacking], ignore_conflicts=True)


def from_environment() -> Mapping[str, AccountConfig]:
    """The accounts of this process's environment. Raises ImproperlyConfigured."""
    return _parsed(
        tuple(item for item in settings.MERCURY_ENVIRONMENT.items() if item[0].startswith(environment.PREFIXES))
    )


def unstored() -> dict[str, AccountConfig]:
    """Return the accounts that this terminal's environment names and that are not stored; none in a server."""
    if not process.is_terminal():
        return {}
    stored = set(Account.objects.values_list("name", flat=True))
    return {name: config for name, config in from_environment().items() if name not in stored}


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
    stored = _stored_options(kind, options, errors)
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
            _mark_sandboxes_changed()
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
        raise AccountFixed(
            f"'{account.name}' is a default sandbox: it is used only while no other account exists, so enabling it "
            "changes nothing. Add a sandbox account of your own to use one together with the others."
        )
    errors = _faults_of_numbers(changed.get("weight", account.weight), changed.get("rate", account.rate))
    words = [_words_of(field, getattr(account, field), value) for field, value in changed.items()]
    new_options = _new_options(account, options or {})
    if new_options:
        changed["secret_options"] = _stored_options(account.kind, new_options, errors, before=options_of(account) or {})
        words.append("new options")
    elif errors:
        raise AccountInvalid(errors)
    if not changed:
        return account
    with transaction.atomic():
        Account.objects.filter(pk=account.pk).update(**changed, updated_at=timezone.now())
        history.record(account, by=by, what=circuit_breaker.with_note(", ".join(words), why), act=Act.CHANGE)
    account.refresh_from_db()
    return account


def check_removable(account: Account) -> None:
    """Raise AccountFixed for an account that would come back by itself."""
    if account.source == AccountSource.ENVIRONMENT and account.name in from_environment() and not process.is_terminal():
        raise AccountFixed(
            f"'{account.name}' comes from the environment. Remove its variable, restart Mercury, and delete it then; "
            "or disable it, which works at once."
        )
    if account.source == AccountSource.DEFAULT:
        raise AccountFixed(f"'{account.name}' is there because no other account is. Register one: it stops being used.")


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
            Account.objects.bulk_create(_default_sandboxes(), ignore_conflicts=True)
            Account.objects.filter(source=AccountSource.DEFAULT).update(enabled=False, updated_at=timezone.now())


def set_fault(account: Account, fault: FaultSetting | None, *, by: str = audit.COMMAND_LINE) -> None:
    """Make a sandbox account misbehave, or behave again. Raises AccountFixed for an account of another kind."""
    if account.kind != "sandbox":
        raise AccountFixed(f"'{account.name}' is no sandbox: only a sandbox account can be told to fail.")
    with transaction.atomic():
        if fault is None:
            SandboxFault.objects.filter(account=account).delete()
        else:
            values = {"kind": fault.kind, "value": fault.value, "until": fault.until}
            SandboxFault.objects.update_or_create(account=account, defaults=values)
        what = f"told to fail: {fault}" if fault else "told to behave again"
        history.record(account, by=by, what=what, act=Act.CHANGE)


def fault_of(account: Account) -> FaultSetting | None:
    """How the sandbox account misbehaves, if it was told to; also when that is over."""
    row = SandboxFault.objects.filter(account=account).first()
    return _fault(row) if row else None


def options_of(account: Account) -> Mapping[str, Any] | None:
    """The account's options with secrets in the clear; None if this process does not have them."""
    if account.source == AccountSource.ENVIRONMENT:
        config = from_environment().get(account.name)
        return config.options if config else None
    if not account.secret_options:
        return {}
    return stored_options.read(account)


def shown_options(account: Account) -> list[ShownOption]:
    """The account's options as people may see them; secrets only as "set, ends …4fA"."""
    kind = capabilities.KINDS.get(account.kind)
    options = options_of(account) or {}
    if kind is None:
        return []
    return [
        ShownOption(option.name, option.label, option.secret, _shown(options.get(option.name), secret=option.secret))
        for option in kind.options
    ]


def is_used(account: Account) -> bool:
    """False for a default sandbox once another account exists."""
    return account.source != AccountSource.DEFAULT or not Account.objects.exclude(source=AccountSource.DEFAULT).exists()


def why_unused(account: Account) -> str:
    """Return why no email goes to the account until somebody changes that, as the end of a sentence; empty if it may."""
    if not is_used(account):
        return f"{account.name} is a default sandbox, and other accounts exist"
    if not account.enabled:
        return f"{account.name} is disabled"
    return f"{account.name} has the weight 0" if account.weight == 0 else ""


def _mark_sandboxes_changed() -> None:
    """Make the version that workers chose a default sandbox in void, in the transaction that takes it out of service."""
    Account.objects.filter(source=AccountSource.DEFAULT).update(updated_at=timezone.now())


def _rows() -> list[Account]:
    return list(Account.objects.select_related("breaker", "sandbox_fault", "refusal_run").order_by("name"))


def _outdated(rows: Iterable[Account]) -> bool:
    """Whether a row lacks, lacks its breaker, or is not what the environment says it is."""
    found = {row.name: row for row in rows}
    return any(not hasattr(row, "breaker") for row in found.values()) or any(
        name not in found or _differs(found[name], config) for name, config in from_environment().items()
    )


def _differs(row: Account, config: AccountConfig) -> bool:
    """Whether the row has to follow the environment. One of the database keeps its name; a default sandbox gives way."""
    if row.source == AccountSource.DATABASE:
        return False
    return row.source == AccountSource.DEFAULT or row.kind != config.kind


def _candidate(row: Account, *, real_exists: bool) -> Candidate:
    options = options_of(row)
    config = AccountConfig(row.name, row.kind, options or {}, row.weight, row.rate, row.trust_500)
    if hasattr(row, "sandbox_fault"):
        config = replace(config, options={**config.options, "fault": _fault(row.sandbox_fault)})
    return Candidate(
        id=row.pk,
        config=config,
        enabled=row.enabled and not (row.source == AccountSource.DEFAULT and real_exists),
        configured=(options is not None or _may_be_elsewhere(row)) and row.kind in capabilities.KINDS,
        breaker=circuit_breaker.Snapshot.of(row.breaker),
        source=row.source,
        refusals=Run.of(row.refusal_run) if hasattr(row, "refusal_run") else None,
        version=row.updated_at,
    )


def _may_be_elsewhere(row: Account) -> bool:
    """Return True if the server may have the options that this terminal lacks: they are in its environment."""
    return process.is_terminal() and row.source == AccountSource.ENVIRONMENT


def _row_of(config: AccountConfig) -> Account:
    return Account(
        name=config.name,
        kind=config.kind,
        source=AccountSource.ENVIRONMENT,
        weight=config.weight,
        rate=config.rate,
        trust_500=config.trust_500,
    )


def _default_sandboxes() -> list[Account]:
    return [Account(name=name, kind="sandbox", source=AccountSource.DEFAULT) for name in DEFAULT_SANDBOXES]


def _fault(row: SandboxFault) -> FaultSetting:
    return FaultSetting(FaultKind(row.kind), row.value, row.until)


@lru_cache(maxsize=4)
def _parsed(environ: tuple[tuple[str, str], ...]) -> Mapping[str, AccountConfig]:
    return environment.parse(dict(environ))


def _faults_of_name(name: str) -> dict[str, str]:
    if not _NAME.fullmatch(name) or len(name) > 64:
        return {"name": "A name has at most 64 lower case letters, digits and single dashes, such as mailgun-eu."}
    if name in DEFAULT_SANDBOXES or (name in from_environment() and not process.is_terminal()):
        return {"name": f"'{name}' is taken. Choose another name."}
    return {}


def _faults_of_numbers(weight: int, rate: float | None) -> dict[str, str]:
    errors = {}
    if not 0 <= weight <= 10_000:
        errors["weight"] = "A weight is a whole number from 0 (never drawn) to 10000."
    if rate is not None and not rates.SLOWEST <= rate <= rates.FASTEST:
        errors["rate"] = f"A rate is calls a second, from one a day to {rates.FASTEST:.0f}; null is no limit."
    return errors


def _stored_options(
    kind: str, options: Mapping[str, Any], errors: dict[str, str], *, before: Mapping[str, Any] = _NO_OPTIONS
) -> str:
    """The options as the row holds them, in the places of those it had before.

    Raises AccountInvalid with these errors and with those found already.
    """
    known = capabilities.KINDS.get(kind)
    if known is None:
        raise AccountInvalid({**errors, "kind": f"Unknown kind. Known: {', '.join(capabilities.KINDS)}."})
    try:
        values = capabilities.cleaned(kind, {**before, **options})
        _check_destination(known, values)
        _check_secrets(known, values, given=options, before=before)
    except capabilities.OptionsInvalid as error:
        errors = errors | {f"options.{name}": fault for name, fault in error.errors.items()}
    if errors:
        raise AccountInvalid(errors)
    return encryption.encrypt(json.dumps(values))


def _check_destination(kind: Kind, values: Mapping[str, Any]) -> None:
    """Raise OptionsInvalid if the account would call the house's own network. Asks DNS for hosts that are not known."""
    if kind.transport is Transport.SANDBOX:
        return
    field = "host" if kind.transport is Transport.SMTP else "api_url"
    if values[field] in kind.regions.values():
        return
    if field == "host" and destinations.exposes_secret(values, allowed=destinations.allowed_hosts()):
        words = "Without TLS the password can be read on its way: choose starttls or tls."
        raise capabilities.OptionsInvalid({"security": f"{words} MERCURY_PRIVATE_HOSTS_ALLOWED lists exceptions."})
    host = values[field] if field == "host" else destinations.host_of(values[field])
    if destinations.is_readable_on_the_way(values[field]) and host not in destinations.allowed_hosts():
        words = "It must begin with https://, or the key can be read on its way."
        raise capabilities.OptionsInvalid({field: f"{words} MERCURY_PRIVATE_HOSTS_ALLOWED lists exceptions."})
    try:
        destinations.check_host(host, allowed=destinations.allowed_hosts())
    except destinations.DestinationRefused as error:
        raise capabilities.OptionsInvalid({field: str(error)}) from None


def _check_secrets(
    kind: Kind, values: Mapping[str, Any], *, given: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Raise OptionsInvalid if a stored secret would go elsewhere than where it was entered for.

    The provider's own regions are one place. Both sides are compared as stored, so no other spelling slips through.
    """
    moved = [name for name in _DESTINATION if values.get(name) != before.get(name)]
    if all(values.get(name) in kind.regions.values() for name in moved):
        return
    kept = [option.name for option in kind.options if option.secret and option.name not in given]
    errors = {name: "The address that it is sent to changes: enter it again." for name in kept if before.get(name)}
    if errors:
        raise capabilities.OptionsInvalid(errors)


def _new_options(account: Account, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given options that change something. Raises AccountFixed if the account's cannot be changed here."""
    shown = {option.name: option.value for option in shown_options(account)}
    news = {name: value for name, value in given.items() if name not in shown or value != shown[name]}
    if news and account.source != AccountSource.DATABASE:
        raise AccountFixed(
            f"The options of '{account.name}' come from the environment. Change its variable and restart Mercury."
            if account.source == AccountSource.ENVIRONMENT
            else f"'{account.name}' is a sandbox by default and has no options. Register an account of your own."
        )
    return news


def _shown(value: Any, *, secret: bool) -> str:
    if value in (None, ""):
        return ""
    if not secret:
        return str(value)
    return f"set, ends …{value[-3:]}" if len(value) >= 12 else "set"


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
    before = history.deleted_at(name)
    again = f"; another account of this name was deleted on {before:%Y-%m-%d %H:%M} UTC" if before else ""
    return f"registered{again}"
