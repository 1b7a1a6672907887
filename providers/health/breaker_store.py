"""The circuit breaker of an account: when it opens, who may probe, how it recovers. One row, shared by all machines.

The arithmetic is pure: values and a `now` in, values out. `save` writes what it decided, if nobody was faster.
"""

import dataclasses
from collections.abc import Callable

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from providers import history
from providers.health.breaker import FIELDS, Snapshot, close
from providers.models import Account, Breaker, BreakerMode, BreakerState


def save(before: Snapshot, after: Snapshot, *, by: str, with_history: bool = True) -> bool:
    """Write what was decided; False if another process was faster.

    With a line of history if the state changed, unless the caller writes a better one.
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
            history.record(account, by=by, what=_told(before, after), state=after.state)
    return True


def change(account_id: int, decide: Callable[[Snapshot], Snapshot], *, by: str, with_history: bool = True) -> Snapshot:
    """Load the row, decide, and write; again if another process was faster. Returns what was written.

    Raises Breaker.DoesNotExist if the account is gone. Each turn that loses means that another one won, so the loop ends.
    """
    while True:
        before = Snapshot.of(Breaker.objects.get(account_id=account_id))
        after = decide(before)
        if save(before, after, by=by, with_history=with_history):
            return after


def force(account_name: str, mode: BreakerMode, *, by: str, why: str = "") -> None:
    """Open or close a breaker by hand, or give it back to its arithmetic (`AUTO`), with a line of history.

    Raises Account.DoesNotExist. Results of calls already under way no longer count.
    """
    account = Account.objects.get(name=account_name)

    def forced(breaker: Snapshot) -> Snapshot:
        fresh = close(breaker)
        return dataclasses.replace(
            fresh, mode=mode, trips=0, slots=None, limited_until=None, call_limit=None, call_limit_until=None
        )

    with transaction.atomic():
        change(account.pk, forced, by=by, with_history=False)
        # Whoever chose the account before this is committed chooses again. After the breaker: claims lock in that order.
        Account.objects.filter(pk=account.pk).update(updated_at=timezone.now())
        words = BreakerMode(mode).label.lower() if mode != BreakerMode.AUTO else "back to automatic"
        state = BreakerState.OPEN if mode == BreakerMode.OPEN else BreakerState.CLOSED
        history.record(account, by=by, what=history.add_note(words, why), state=state, act=Act.CHANGE)


def request_probe(account_name: str, *, by: str) -> None:
    """Let an open breaker be probed with the next mail, with a line of history; nothing if it is not open.

    Raises Account.DoesNotExist.
    """
    account = Account.objects.get(name=account_name)
    now = database_clock.now()

    def due(breaker: Snapshot) -> Snapshot:
        if breaker.mode != BreakerMode.AUTO or breaker.state != BreakerState.OPEN:
            return breaker
        return dataclasses.replace(breaker, open_until=now)

    with transaction.atomic():
        change(account.pk, due, by=by)
        history.record(account, by=by, what="probe asked for", act=Act.CHANGE)


def _told(before: Snapshot, after: Snapshot) -> str:
    if after.state == BreakerState.CLOSED:
        return "probe answered, closed again" if before.state == BreakerState.HALF_OPEN else "closed"
    if before.state == BreakerState.HALF_OPEN:
        return f"probe failed, open again: {after.last_fault}"[:200]
    if before.slots is not None:
        return f"failed while recovering, open again: {after.last_fault}"[:200]
    return f"{after.window_failures} faults in {after.window_calls} calls: {after.last_fault}"[:200]
