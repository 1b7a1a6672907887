"""How a sandbox account can be told to misbehave. Pure: what to do is decided from values and the time."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import TextChoices


class FaultKind(TextChoices):
    """The ways in which a provider fails."""

    SLOW = "slow", "Slow"
    REFUSE = "refuse", "Refuses"
    HANG = "hang", "Hangs"
    LOSE = "lose", "Loses the answer"
    FLAP = "flap", "Flaps"


MEANINGS = {
    FaultKind.SLOW: "takes the mail after so many seconds",
    FaultKind.REFUSE: "answers with this status and takes nothing",
    FaultKind.HANG: "never answers, takes nothing",
    FaultKind.LOSE: "takes the mail, and the connection breaks before the answer",
    FaultKind.FLAP: "well and refusing (503) in turn, so many seconds each",
}

_DEFAULTS = {FaultKind.SLOW: 3.0, FaultKind.REFUSE: 503.0, FaultKind.FLAP: 10.0}


@dataclass(frozen=True, slots=True)
class FaultSetting:
    """One fault of one account, with its end."""

    kind: FaultKind
    value: float  # slow, flap: seconds; refuse: status code; otherwise 0
    until: dt.datetime

    def acts(self, now: dt.datetime) -> bool:
        """Whether the account misbehaves at that time."""
        if now >= self.until:
            return False
        return self.kind is not FaultKind.FLAP or int(now.timestamp() / self.value) % 2 == 1

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}" if self.value else str(self.kind)


def parse(text: str, *, until: dt.datetime) -> FaultSetting:
    """The fault that `slow=3`, `refuse=503`, `hang`, `lose` or `flap=10` names.

    Raises ValueError, saying what may be written.
    """
    name, _, value = text.strip().partition("=")
    if name not in FaultKind.values:
        raise ValueError(f"'{text}' is not a fault. Known: slow=SECONDS, refuse=STATUS, hang, lose, flap=SECONDS.")
    kind = FaultKind(name)
    if kind not in _DEFAULTS:
        if value:
            raise ValueError(f"'{name}' takes no value.")
        return FaultSetting(kind, 0.0, until)
    try:
        number = float(value) if value else _DEFAULTS[kind]
    except ValueError:
        raise ValueError(f"'{name}' takes a number, such as {name}={_DEFAULTS[kind]:g}.") from None
    if kind is FaultKind.REFUSE and number not in range(300, 600):
        raise ValueError("'refuse' takes a status from 300 to 599.")
    if not 0 < number <= 3600:
        raise ValueError(f"'{name}' takes a number above 0 and at most 3600.")
    return FaultSetting(kind, number, until)
