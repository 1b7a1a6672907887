"""What an email needs to be sent now: accounts that it may use and that are available, and no pause."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mails import pauses
from mails.actions.wording import join_names
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice
from mails.models import Mail
from mails.pauses import ActivePauses
from mails.routing.book import get_book
from mails.routing.facts import load_facts
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.health.breaker import check_permission
from providers.routing.policy import AccountPolicy
from providers.routing.refusing_accounts import load_refusals
from providers.routing.rules import RoutingConstraint


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions for an email to be sent now: the usable accounts, those available of them, and active pauses.

    `refusing`: the usable accounts that refuse every request. `policy`: of the routing rule that the email matches, unless a
    person chose its accounts.
    """

    healthy: Sequence[Candidate]
    usable: Collection[str]
    pauses: ActivePauses
    refusing: Collection[str] = ()
    account_choice: AccountChoice = EVERY_ACCOUNT
    policy: AccountPolicy | None = None

    def restrict(
        self, account_choice: AccountChoice, untried: Collection[str], policy: AccountPolicy | None
    ) -> "Conditions":
        """Return the conditions of an email that goes through these accounts only, and through those of its rule."""
        allowed = set(self.usable)
        if account_choice.via:
            allowed, policy = set(account_choice.names), None
        elif account_choice.not_tried:
            allowed = set(untried)
        if policy is not None:
            allowed.intersection_update(policy.accounts)
        healthy = [candidate for candidate in self.healthy if candidate.config.name in allowed]
        return replace(
            self,
            healthy=healthy,
            usable=allowed,
            refusing=allowed.intersection(self.refusing),
            account_choice=account_choice,
            policy=policy,
        )

    def restrict_to(self, mail: Mail, policy: AccountPolicy | None) -> "Conditions":
        """Return the conditions of an email that continues, with the accounts that its last reprocess chose."""
        constraint = RoutingConstraint.from_blob(mail.routing_constraint or {})
        account_choice = AccountChoice(via=constraint.via, not_tried=bool(constraint.excluded))
        return self.restrict(account_choice, set(self.usable).difference(constraint.excluded), policy)

    @property
    def availability(self) -> str:
        """Which accounts are available: `2 of 3 accounts available`, `no account available`, `hades is available`.

        And which refuse every request: `1 of 2 accounts available, hades refuses every request`.
        """
        verb = "refuses" if len(self.refusing) == 1 else "refuse"
        refusing = f", {join_names(self.refusing)} {verb} every request" if self.refusing else ""
        return f"{self._count_healthy()}{refusing}"

    def _count_healthy(self) -> str:
        if len(self.account_choice.names) == 1:
            return f"{self.account_choice.via} is {'available' if self.healthy else 'not available'}"
        untried = "untried " if self.account_choice.not_tried else ""
        of_rule = f" of routing rule '{self.policy.rule}'" if self.policy is not None else ""
        if not self.healthy:
            return f"no {untried}account{of_rule} available"
        return f"{len(self.healthy)} of {len(self.usable)} {untried}accounts{of_rule} available"

    def describe(self, queue: str) -> str:
        """Return what this means for an email of this queue, in a sentence."""
        if self.pauses.all_sending:
            return "Sending is paused: the email waits until sending is resumed."
        if self.pauses.get(queue):
            return f"Queue {queue} is paused: the email waits until the queue is resumed."
        if not self.healthy:
            return f"The email waits: {self.availability}."
        return f"{self.availability[0].upper()}{self.availability[1:]}."


def load_conditions() -> Conditions:
    """Return the accounts that can take an email now, and the active pauses."""
    usable = [candidate for candidate in registry.load_candidates() if candidate.usable]
    now = database_clock.now()
    refusing = load_refusals(usable, now)
    healthy = [
        candidate
        for candidate in usable
        if check_permission(candidate.breaker, now).allowed and candidate.config.name not in refusing
    ]
    names = frozenset(candidate.config.name for candidate in usable)
    return Conditions(healthy=healthy, usable=names, pauses=pauses.load_active(), refusing=frozenset(refusing))


def find_policies(mail_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, AccountPolicy]:
    """Return what the routing rules say of these emails now; an email that none decides is not in it."""
    book = get_book()
    if not book.policies:
        return {}
    rules_found = ((mail_id, book.match(facts)) for mail_id, facts in load_facts(mail_ids).items())
    return {mail_id: rule.policy for mail_id, rule in rules_found if rule is not None}
