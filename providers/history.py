"""The history of accounts: changes of breakers, and of people, which the audit log has too.

Lines keep the account's name and survive it; a new account of the same name starts without them.
"""

import datetime as dt

from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from providers.models import Account, BreakerChange

AUDIT_KIND = "provider account"  # in the audit log


def record(account: Account, *, by: str, what: str, state: str = "", act: Act | None = None) -> None:
    """Store a line of history, and with `act` an entry of the audit log. `what` must hold no secret."""
    BreakerChange.objects.create(
        account=account,
        account_name=account.name,
        created_at=database_clock.now(),
        by=by[:128],
        what=what[:200],
        state=state,
    )
    if act is not None:
        audit.record(act, by=by, kind=AUDIT_KIND, name=account.name, object_id=account.pk, detail=what)


def get_deleted_at(name: str) -> dt.datetime | None:
    """Return when the last account of this name was deleted, None if none was."""
    lines = BreakerChange.objects.filter(account=None, account_name=name)
    return lines.order_by("-id").values_list("created_at", flat=True).first()


def add_note(what: str, why: str) -> str:
    """Return a line of history with the person's note, cut to the length of a line."""
    return f"{what}, “{why[: 196 - len(what)]}”" if why and len(what) < 196 else what[:200]
