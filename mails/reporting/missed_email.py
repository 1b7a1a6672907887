"""Emails that other accounts accepted, and that an account which accepted none could have got: a sign that it fails silently.

An email counts only for the accounts that may get it before or beside the one that did: its routing rule, the choice of a
person and the priorities of accounts say so. A reserve that nobody needs misses nothing.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mails.dispatch.due import routes
from mails.reporting import recent_attempts
from mails.routing.book import get_book
from providers.accounts.registry import Candidate
from providers.routing.rules import Route, explain_exclusion, explain_missing


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedEmail:
    """What an account missed. `fair_share`: how many of these emails its weight would have given it."""

    emails: int
    fair_share: float


class _Place(NamedTuple):
    """Place of an account in the draw for an email."""

    priority: int
    weight: int


def count_missed(names: Collection[str], candidates: Sequence[Candidate], since: dt.datetime) -> dict[str, MissedEmail]:
    """Return what each of these accounts missed since then, as the last attempts of all accounts tell. One query; none without names."""
    if not names:
        return {}
    emails: Counter[str] = Counter()
    shares: dict[str, float] = defaultdict(float)
    for (account, route), count in recent_attempts.count_accepted(since).items():
        places = _list_places(candidates, get_book().apply(routes.parse_route(route).accounts))
        for name in names:
            share = _compute_share(name, account, places)
            if share:
                emails[name] += count
                shares[name] += count * share
    return {name: MissedEmail(emails=emails[name], fair_share=shares[name]) for name in emails}


def _list_places(candidates: Sequence[Candidate], route: Route) -> dict[str, _Place]:
    """Return the places of all accounts that emails of this route may use, whether they can take one now or not."""
    places = {}
    for candidate in candidates:
        config = candidate.config
        is_used = candidate.enabled and candidate.configured and config.weight
        if is_used and not explain_exclusion(candidate, route) and not explain_missing(config, route):
            share = route.constraint.get_share(config.name)
            places[config.name] = _Place(share.get_priority(config), share.get_weight(config))
    return places


def _compute_share(name: str, account: str, places: Mapping[str, _Place]) -> float:
    """Return which share of the emails that `account` accepted would have been drawn for the account with this name."""
    if name not in places or name == account:
        return 0.0
    own = places[name]
    if account in places and places[account].priority < own.priority:
        return 0.0
    return own.weight / max(1, sum(place.weight for place in places.values() if place.priority == own.priority))
