"""Refusals in a row: when the refusals of an account are about the account, not about the emails.

An account may refuse several different emails because of their content, and accept none in between. Then it does not
judge messages: its domain is wrong, it is suspended, or a filter blocks it. From then on its refusals count as account
failures, until it accepts an email. One row an account, shared by all machines, written only when emails are refused.
"""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from providers import history
from providers.models import Account, RefusalRun

SEVERAL = 5  # different emails …
MANY = 20  # … or this many if each was refused because of its mailbox: plausible for one, not for all


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRunSnapshot:
    """The row as values. `began_at` to `reason` are of the last spell in which the account refused everything."""

    account_id: int
    version: int = 0
    marks: str = ""  # of the emails refused since the last acceptance
    first_at: dt.datetime | None = None  # when the first of them was refused
    began_at: dt.datetime | None = None
    noticed_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    reason: str = ""

    @property
    def is_systemic(self) -> bool:
        """Return True if the account's refusals count as account failures."""
        return self.noticed_at is not None and self.ended_at is None

    @classmethod
    def from_row(cls, row: RefusalRun) -> "RefusalRunSnapshot":
        """Return the values of a loaded row."""
        return cls(**{name: getattr(row, name) for name in _FIELDS})


_FIELDS = tuple(field.name for field in dataclasses.fields(RefusalRunSnapshot))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One email that the account refused because of its content or its recipients."""

    mark: str  # the same for emails to the same people
    of_mailbox: bool  # each of its recipients was refused for good, by name
    reason: str


def hash_recipients(recipients: Iterable[str]) -> str:
    """Return a short hash of an email's recipients, from which no address can be read."""
    return hashlib.sha256(" ".join(sorted(recipients)).lower().encode()).hexdigest()[:8]


def observe_refusal(run: RefusalRunSnapshot, refusal: Refusal, now: dt.datetime) -> RefusalRunSnapshot:
    """Return the run after one more refusal."""
    marks = run.marks.split()
    if run.is_systemic or any(refusal.mark == mark[1:] for mark in marks):
        return run
    marks.append(f"{'m' if refusal.of_mailbox else 'x'}{refusal.mark}")
    run = dataclasses.replace(run, marks=" ".join(marks), first_at=run.first_at or now)
    if sum(mark[0] == "x" for mark in marks) < SEVERAL and len(marks) < MANY:
        return run
    return dataclasses.replace(run, began_at=run.first_at, noticed_at=now, ended_at=None, reason=refusal.reason[:200])


def observe_acceptance(run: RefusalRunSnapshot, now: dt.datetime) -> RefusalRunSnapshot:
    """Return the run after the account accepted an email, which ends it."""
    if not run.marks and not run.is_systemic:
        return run
    return dataclasses.replace(run, marks="", first_at=None, ended_at=now if run.is_systemic else run.ended_at)


def change(
    account_id: int, decide: Callable[[RefusalRunSnapshot], RefusalRunSnapshot], *, by: str
) -> RefusalRunSnapshot:
    """Load the row, decide, write, and return what was written; start again if another process was faster.

    Adds a line of history where a spell begins or ends. Raises Account.DoesNotExist if the account is gone.
    """
    while True:
        account = Account.objects.get(pk=account_id)
        row = RefusalRun.objects.filter(account=account).first()
        if row is None:
            RefusalRun.objects.bulk_create([RefusalRun(account=account)], ignore_conflicts=True)
            continue
        before = RefusalRunSnapshot.from_row(row)
        after = decide(before)
        changed = {name: getattr(after, name) for name in _FIELDS if getattr(after, name) != getattr(before, name)}
        if not changed:
            return before
        with transaction.atomic():
            rows = RefusalRun.objects.filter(account=account, version=before.version)
            if rows.update(**changed, version=F("version") + 1) != 1:
                continue
            if after.is_systemic != before.is_systemic:
                history.record(account, by=by, what=_describe(after))
        return dataclasses.replace(after, version=before.version + 1)


def _describe(run: RefusalRunSnapshot) -> str:
    """Return the line of history for the beginning or the end of a spell."""
    if not run.is_systemic:
        return "accepts email again"
    return f"refuses every email, so its refusals count as account failures: {run.reason}"[:200]
