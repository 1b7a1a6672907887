"""Email that may use some accounts and no others: its routing rule says so, or a person did when it was reprocessed."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mails.reporting import waiting_routes
from mails.routing.book import get_book
from providers.accounts.registry import Candidate
from providers.routing.rules import ANY_ACCOUNT, explain_exclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundEmail:
    """Email that may use these accounts alone."""

    accounts: Sequence[str]
    rule: str = ""  # the routing rule that says so; empty where a person chose
    emails: int = 0  # that wait now, where a person chose; at most 100,000


def list_bound_email(candidates: Iterable[Candidate]) -> list[BoundEmail]:
    """Return the enabled routing rules in their order, then the waiting emails for which a person chose the accounts.

    One query for the routes, and one for each choice of accounts.
    """
    by_rule = [
        BoundEmail(rule=rule.name, accounts=list(rule.policy.accounts)) for rule in get_book().rules if rule.enabled
    ]
    return [*by_rule, *_list_chosen(list(candidates))]


def _list_chosen(candidates: list[Candidate]) -> list[BoundEmail]:
    chosen: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, constraint in waiting_routes.list_constraints():
        if constraint.via or constraint.excluded:
            route = get_book().apply(replace(ANY_ACCOUNT, constraint=constraint))
            allowed = [candidate.config.name for candidate in candidates if not explain_exclusion(candidate, route)]
            chosen[tuple(allowed)].append(name)
    return [
        BoundEmail(accounts=list(accounts), emails=waiting_routes.count_emails(names))
        for accounts, names in chosen.items()
    ]
