"""Simulated failures of sandbox accounts."""

from django.db import transaction

from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from providers import history
from providers.accounts.errors import AccountChangeNotAllowed
from providers.kinds.catalog import SIMULATE_FAILURES
from providers.models import Account, FailureMode
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure


def set_failure_mode(account: Account, failure: SimulatedFailure | None, *, by: str = audit.COMMAND_LINE) -> None:
    """Let a sandbox account simulate a failure; None ends it. Raises AccountChangeNotAllowed for another kind of account."""
    check_kind(account)
    with transaction.atomic():
        if failure is None:
            FailureMode.objects.filter(account=account).delete()
        else:
            values = {"kind": failure.kind, "value": failure.value, "until": failure.until}
            FailureMode.objects.update_or_create(account=account, defaults=values)
        what = f"simulates a failure: {failure}" if failure else "simulated failure cleared"
        history.record(account, by=by, what=what, act=Act.CHANGE)


def check_kind(account: Account) -> None:
    """Raise AccountChangeNotAllowed for an account that cannot simulate a failure."""
    if account.kind not in SIMULATE_FAILURES:
        raise AccountChangeNotAllowed(
            f"'{account.name}' is not a sandbox: only a sandbox account can simulate a failure."
        )


def get_failure_mode(account: Account) -> SimulatedFailure | None:
    """Return the failure that the sandbox account simulates, also one that has ended; None if there is none."""
    row = FailureMode.objects.filter(account=account).first()
    return to_simulated_failure(row) if row else None


def to_simulated_failure(row: FailureMode) -> SimulatedFailure:
    """Return the failure that the row describes."""
    return SimulatedFailure(kind=FailureKind(row.kind), value=row.value, until=row.until)
