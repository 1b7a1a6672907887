"""The accounts that this house has, from the environment and from the database, as plain values for the sending side."""

from django.db import transaction

from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from providers import history
from providers.accounts.errors import AccountChangeNotAllowed
from providers.models import Account, FailureMode
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure


def set_failure_mode(account: Account, fault: SimulatedFailure | None, *, by: str = audit.COMMAND_LINE) -> None:
    """Make a sandbox account misbehave, or behave again. Raises AccountFixed for an account of another kind."""
    if account.kind != "sandbox":
        raise AccountChangeNotAllowed(f"'{account.name}' is no sandbox: only a sandbox account can be told to fail.")
    with transaction.atomic():
        if fault is None:
            FailureMode.objects.filter(account=account).delete()
        else:
            values = {"kind": fault.kind, "value": fault.value, "until": fault.until}
            FailureMode.objects.update_or_create(account=account, defaults=values)
        what = f"told to fail: {fault}" if fault else "told to behave again"
        history.record(account, by=by, what=what, act=Act.CHANGE)


def get_failure_mode(account: Account) -> SimulatedFailure | None:
    """How the sandbox account misbehaves, if it was told to; also when that is over."""
    row = FailureMode.objects.filter(account=account).first()
    return to_simulated_failure(row) if row else None


def to_simulated_failure(row: FailureMode) -> SimulatedFailure:
    """Return the failure that the row describes."""
    return SimulatedFailure(FailureKind(row.kind), row.value, row.until)
