"""One provider account as the sending side needs it: plain values, no database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.quotas.rules import NO_QUOTA, QuotaRules

MAX_WEIGHT = 10_000
MAX_PRIORITY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """An account with its secrets in the clear; never log it, never put it into an event.

    `options` are those that its kind declares, with defaults; a sandbox that simulates a failure also has `failure_mode`
    (a sandbox.failure_modes.SimulatedFailure).
    """

    name: str
    kind: str  # a key of kinds.catalog.KINDS
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    weight: int = 1  # share of the weighted draw; 0 is never drawn
    priority: int = 1  # the lowest number goes first: accounts of the next take email when none of it can
    rate: float | None = None  # calls a second, None = no limit
    quota: QuotaRules = NO_QUOTA  # a day and a month
    trust_500: bool = False  # True: this provider's 500 is known to mean "not sent"

    @property
    def max_connections(self) -> int | None:
        """Return the largest number of connections that the operator allows all processes together; None for no limit."""
        return self.options.get("max_connections")
