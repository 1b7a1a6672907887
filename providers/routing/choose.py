"""Choose the account for an email, and record why the others were left out. Pure.

Among the accounts that can take the email now, those of the lowest priority number are drawn, in proportion to their weights.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from providers.accounts.registry import Candidate
from providers.health.breaker import CallPermission
from providers.routing.rules import ANY_ACCOUNT, AccountEvaluation, AccountLoad, Route, apply_load, evaluate_idle

PROBE_KEPT = dt.timedelta(seconds=10)  # how long an email waits that may not be the probe


class ComparedAccount(NamedTuple):
    """An account with its evaluation. `goes_first`: it takes part in the draw."""

    candidate: Candidate
    permission: CallPermission
    evaluation: AccountEvaluation
    goes_first: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingDecision:
    """A choice: an account or none, and every account that was evaluated.

    Emails for which the same was decided share it, so that one is another only if it is another object.
    """

    candidate: Candidate | None
    why: str
    evaluated: tuple[AccountEvaluation, ...]
    probe: bool = False
    rule: str = ""  # the name of the routing rule that decided

    @property
    def epoch(self) -> int:
        """Return the breaker's epoch in which the result of the call counts; a probe begins a new one."""
        return self.candidate.breaker.epoch + self.probe if self.candidate else 0

    @property
    def free_at(self) -> dt.datetime | None:
        """Return when the first of the untried accounts may be evaluated again; None if waiting does not help."""
        return min((account.until for account in self.evaluated if account.until and not account.tried), default=None)

    @property
    def is_too_much(self) -> bool:
        """Return True if it waits for a quota of which less is left than the email needs, and that other emails may take."""
        return any(account.is_too_much and account.until == self.free_at for account in self.evaluated)

    @property
    def can_carry(self) -> bool:
        """Return False if accounts exist, and none that the email may ever use can carry its message."""
        allowed = [account for account in self.evaluated if not account.excluded]
        return not allowed or not all(account.cannot_carry for account in allowed)

    def explain_missing(self) -> str:
        """Return the accounts that cannot carry the message, each with what it lacks."""
        lacking = [account for account in self.evaluated if account.cannot_carry and not account.excluded]
        return ", ".join(f"{account.account} ({account.note})" for account in lacking)

    def build_evaluated_blob(self) -> list[dict[str, Any]]:
        """Return the evaluated accounts for an event's blob."""
        selected = self.candidate.config.name if self.candidate else None
        return [_build_blob(account, selected=account.account == selected) for account in self.evaluated]


def _build_blob(account: AccountEvaluation, *, selected: bool) -> dict[str, Any]:
    blob = {
        "account": account.account,
        "weight": account.weight,
        "eligible": account.eligible,
        "selected": selected,
        "note": account.note,
    }
    if account.priority != 1:  # as a rule all have the same: an event is stored for each email
        blob["priority"] = account.priority
    return blob


