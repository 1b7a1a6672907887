"""The row of an account's breaker, shared by all machines. A write wins only if nobody else was faster."""

import dataclasses
from collections.abc import Callable

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from providers import history
from providers.health.breaker import FIELDS, BreakerSnapshot, close, open_again
from providers.models import Account, Breaker, BreakerMode, BreakerState


def save(before: BreakerSnapshot, after: BreakerSnapshot, *, by: str, with_history: bool = True) -> bool:
    """Write the decision and return True; return False if another process was faster.

    Adds a line of history if the state changed, unless the caller writes a better one.
    """
    changed = {name: getattr(after, name) for name in FIELDS if getattr(after, name) != getattr(before, name)}
    if not changed:
        return True
    with transaction.atomic():
        rows = Breaker.objects.filter(account_id=before.account_id, version=before.version)
        if rows.update(**changed, version=F("version") + 1) != 1:
            return False
        if with_history and after.state != before.state and after.state != BreakerState.HALF_OPEN:
            account = Account.objects.get(pk=before.account_id)
            history.record(account, by=by, what=_describe_change(before, after), state=after.state)
        if with_history and after.out_of_quota_since not in (None, before.out_of_quota_since):
            account = Account.objects.get(pk=before.account_id)
            history.record(account, by=by, what=_describe_quota_end(after))
    return True


def write_quota_use(breaker: BreakerSnapshot) -> None:
    """Write what was given back of a quota, in the transaction that reserved it: the row is locked, so nobody else did."""
    Breaker.objects.filter(account_id=breaker.account_id).update(
        quota_day_used=breaker.quota_day_used, quota_month_used=breaker.quota_month_used
    )


def change(
    account_id: int, decide: Callable[[BreakerSnapshot], BreakerSnapshot], *, by: str, with_history: bool = True
) -> BreakerSnapshot:
    """Load the row, decide, write, and return what was written; start again if another process was faster.

    Raises Breaker.DoesNotExist if the account is gone. The loop ends: each lost try means that another process won.
    """
    while True:
        before = BreakerSnapshot.from_row(Breaker.objects.get(account_id=account_id))
        after = decide(before)
        if save(before, after, by=by, with_history=with_history):
            return after


def force(account_name: str, mode: BreakerMode, *, by: str, why: str = "") -> None:
    """Force a breaker open or closed, or set it back to automatic, with a line of history.

    Raises Account.DoesNotExist. Results of calls in progress no longer count.
    """
    account = Account.objects.get(name=account_name)

    def decide(breaker: BreakerSnapshot) -> BreakerSnapshot:
        return dataclasses.replace(
            close(breaker), mode=mode, trips=0, slots=None, limited_until=None, call_limit=None, call_limit_until=None
        )

    with transaction.atomic():
        change(account.pk, decide, by=by, with_history=False)
        # Workers that selected the account before this commit select again. Breaker first: claims lock in that order.
        Account.objects.filter(pk=account.pk).update(updated_at=timezone.now())
        words = BreakerMode(mode).label.lower() if mode != BreakerMode.AUTO else "back to automatic"
        state = BreakerState.OPEN if mode == BreakerMode.OPEN else BreakerState.CLOSED
        history.record(account, by=by, what=history.add_note(words, why), state=state, act=Act.CHANGE)


def open_account(account_name: str, *, by: str, why: str = "") -> bool:
    """Open an account that its provider said is out of quota, with a line of history. Return False if it was open.

    Raises Account.DoesNotExist. Answers to calls in progress no longer close it.
    """
    account = Account.objects.get(name=account_name)
    now = database_clock.now()
    was_open = True

    def decide(breaker: BreakerSnapshot) -> BreakerSnapshot:
        nonlocal was_open
        was_open = not breaker.is_out_of_quota(now)
        return breaker if was_open else open_again(breaker)

    with transaction.atomic():
        change(account.pk, decide, by=by, with_history=False)
        if not was_open:
            history.record(account, by=by, what=history.add_note("opened again", why), act=Act.CHANGE)
    return not was_open


def request_probe(account_name: str, *, by: str) -> None:
    """Let the next email probe an open breaker, with a line of history. Changes nothing if it is not open.

    Raises Account.DoesNotExist.
    """
    account = Account.objects.get(name=account_name)
    now = database_clock.now()

    def decide(breaker: BreakerSnapshot) -> BreakerSnapshot:
        if breaker.mode != BreakerMode.AUTO or breaker.state != BreakerState.OPEN:
            return breaker
        return dataclasses.replace(breaker, open_until=now)

    with transaction.atomic():
        change(account.pk, decide, by=by)
        history.record(account, by=by, what="probe requested", act=Act.CHANGE)


def _describe_quota_end(breaker: BreakerSnapshot) -> str:
    until = breaker.out_of_quota_until
    words = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "until someone opens it"
    return f"out of quota {words}: {breaker.out_of_quota_reason}"[:200]


def _describe_change(before: BreakerSnapshot, after: BreakerSnapshot) -> str:
    if after.state == BreakerState.CLOSED:
        return "probe accepted, closed again" if before.state == BreakerState.HALF_OPEN else "closed"
    if before.state == BreakerState.HALF_OPEN:
        return f"probe failed, open again: {after.last_failure}"[:200]
    if before.slots is not None:
        return f"failed while recovering, open again: {after.last_failure}"[:200]
    return f"{after.window_failures} failures in {after.window_calls} requests: {after.last_failure}"[:200]
