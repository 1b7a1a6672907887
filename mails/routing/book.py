"""The routing rules as values: which rule an email matches, and what each says about accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from mails.conditions.conditions import Conditions, MailFacts, matches
from mails.conditions.parsing import load_conditions
from mails.conditions.wording import explain
from mails.configuration import Configuration
from mails.models import RoutingRule
from mercury.lib.runtime import process_state
from providers.routing.policy import RULE_GONE, AccountPolicy, AccountShare
from providers.routing.rules import Route

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One routing rule."""

    id: int
    name: str
    conditions: Conditions
    policy: AccountPolicy
    enabled: bool = True

    @property
    def sentence(self) -> str:
        """Return the rule in one sentence."""
        return describe_rule(self.conditions, self.policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """All routing rules, in their order. Those that are disabled match nothing."""

    rules: Sequence[Rule] = ()
    policies: Mapping[int, AccountPolicy] = field(default_factory=dict)  # of the enabled rules, by id

    @classmethod
    def build(cls, rules: Sequence[Rule]) -> "RuleBook":
        """Return the rules as a book."""
        return cls(rules=rules, policies={rule.id: rule.policy for rule in rules if rule.enabled})

    def match(self, facts: MailFacts) -> Rule | None:
        """Return the first enabled rule whose conditions the email meets; None if there is none."""
        return next((rule for rule in self.rules if rule.enabled and matches(rule.conditions, facts)), None)

    def apply(self, route: Route) -> Route:
        """Return the route with what the rule that its emails matched says now about accounts."""
        rule = route.constraint.rule
        if rule is None:
            return route
        return replace(route, constraint=replace(route.constraint, policy=self.policies.get(rule, RULE_GONE)))


NO_RULES = RuleBook()


class RoutingRules(Configuration[RuleBook]):
    """The routing rules of this instance, as this process keeps them."""

    name = "routing rules"
    empty = NO_RULES

    def load(self) -> RuleBook:
        """Read all rules. One query."""
        return RuleBook.build([rule for row in RoutingRule.objects.all() if (rule := load_rule(row))])


def get_book() -> RuleBook:
    """Return the routing rules as they are, or were two seconds ago at most."""
    return process_state.get(RoutingRules).read()


def load_rule(row: RoutingRule) -> Rule | None:
    """Return the rule of this row; None, and a line in the log, for one that this version of Mercury cannot read."""
    conditions = load_conditions(row.conditions)
    if conditions is None:
        log.error("routing_rule_not_understood", rule=row.name)
        return None
    policy = AccountPolicy(rule=row.name, accounts=load_accounts(row.accounts))
    return Rule(id=row.pk or 0, name=row.name, conditions=conditions, policy=policy, enabled=row.enabled)


def load_accounts(stored: Sequence[Mapping[str, Any]]) -> dict[str, AccountShare]:
    """Return the accounts of a rule by name, as its row has them."""
    return {
        entry["account"]: AccountShare(weight=entry.get("weight"), priority=entry.get("priority")) for entry in stored
    }


def describe_rule(conditions: Conditions, policy: AccountPolicy) -> str:
    """Return the rule in one sentence: "Email to hera.gr goes through mailgun-eu only."."""
    who = explain(conditions)
    return f"{who[0].upper()}{who[1:]}{',' if ',' in who else ''} goes through {describe_accounts(policy)}."


def describe_accounts(policy: AccountPolicy) -> str:
    """Return the accounts of a rule in the order in which they are used, with their weights."""
    if len(policy.accounts) == 1:
        return f"{next(iter(policy.accounts))} only"
    tiers: dict[int | None, list[str]] = {}
    for name, share in policy.accounts.items():
        weight = f" (weight {share.weight})" if share.weight is not None else ""
        tiers.setdefault(share.priority, []).append(name + weight)
    in_order = sorted(tiers, key=lambda priority: (priority is None, priority or 0))
    if len(in_order) == 1:
        return _join(tiers[in_order[0]])
    return ", then ".join(" or ".join(tiers[priority]) for priority in in_order)


def _join(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]} only"
