"""The failures that a sandbox account can simulate. Pure: values and the time in, behaviour out."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import TextChoices


class FailureKind(TextChoices):
    """The ways in which a provider fails."""

    SLOW = "slow", "Slow"
    REFUSE = "refuse", "Refuses"
    HANG = "hang", "Hangs"
    LOSE = "lose", "Loses the answer"
    FLAP = "flap", "Flaps"


MEANINGS = {
    FailureKind.SLOW: "accepts after N seconds",
    FailureKind.REFUSE: "answers with this status and accepts nothing",
    FailureKind.HANG: "never answers and accepts nothing",
    FailureKind.LOSE: "accepts, but the reply is lost",
    FailureKind.FLAP: "alternates between healthy and 503 every N seconds",
}

_DEFAULTS = {FailureKind.SLOW: 3.0, FailureKind.REFUSE: 503.0, FailureKind.FLAP: 10.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedFailure:
    """A failure that one account simulates, and its end."""

    kind: FailureKind
    value: float  # slow, flap: seconds; refuse: status code; otherwise 0
    until: dt.datetime

    def is_active(self, now: dt.datetime) -> bool:
        """Return True if the account fails at that time."""
        if now >= self.until:
            return False
        return self.kind is not FailureKind.FLAP or int(now.timestamp() / self.value) % 2 == 1

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}" if self.value else str(self.kind)


def parse_failure(text: str, *, until: dt.datetime) -> SimulatedFailure:
    """Return the failure that `slow=3`, `refuse=503`, `hang`, `lose` or `flap=10` names.

    Raises ValueError; its text lists the valid forms.
    """
    name, _, value = text.strip().partition("=")
    if name not in FailureKind.values:
        raise ValueError(
            f"'{text}' is not a failure mode. Known: slow=SECONDS, refuse=STATUS, hang, lose, flap=SECONDS."
        )
    kind = FailureKind(name)
    if kind not in _DEFAULTS:
        if value:
            raise ValueError(f"'{name}' has no value.")
        return SimulatedFailure(kind=kind, value=0.0, until=until)
    try:
        number = float(value) if value else _DEFAULTS[kind]
    except ValueError:
        raise ValueError(f"'{name}' needs a number, such as {name}={_DEFAULTS[kind]:g}.") from None
    if kind is FailureKind.REFUSE and number not in range(300, 600):
        raise ValueError("'refuse' needs a status from 300 to 599.")
    if not 0 < number <= 3600:
        raise ValueError(f"'{name}' needs a number above 0 and at most 3600.")
    return SimulatedFailure(kind=kind, value=number, until=until)
