"""Which accounts an email may use now, and why not the others. Pure."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mercury.lib.value import value
from providers.accounts.config import AccountConfig
from providers.accounts.registry import Candidate
from providers.health.breaker import CallPermission, check_permission
from providers.health.rate_limit import BURST
from providers.kinds.capabilities import MessageTraits
from providers.kinds.catalog import KINDS
from providers.models import AccountSource
from providers.quotas.allowance import Allowance, measure
from providers.routing.policy import OWN_SHARE, AccountPolicy, AccountShare


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingConstraint:
    """Accounts that an email may or may not use, in every retry round: only one, or all except those tried before.

    `rule`: the id of the routing rule that the email matched; `policy`: what that rule says now. An account that a person
    chose (`via`) goes before any rule.
    """

    via: str = ""  # one account, or several separated by commas
    excluded: tuple[str, ...] = ()
    rule: int | None = None
    policy: AccountPolicy | None = None
    unanswered_by: str = ""  # for one choice only: others go first, since this account may have the email already
    repeated_by: str = ""  # for one choice only: this account alone recognizes a request that it may have already

    @property
    def names(self) -> tuple[str, ...]:
        """Return the accounts that `via` names."""
        return tuple(filter(None, self.via.split(",")))

    def explain_exclusion(self, name: str) -> str:
        """Return why the email may not use the account; empty if it may."""
        if self.via and name not in self.names:
            return f"the email may use {' and '.join(self.names)} only"
        if self.policy is not None and not self.via and (exclusion := self.policy.explain_exclusion(name)):
            return exclusion
        if name in self.excluded:
            return "already tried before the email was reprocessed"
        if self.repeated_by and name != self.repeated_by:
            return f"only {self.repeated_by} would recognize the request that it left unanswered"
        return "its last outcome is unknown: other accounts go first" if name == self.unanswered_by else ""

    @property
    def rule_name(self) -> str:
        """Return the name of the routing rule that decides; empty if none does."""
        return self.policy.rule if self.policy is not None and not self.via else ""

    def get_share(self, name: str) -> AccountShare:
        """Return the weight and the priority that the account has for this email."""
        return OWN_SHARE if self.policy is None or self.via else self.policy.accounts.get(name, OWN_SHARE)

    def to_blob(self) -> dict[str, Any]:
        """Return the constraint as events and `Mail.routing_constraint` store it, without its rule; empty if there is none."""
        blob = {"via": self.via, "excluded": list(self.excluded)}
        return {name: value for name, value in blob.items() if value}

    @classmethod
    def from_blob(cls, blob: Mapping[str, Any]) -> "RoutingConstraint":
        """Return the constraint that `to_blob` wrote."""
        return cls(via=blob.get("via", ""), excluded=tuple(blob.get("excluded", ())))


NO_CONSTRAINT = RoutingConstraint()
NO_TRAITS = MessageTraits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Everything about an email that decides which accounts it may use now. Emails with the same route may use the same."""

    traits: MessageTraits = NO_TRAITS
    constraint: RoutingConstraint = NO_CONSTRAINT
    tried: tuple[str, ...] = ()  # accounts that refused it in this round


ANY_ACCOUNT = Route()


class AccountEvaluation(NamedTuple):
    """One account as the choice evaluated it. `until`: when waiting may help; None if it will not.

    A named tuple, since one is copied for each email.
    """

    account: str
    weight: int
    eligible: bool
    note: str
    priority: int = 1  # the lowest number goes first
    until: dt.datetime | None = None
    tried: bool = False  # in this round, or the email may not use it
    cannot_carry: bool = False  # its provider cannot carry such a message
    excluded: bool = False  # the email may never use it, whatever its provider can carry
    remedy: str = ""  # what ends it, where waiting does not
    is_too_much: bool = False  # its quota allows something now, and not as much as the email needs


@value
class AccountLoad:
    """How busy the accounts are at one moment, for every decision about them.

    `in_flight`: calls in progress, by account. `slots`: the most of them for one account, None for no limit. `permits`:
    calls that a rate limit grants now, by account; an account that is not in it has no limit. `processes`: how many share
    an account's connections. `leaves_rest`: whether this email leaves a rest of each limit to more urgent ones.
    `allowances`: what quotas allow now, by account; an account that is not in it has none. `recipients`: of the email.
    """

    now: dt.datetime
    in_flight: Mapping[str, int]
    slots: int | None = None
    permits: Mapping[str, int]
    processes: int = 1
    leaves_rest: bool = False
    allowances: Mapping[str, Allowance] = field(default_factory=dict)
    recipients: int = 1

    def count_usable(self, limit: int) -> int:
        """Return how much of an account's limit this email may use: all of it, or all but an eighth."""
        return limit - count_rest(limit) if self.leaves_rest else limit

    def count_permits(self, config: AccountConfig) -> int | None:
        """Return the calls that the account's rate limit grants to this email now; None for no limit."""
        permits = self.permits.get(config.name)
        if permits is None or not self.leaves_rest:
            return permits
        return permits - count_rest(int((config.rate or 0) * BURST))


