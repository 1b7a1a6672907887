"""The accounts that this house has, from the environment and from the database, as plain values for the sending side."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import structlog
from django.db import transaction
from django.utils import timezone

from mercury.lib.runtime import process
from providers.accounts import secrets
from providers.accounts.config import AccountConfig
from providers.accounts.environment import load_accounts
from providers.accounts.options import get_options
from providers.accounts.sandboxes import to_simulated_failure
from providers.health.breaker import Snapshot
from providers.health.refusal_runs import Run
from providers.kinds.capabilities import KINDS
from providers.models import Account, AccountSource, Breaker

log = structlog.get_logger(__name__)


DEFAULT_SANDBOXES = ("sandbox-a", "sandbox-b")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One account as routing sees it."""

    id: int
    config: AccountConfig
    enabled: bool
    configured: bool  # False: this process lacks its options (environment variable gone, key lost)
    breaker: Snapshot
    source: str = AccountSource.DATABASE
    refusals: Run | None = None  # in a row; None where it never refused an email for its own sake
    version: dt.datetime | None = None  # of the account's row: another one after each change that a person makes

    @property
    def usable(self) -> bool:
        """Whether mails may go through it at all, however it stands right now."""
        return self.enabled and self.configured and self.config.weight > 0


def load_candidates() -> list[Candidate]:
    """Every account with its breaker, by name. One query, unless accounts are missing and have to be made first.

    In a terminal's command nothing is made: it reads what is stored.
    """
    rows = _rows()
    if not process.is_terminal() and (not rows or _outdated(rows)):
        sync()
        rows = _rows()
    real_exists = any(row.source != AccountSource.DEFAULT for row in rows)
    secrets.forget_others(rows)
    return [_candidate(row, real_exists=real_exists) for row in rows]


def sync() -> None:
    """Make the rows of accounts from the environment, and two sandboxes where no account exists at all.

    Safe to repeat and to run in several processes at once. An account keeps the weight, rate and state that people
    gave it; only its kind follows the environment. A name that is taken by an account of the database stays with it.
    The variables of a terminal are not the instance's: there only the sandboxes and missing breakers are made.
    """
    present = {row.name: row for row in Account.objects.all()}
    follows: Mapping[str, AccountConfig] = {} if process.is_terminal() else load_accounts()
    wanted = [_row_of(config) for name, config in follows.items() if name not in present]
    if not present and not wanted:
        wanted = build_default_sandboxes()
    if wanted:
        with transaction.atomic():
            Account.objects.bulk_create(wanted, ignore_conflicts=True)
            mark_sandboxes_changed()
    for name, config in follows.items():
        row = present.get(name)
        if row is not None and row.source == AccountSource.DATABASE:
            log.warning("account_name_taken", account=name, source=row.source)
        elif row is not None and _differs(row, config):
            with transaction.atomic():
                Account.objects.filter(pk=row.pk).update(
                    kind=config.kind, source=AccountSource.ENVIRONMENT, updated_at=timezone.now()
                )
                mark_sandboxes_changed()
    lacking = Account.objects.filter(breaker__isnull=True).values_list("pk", flat=True)
    Breaker.objects.bulk_create([Breaker(account_id=pk) for pk in lacking], ignore_conflicts=True)


def list_unstored() -> dict[str, AccountConfig]:
    """Return the accounts that this terminal's environment names and that are not stored; none in a server."""
    if not process.is_terminal():
        return {}
    stored = set(Account.objects.values_list("name", flat=True))
    return {name: config for name, config in load_accounts().items() if name not in stored}


def is_used(account: Account) -> bool:
    """False for a default sandbox once another account exists."""
    return account.source != AccountSource.DEFAULT or not Account.objects.exclude(source=AccountSource.DEFAULT).exists()


def explain_unused(account: Account) -> str:
    """Return why no email goes to the account until somebody changes that, as the end of a sentence; empty if it may."""
    if not is_used(account):
        return f"{account.name} is a default sandbox, and other accounts exist"
    if not account.enabled:
        return f"{account.name} is disabled"
    return f"{account.name} has the weight 0" if account.weight == 0 else ""


def mark_sandboxes_changed() -> None:
    """Make the version that workers chose a default sandbox in void, in the transaction that takes it out of service."""
    Account.objects.filter(source=AccountSource.DEFAULT).update(updated_at=timezone.now())


def _rows() -> list[Account]:
    return list(Account.objects.select_related("breaker", "failure_mode", "refusal_run").order_by("name"))


def _outdated(rows: Iterable[Account]) -> bool:
    """Whether a row lacks, lacks its breaker, or is not what the environment says it is."""
    found = {row.name: row for row in rows}
    return any(not hasattr(row, "breaker") for row in found.values()) or any(
        name not in found or _differs(found[name], config) for name, config in load_accounts().items()
    )


def _differs(row: Account, config: AccountConfig) -> bool:
    """Whether the row has to follow the environment. One of the database keeps its name; a default sandbox gives way."""
    if row.source == AccountSource.DATABASE:
        return False
    return row.source == AccountSource.DEFAULT or row.kind != config.kind


def _candidate(row: Account, *, real_exists: bool) -> Candidate:
    options = get_options(row)
    config = AccountConfig(row.name, row.kind, options or {}, row.weight, row.rate, row.trust_500)
    if hasattr(row, "failure_mode"):
        config = replace(config, options={**config.options, "fault": to_simulated_failure(row.failure_mode)})
    return Candidate(
        id=row.pk,
        config=config,
        enabled=row.enabled and not (row.source == AccountSource.DEFAULT and real_exists),
        configured=(options is not None or _may_be_elsewhere(row)) and row.kind in KINDS,
        breaker=Snapshot.of(row.breaker),
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


def build_default_sandboxes() -> list[Account]:
    """Return the rows of the sandboxes that exist while no other account does."""
    return [Account(name=name, kind="sandbox", source=AccountSource.DEFAULT) for name in DEFAULT_SANDBOXES]
