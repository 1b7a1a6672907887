"""The accounts of this installation, from the environment and the database, as values for the sending side."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from mercury.lib.runtime import process
from providers.accounts import secrets
from providers.accounts.config import AccountConfig
from providers.accounts.environment import load_accounts
from providers.accounts.options import get_options
from providers.accounts.sandboxes import to_simulated_failure
from providers.health.breaker import BreakerSnapshot
from providers.health.refusal_runs import RefusalRunSnapshot
from providers.kinds.catalog import KINDS
from providers.models import Account, AccountSource, Breaker
from providers.quotas.rules import FIELDS as QUOTA_FIELDS
from providers.quotas.rules import NO_QUOTA, QuotaInvalid, QuotaRules, build_rules, list_values

log = structlog.get_logger(__name__)


DEFAULT_SANDBOXES = ("sandbox-a", "sandbox-b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One account as routing sees it."""

    id: int
    config: AccountConfig
    enabled: bool
    configured: bool  # False: this process lacks its options (environment variable gone, key lost)
    breaker: BreakerSnapshot
    source: str = AccountSource.DATABASE
    refusals: RefusalRunSnapshot | None = None  # in a row; None if it never refused an email because of its content
    version: dt.datetime | None = None  # of the account's row: changes with each edit

    @property
    def usable(self) -> bool:
        """Return True if email may go through it at all, whatever its breaker says now."""
        return self.enabled and self.configured and self.config.weight > 0


def load_candidates() -> list[Candidate]:
    """Return every account with its breaker, by name. One query, unless accounts are missing and have to be made first.

    A command in a terminal makes none: it reads what is stored.
    """
    rows = _load_rows()
    if not process.is_terminal() and (not rows or _is_outdated(rows)):
        sync()
        rows = _load_rows()
    real_exists = any(row.source != AccountSource.DEFAULT for row in rows)
    secrets.forget_others(rows)
    return [_build_candidate(row, real_exists=real_exists) for row in rows]


def sync() -> None:
    """Create the rows of accounts from the environment, and two sandboxes if there is no account at all.

    Safe to repeat and to run in several processes at once. An account keeps the weight, priority, rate and state that people
    set; only its kind follows the environment. An account of the database keeps its name.
    A terminal's variables are not the server's: a command creates only the sandboxes and missing breakers.
    """
    present = {row.name: row for row in Account.objects.all()}
    follows: Mapping[str, AccountConfig] = {} if process.is_terminal() else load_accounts()
    wanted = [_build_row(config) for name, config in follows.items() if name not in present]
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
    without_breaker = Account.objects.filter(breaker__isnull=True).values_list("pk", flat=True)
    Breaker.objects.bulk_create([Breaker(account_id=pk) for pk in without_breaker], ignore_conflicts=True)


def list_unstored() -> dict[str, AccountConfig]:
    """Return the accounts that this terminal's environment names and that are not stored; none in a server."""
    if not process.is_terminal():
        return {}
    stored = set(Account.objects.values_list("name", flat=True))
    return {name: config for name, config in load_accounts().items() if name not in stored}


def is_used(account: Account) -> bool:
    """Return False for a default sandbox once another account exists."""
    return account.source != AccountSource.DEFAULT or not Account.objects.exclude(source=AccountSource.DEFAULT).exists()


def explain_unused(account: Account) -> str:
    """Return why no email goes to the account until somebody changes that, as the end of a sentence; empty if it may."""
    if not is_used(account):
        return f"{account.name} is a default sandbox, and other accounts exist"
    if not account.enabled:
        return f"{account.name} is disabled"
    return f"{account.name} has the weight 0" if account.weight == 0 else ""


def mark_sandboxes_changed() -> None:
    """Void the version in which workers selected a default sandbox, in the transaction that puts it out of use."""
    Account.objects.filter(source=AccountSource.DEFAULT).update(updated_at=timezone.now())


def _load_rows() -> list[Account]:
    return list(Account.objects.select_related("breaker", "failure_mode", "refusal_run").order_by("name"))


def _is_outdated(rows: Iterable[Account]) -> bool:
    """Return True if a row is missing, lacks its breaker, or differs from the environment."""
    stored = {row.name: row for row in rows}
    return any(not hasattr(row, "breaker") for row in stored.values()) or any(
        name not in stored or _differs(stored[name], config) for name, config in load_accounts().items()
    )


def _differs(row: Account, config: AccountConfig) -> bool:
    """Return True if the row has to follow the environment. An account of the database stays; a default sandbox yields."""
    if row.source == AccountSource.DATABASE:
        return False
    return row.source == AccountSource.DEFAULT or row.kind != config.kind


def _build_candidate(row: Account, *, real_exists: bool) -> Candidate:
    options, quota = get_options(row), read_quota(row)
    config = AccountConfig(
        name=row.name,
        kind=row.kind,
        options=options or {},
        weight=row.weight,
        priority=row.priority,
        rate=row.rate,
        quota=quota or NO_QUOTA,
        trust_500=row.trust_500,
    )
    if hasattr(row, "failure_mode"):
        config = replace(config, options={**config.options, "failure_mode": to_simulated_failure(row.failure_mode)})
    return Candidate(
        id=row.pk,
        config=config,
        enabled=row.enabled and not (row.source == AccountSource.DEFAULT and real_exists),
        configured=(options is not None or _may_be_elsewhere(row)) and row.kind in KINDS and quota is not None,
        breaker=BreakerSnapshot.from_row(row.breaker),
        source=row.source,
        refusals=RefusalRunSnapshot.from_row(row.refusal_run) if hasattr(row, "refusal_run") else None,
        version=row.updated_at,
    )


def read_quota(row: Account) -> QuotaRules | None:
    """Return the account's quotas; None if this process cannot read them, such as a time zone that it does not know."""
    return _build_quota(*(getattr(row, name) for name in QUOTA_FIELDS))


@lru_cache(maxsize=1024)
def _build_quota(*values: Any) -> QuotaRules | None:
    try:
        return build_rules(dict(zip(QUOTA_FIELDS, values, strict=True)))
    except QuotaInvalid as error:
        log.warning("quota_not_read", error=str(error))
        return None


def _may_be_elsewhere(row: Account) -> bool:
    """Return True if the server may have the options that this terminal lacks: they are in its environment."""
    return process.is_terminal() and row.source == AccountSource.ENVIRONMENT


def _build_row(config: AccountConfig) -> Account:
    return Account(
        name=config.name,
        kind=config.kind,
        source=AccountSource.ENVIRONMENT,
        weight=config.weight,
        priority=config.priority,
        rate=config.rate,
        trust_500=config.trust_500,
        **list_values(config.quota),
    )


def build_default_sandboxes() -> list[Account]:
    """Return the rows of the sandboxes that exist while no other account does."""
    return [Account(name=name, kind="sandbox", source=AccountSource.DEFAULT) for name in DEFAULT_SANDBOXES]
