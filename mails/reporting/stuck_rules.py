"""Enabled routing rules none of whose accounts can be used: their emails wait until a person does something."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from mails.reporting import waiting_routes
from mails.routing.advice import explain_useless
from mails.routing.book import get_book
from providers.accounts.registry import Candidate
from providers.models import BreakerMode


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckRule:
    """A routing rule none of whose accounts can be used."""

    name: str
    accounts: Sequence[str]  # that it allows, each with what is wrong, such as "hades (disabled)"
    emails: int  # that wait for it, at most 100,000


def list_stuck_rules(candidates: Iterable[Candidate]) -> list[StuckRule]:
    """Return the stuck rules in their order. No query where there is none; else one for the routes, and one a rule."""
    known = {candidate.config.name: candidate for candidate in candidates}
    found = [
        (rule, {name: _explain(known.get(name)) for name in rule.policy.accounts})
        for rule in get_book().rules
        if rule.enabled
    ]
    stuck = [(rule, problems) for rule, problems in found if all(problems.values())]
    waiting = _find_routes({rule.id for rule, _ in stuck}) if stuck else {}
    return [
        StuckRule(
            name=rule.name,
            accounts=[f"{name} ({problem})" for name, problem in problems.items()],
            emails=waiting_routes.count_emails(waiting.get(rule.id, ())),
        )
        for rule, problems in stuck
    ]


def _explain(candidate: Candidate | None) -> str:
    """Return why no email goes through the account until a person does something; empty if it may."""
    if problem := explain_useless(candidate):
        return problem
    return "breaker forced open" if candidate is not None and candidate.breaker.mode == BreakerMode.OPEN else ""


def _find_routes(rules: Collection[int]) -> dict[int, list[str]]:
    """Return the routes on which emails of these rules wait, without those for which a person chose the accounts."""
    found: dict[int, list[str]] = defaultdict(list)
    for name, constraint in waiting_routes.list_constraints():
        if constraint.rule is not None and constraint.rule in rules and not constraint.via:
            found[constraint.rule].append(name)
    return found
