"""What a routing rule says about accounts: which may be used, in which order, with which weights. A value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from providers.accounts.config import AccountConfig

NAMED_AT_MOST = 5  # accounts in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountShare:
    """One account that a rule allows. What is None is as the account itself has it."""

    weight: int | None = None
    priority: int | None = None

    def get_weight(self, config: AccountConfig) -> int:
        """Return the account's share of the weighted draw."""
        return config.weight if self.weight is None else self.weight

    def get_priority(self, config: AccountConfig) -> int:
        """Return the account's place: the lowest number goes first."""
        return config.priority if self.priority is None else self.priority


OWN_SHARE = AccountShare()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPolicy:
    """The accounts that a routing rule allows, by name. One without accounts allows none."""

    rule: str  # its name; empty for a rule that is gone
    accounts: Mapping[str, AccountShare] = field(default_factory=dict)

    def explain_exclusion(self, name: str) -> str:
        """Return why an email of this rule may not use the account; empty if it may."""
        if name in self.accounts:
            return ""
        if not self.rule:
            return "its routing rule was removed or disabled; it is matched with the rules again in a moment"
        names = list(self.accounts)
        more = len(names) - NAMED_AT_MOST
        listed = f"{', '.join(names[:NAMED_AT_MOST])} and {more} more" if more > 0 else " and ".join(names)
        return f"rule '{self.rule}' allows only {listed}"


RULE_GONE = AccountPolicy(rule="")