def count_rest(limit: int) -> int:
    """Return how much of a limit is left to urgent email: an eighth, at least one of two or more."""
    return max(1, limit // 8) if limit > 1 else 0


def get_max_connections(config: AccountConfig, processes: int) -> int | None:
    """Return how many connections one of `processes` may have to the account, None for no limit."""
    if config.max_connections is not None:
        return max(1, config.max_connections // max(1, processes))
    kind = KINDS.get(config.kind)
    return kind.most_at_once if kind else None


def counts_recipients(config: AccountConfig) -> bool:
    """Return True if the quotas of the account count recipients, False if they count messages."""
    kind = KINDS.get(config.kind)
    return kind is None or kind.counts_recipients


def measure_allowances(candidates: Iterable[Candidate], now: dt.datetime) -> dict[str, Allowance]:
    """Return what quotas allow now, by account; an account without quotas is not in it."""
    return {
        candidate.config.name: measure(
            candidate.config.quota,
            candidate.breaker.quota_use,
            now,
            counts_recipients=counts_recipients(candidate.config),
        )
        for candidate in candidates
        if candidate.config.quota.has_any
    }


def evaluate(
    candidate: Candidate, load: AccountLoad, route: Route = ANY_ACCOUNT
) -> tuple[CallPermission, AccountEvaluation]:
    """Return whether the account may be called now for an email of this route, and the reason that is recorded for it."""
    permission, idle = evaluate_idle(candidate, load.now, route)
    return permission, apply_load(idle, candidate.config, permission, load)


def evaluate_idle(candidate: Candidate, now: dt.datetime, route: Route) -> tuple[CallPermission, AccountEvaluation]:
    """Return what `evaluate` would of an account that is not busy at all: the same for all emails of the route."""
    config = candidate.config
    permission = check_permission(candidate.breaker, now)
    share = route.constraint.get_share(config.name)
    exclusion, missing = explain_exclusion(candidate, route), explain_missing(config, route)
    never = _explain_never(candidate, exclusion, missing, route)
    return permission, AccountEvaluation(
        account=config.name,
        weight=share.get_weight(config),
        priority=share.get_priority(config),
        eligible=permission.allowed and not never,
        note=never or permission.note,
        until=None if never else permission.until,
        tried=bool(exclusion or missing) or config.name in route.tried,
        cannot_carry=bool(missing),
        excluded=bool(exclusion),
        remedy=_REMEDIES.get(never, "") if never else permission.remedy,
    )


def apply_load(
    idle: AccountEvaluation, config: AccountConfig, permission: CallPermission, load: AccountLoad
) -> AccountEvaluation:
    """Return the evaluation of an account as busy as it is: the same one, unless it has reached a limit."""
    if not idle.eligible:
        return idle
    full = _explain_full(config, permission, load)
    permits = load.count_permits(config)
    if not full and permits is not None and permits < 1:
        full = f"rate limit {config.rate:g}/s reached"
    if full:
        return idle._replace(eligible=False, note=full, until=load.now + dt.timedelta(seconds=1))
    allowance = load.allowances.get(config.name)
    if allowance is not None and (units := allowance.count(load.recipients)) > allowance.left:
        words, free_at = allowance.explain_shortage(units)
        return idle._replace(eligible=False, note=words, until=free_at, is_too_much=allowance.left > 0)
    return idle


_REMEDIES = {
    "disabled": "until someone enables it",
    "not in this process's environment": "until its options are set",
    "weight 0": "until it has a weight",
}


def explain_exclusion(candidate: Candidate, route: Route) -> str:
    """Return why an email of this route may never use the account, whatever it can carry; empty if it may."""
    if candidate.source == AccountSource.DEFAULT and not candidate.enabled:
        return "disabled"  # a default sandbox: nobody expects email to go there, once other accounts exist
    return route.constraint.explain_exclusion(candidate.config.name)


def explain_missing(config: AccountConfig, route: Route) -> str:
    """Return why the account's provider cannot carry a message of this route; empty if it can."""
    kind = KINDS.get(config.kind)
    return kind.capabilities.explain_missing(route.traits) if kind else ""


def _explain_never(candidate: Candidate, exclusion: str, missing: str, route: Route) -> str:
    """Return why the account cannot be used even later; empty if it can."""
    if missing and not exclusion:  # nobody needs to enable an account that could not carry it
        return missing
    if not candidate.enabled:
        return "disabled"
    if not candidate.configured:
        return "not in this process's environment"
    if exclusion or candidate.config.name in route.tried:
        return exclusion or "already tried in this round"
    return "weight 0" if candidate.config.weight == 0 else ""


def _explain_full(config: AccountConfig, permission: CallPermission, load: AccountLoad) -> str:
    """Return which limit of concurrent calls the account has reached; empty for none."""
    busy, slots = load.in_flight.get(config.name, 0), load.slots
    connections = get_max_connections(config, load.processes)
    if permission.slots is not None and busy >= permission.slots:
        return f"{permission.note}; all in use"
    if connections is not None and busy >= load.count_usable(connections):
        return f"{_name_all(connections, load)} connections in use"
    return f"{_name_all(slots, load)} slots in use" if slots is not None and busy >= load.count_usable(slots) else ""


def _name_all(limit: int, load: AccountLoad) -> str:
    usable = load.count_usable(limit)
    return f"all {limit}" if usable == limit else f"{usable} of {limit}, the most for this queue,"