class Ranking(NamedTuple):
    """All accounts compared for an email, and those among which the draw is."""

    accounts: tuple[ComparedAccount, ...]
    first: tuple[ComparedAccount, ...]  # empty: no account can take the email now
    total: int  # of their weights
    why: str  # one of them is chosen

    @property
    def evaluated(self) -> tuple[AccountEvaluation, ...]:
        """Return the evaluation of each account."""
        return tuple([account.evaluation for account in self.accounts])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """The accounts as emails of one route find them at one moment, however busy they are: one serves many emails.

    `decisions`: those that `ranking` has led to so far, by the number that was drawn.
    """

    idle: tuple[tuple[Candidate, CallPermission, AccountEvaluation], ...]  # as `evaluate_idle` has them
    ranking: Ranking  # while none of them has reached a limit
    probes: bool
    rule: str  # the name of the routing rule that decides
    decisions: dict[int, RoutingDecision] = field(default_factory=dict)

    @classmethod
    def build(
        cls, candidates: Iterable[Candidate], now: dt.datetime, route: Route = ANY_ACCOUNT, *, probes: bool = True
    ) -> "Shortlist":
        """Evaluate all accounts for the emails of this route. `probes`: whether they may be a breaker's one probe."""
        idle = tuple([(candidate, *evaluate_idle(candidate, now, route)) for candidate in candidates])
        ranking = _rank(idle, now, probes=probes)
        return cls(idle=idle, ranking=ranking, probes=probes, rule=route.constraint.rule_name)

    def rank(self, load: AccountLoad) -> Ranking:
        """Return the accounts compared for one email, as busy as they are."""
        evaluated = [apply_load(idle, candidate.config, permission, load) for candidate, permission, idle in self.idle]
        if all(account is idle for account, (_, _, idle) in zip(evaluated, self.idle, strict=True)):
            return self.ranking
        busy = [(*known[:2], account) for known, account in zip(self.idle, evaluated, strict=True)]
        return _rank(busy, load.now, probes=self.probes)

    def choose(self, load: AccountLoad, *, draw: float) -> RoutingDecision:
        """Choose an account for one email, by a weighted draw among those that go first of all that may be called now.

        `draw`: in [0, 1).
        """
        ranking = self.rank(load)
        if not ranking.first:
            why = "no account is available now"
            return RoutingDecision(candidate=None, why=why, evaluated=ranking.evaluated, rule=self.rule)
        number = min(int(draw * ranking.total), ranking.total - 1)
        if ranking is not self.ranking:
            return self._decide(ranking, number)
        decision = self.decisions.get(number)
        if decision is None:
            decision = self.decisions[number] = self._decide(ranking, number)
        return decision

    def _decide(self, ranking: Ranking, number: int) -> RoutingDecision:
        drawn = _find_drawn(ranking, number)
        note = f"selected (drew {number + 1} of {ranking.total})"
        return RoutingDecision(
            candidate=drawn.candidate,
            why=ranking.why,
            evaluated=tuple([_mark_drawn(account, drawn.evaluation, note) for account in ranking.evaluated]),
            probe=drawn.permission.probe,
            rule=self.rule,
        )


def _rank(
    evaluated: Sequence[tuple[Candidate, CallPermission, AccountEvaluation]], now: dt.datetime, *, probes: bool
) -> Ranking:
    kept = [
        (candidate, permission, account if probes else _keep_probe(account, permission, now))
        for candidate, permission, account in evaluated
    ]
    eligible = [account for _, _, account in kept if account.eligible]
    priority = min((account.priority for account in eligible), default=0)
    accounts = [
        ComparedAccount(
            candidate, permission, _mark_later(account, priority), account.eligible and account.priority == priority
        )
        for candidate, permission, account in kept
    ]
    first = tuple([account for account in accounts if account.goes_first])
    return Ranking(
        accounts=tuple(accounts),
        first=first,
        total=sum(account.evaluation.weight for account in first),
        why=_explain_draw(first, is_all=len(first) == len(eligible)) if first else "",
    )


def _keep_probe(account: AccountEvaluation, permission: CallPermission, now: dt.datetime) -> AccountEvaluation:
    """Return an account that this email may not probe as one that cannot take it."""
    if not account.eligible or not permission.probe:
        return account
    note = "its probe is kept for an email that was not refused because of one mailbox"
    return account._replace(eligible=False, note=note, until=now + PROBE_KEPT)


def _mark_later(account: AccountEvaluation, first: int) -> AccountEvaluation:
    """Return the account, with the note that others go before it where they do."""
    if not account.eligible or account.priority == first:
        return account
    later = f"used when no account of priority {first} can take the email"
    return account._replace(note=f"{later}; {account.note}" if account.note else later)


def _find_drawn(ranking: Ranking, number: int) -> ComparedAccount:
    """Return the account that this number is drawn for: each has as many numbers, from 0, as its weight says."""
    passed = 0
    for account in ranking.first:
        passed += account.evaluation.weight
        if number < passed:
            return account
    raise AssertionError("the number is below the total")


def _explain_draw(first: Sequence[ComparedAccount], *, is_all: bool) -> str:
    of_priority = "" if is_all else f" of priority {first[0].evaluation.priority}"
    if len(first) == 1:
        return f"the only eligible account{of_priority}"
    return f"weighted random choice among {len(first)} eligible accounts{of_priority}"


def _mark_drawn(account: AccountEvaluation, drawn: AccountEvaluation, note: str) -> AccountEvaluation:
    """Return the account, with the result of the draw if it was drawn."""
    if account is not drawn:
        return account
    return account._replace(note=f"{note}: {account.note}" if account.note else note)
