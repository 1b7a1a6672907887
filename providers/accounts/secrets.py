"""The encrypted options of accounts in the database: one ciphertext each, decrypted once for each state of a row."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction

from mercury.lib import encryption
from mercury.lib.audit.models import Act
from mercury.lib.runtime import process_state
from providers import history
from providers.models import Account

log = structlog.get_logger(__name__)


class _Cache(dict[int, tuple[dt.datetime, Mapping[str, Any] | None]]):
    """Options in the clear and their row's `updated_at`, by the account's id; None without their key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionResult:
    """Names of accounts by the result for their options."""

    encrypted: list[str]  # with the newest key, now
    current: list[str]  # already encrypted with it
    unreadable: list[str]  # their key is missing


def read_options(account: Account) -> Mapping[str, Any] | None:
    """Return the options with secrets in the clear, None without their key. Decryption costs more than the query."""
    cache = process_state.get(_Cache)
    known = cache.get(account.pk)
    if known is not None and known[0] == account.updated_at:
        return known[1]
    try:
        options: Mapping[str, Any] | None = json.loads(encryption.decrypt(account.secret_options))
    except encryption.DecryptionFailed as error:
        log.warning("account_unreadable", account_id=account.pk, reason=str(error))
        options = None
    cache[account.pk] = (account.updated_at, options)
    return options


def forget_others(rows: Iterable[Account]) -> None:
    """Forget the options of accounts that are not among `rows`."""
    cache = process_state.get(_Cache)
    for gone in cache.keys() - {row.pk for row in rows}:
        cache.pop(gone, None)


def encrypt_all_again(*, by: str, dry_run: bool = False) -> EncryptionResult:
    """Encrypt all stored options with the newest key, each in a transaction of its own.

    Options that somebody changes at the same time are left alone: the change uses the newest key too. Safe to repeat.
    """
    found = EncryptionResult(encrypted=[], current=[], unreadable=[])
    for row in Account.objects.exclude(secret_options="").order_by("name"):
        if encryption.is_current(row.secret_options):
            found.current.append(row.name)
            continue
        try:
            token = encryption.reencrypt(row.secret_options)
        except encryption.DecryptionFailed:
            found.unreadable.append(row.name)
            continue
        if dry_run or _store(row, token, by=by):
            found.encrypted.append(row.name)
    return found


def _store(row: Account, token: str, *, by: str) -> bool:
    with transaction.atomic():
        unchanged = Account.objects.filter(pk=row.pk, secret_options=row.secret_options)
        if not unchanged.update(secret_options=token):
            return False
        history.record(row, by=by, what="options encrypted with the newest key", act=Act.ENCRYPT)
    return True
