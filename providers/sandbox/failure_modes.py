"""How a sandbox account can be told to misbehave. Pure: what to do is decided from values and the time."""

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
    FailureKind.SLOW: "takes the mail after so many seconds",
    FailureKind.REFUSE: "answers with this status and takes nothing",
    FailureKind.HANG: "never answers, takes nothing",
    FailureKind.LOSE: "takes the mail, and the connection breaks before the answer",
    FailureKind.FLAP: "well and refusing (503) in turn, so many seconds each",
}

_DEFAULTS = {FailureKind.SLOW: 3.0, FailureKind.REFUSE: 503.0, FailureKind.FLAP: 10.0}


@dataclass(frozen=True, slots=True)
class SimulatedFailure:
    """One fault of one account, with its end."""

    kind: FailureKind
    value: float  # slow, flap: seconds; refuse: status code; otherwise 0
    until: dt.datetime

    def acts(self, now: dt.datetime) -> bool:
        """Whether the account misbehaves at that time."""
        if now >= self.until:
            return False
        return self.kind is not FailureKind.FLAP or int(now.timestamp() / self.value) % 2 == 1

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}" if self.value else str(self.kind)


def parse_failure(text: str, *, until: dt.datetime) -> SimulatedFailure:
    """The fault that `slow=3`, `refuse=503`, `hang`, `lose` or `flap=10` names.

    Raises ValueError, saying what may be written.
    """
    name, _, value = text.strip().partition("=")
    if name not in FailureKind.values:
        raise ValueError(f"'{text}' is not a fault. Known: slow=SECONDS, refuse=STATUS, hang, lose, flap=SECONDS.")
    kind = FailureKind(name)
    if kind not in _DEFAULTS:
        if value:
            raise ValueError(f"'{name}' takes no value.")
        return SimulatedFailure(kind, 0.0, until)
    try:
        number = float(value) if value else _DEFAULTS[kind]
    except ValueError:
        raise ValueError(f"'{name}' takes a number, such as {name}={_DEFAULTS[kind]:g}.") from None
    if kind is FailureKind.REFUSE and number not in range(300, 600):
        raise ValueError("'refuse' takes a status from 300 to 599.")
    if not 0 < number <= 3600:
        raise ValueError(f"'{name}' takes a number above 0 and at most 3600.")
    return SimulatedFailure(kind, number, until)
