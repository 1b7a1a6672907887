"""The preview of a routing decision: which rule and which account an email would get now, and why no other. Stores nothing.

It asks the dispatcher's own code (`providers.routing.choose`) with what all processes know now. The draw itself is left out:
each account that takes part has its share of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mails.conditions.conditions import MailFacts, matches
from mails.conditions.wording import explain_mismatch
from mails.intake.client import Client
from mails.intake.judge import Judge
from mails.intake.receipts import Refused
from mails.intake.submission import Submission
from mails.models import Mail
from mails.obstacles import Obstacles, SendingConditions
from mails.routing.book import Rule, RuleBook
from mails.routing.facts import build_facts, load_facts
from mails.routing.load import build_load
from mails.states import DUE
from providers.kinds.capabilities import read_needs
from providers.routing.choose import ComparedAccount, Shortlist
from providers.routing.refusing_accounts import load_refusals
from providers.routing.rules import NO_TRAITS, Route, RoutingConstraint


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCheck:
    """One rule, asked in its order. `why_not`: empty for the rule that decides, and for those behind it."""

    rule: Rule
    decides: bool = False
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedAccount:
    """One account of the decision. `share`: its part of the draw, from 0 to 1. `refuses`: what, if it refuses every request."""

    account: str
    eligible: bool
    share: float
    weight: int
    priority: int
    note: str
    refuses: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePreview:
    """What would happen to an email now."""

    queue: str
    facts: MailFacts
    rules: tuple[RuleCheck, ...]
    accounts: tuple[PreviewedAccount, ...]
    can_carry: bool = True  # False: no account that it may use can carry such a message
    via: str = ""  # the account that a person chose: no rule counts
    rule: Rule | None = None  # the one that decides
    paused: str = ""  # a sentence, where a pause keeps it
    tried: tuple[str, ...] = ()  # accounts that refused it in this round

    @property
    def sentence(self) -> str:
        """Return the answer in a sentence."""
        first = sorted((account for account in self.accounts if account.share), key=lambda account: -account.share)
        why = f" by the rule '{self.rule.name}'" if self.rule else ""
        if not first:
            if not self.can_carry:
                return f"No account that it may use{why} can carry this email: it would be refused."
            return f"No account could take this email now{why}: it would wait."
        if len(first) == 1:
            return f"This email would go to {first[0].account}{why}."
        shares = ", ".join(f"{account.account} ({account.share:.0%})" for account in first[:-1])
        return f"This email would go to {shares} or {first[-1].account} ({first[-1].share:.0%}){why}."

    def to_json(self) -> dict[str, Any]:
        """Return the preview as the API and the command show it."""
        return {
            "sentence": self.sentence,
            "queue": str(self.queue),
            "paused": self.paused,
            "rule": self.rule.name if self.rule else None,
            "via": self.via or None,
            "rules": [
                {
                    "rule": check.rule.name,
                    "sentence": check.rule.sentence,
                    "decides": check.decides,
                    "why_not": check.why_not,
                }
                for check in self.rules
            ],
            "accounts": [asdict(account) for account in self.accounts],
        }


def preview_submission(
    fields: Mapping[str, object], *, client: Client, book: RuleBook, conditions: SendingConditions
) -> RoutePreview | Refused:
    """Return what would happen to this email, or why it would be refused. `client`: who would submit it."""
    draft = Judge(client).judge(Submission(fields=fields))
    if draft.refused is not None:
        return draft.refused
    assert draft.new is not None  # noqa: S101 (what is not refused is accepted)
    mail, message = draft.new.mail, draft.new.message
    facts = build_facts(
        sender=message.sender,
        addresses=[recipient.address for recipient in message.recipients],
        tags=message.tags,
        queue=mail.queue,
        api_key=client.api_key.name if client.api_key else "",
        size=mail.size,
    )
    return _add_refusals(
        preview(facts, Route(traits=read_needs(mail.needs) or NO_TRAITS), book, conditions), conditions
    )


def preview_mail(mail: Mail, *, book: RuleBook, conditions: SendingConditions) -> RoutePreview:
    """Return what would happen to this stored email if it were due now. Four queries."""
    is_due = mail.status in DUE and mail.next_attempt_at is not None and mail.next_attempt_at <= conditions.now
    route = Route(
        traits=read_needs(mail.needs) or NO_TRAITS,
        constraint=RoutingConstraint.from_blob(mail.routing_constraint or {}),
        tried=tuple(mail.tried) if is_due else (),
    )
    return _add_refusals(preview(load_facts([mail.pk])[mail.pk], route, book, conditions), conditions)


def _add_refusals(found: RoutePreview, conditions: SendingConditions) -> RoutePreview:
    refusals = load_refusals(conditions.candidates, conditions.now)
    return replace(
        found,
        accounts=tuple(replace(account, refuses=refusals.get(account.account, "")) for account in found.accounts),
    )


def preview(facts: MailFacts, route: Route, book: RuleBook, conditions: SendingConditions) -> RoutePreview:
    """Return what the dispatcher would decide of this email under these rules. Pure.

    `route`: what the message needs, what a person chose for it, and the accounts that refused it in this round.
    """
    constraint = route.constraint
    rule = None if constraint.via else book.match(facts)
    route = book.apply(replace(route, constraint=replace(constraint, rule=rule.id if rule else None)))
    load = build_load(
        conditions.candidates,
        in_flight=conditions.in_flight,
        now=conditions.now,
        count_recipients=lambda: facts.recipients,
    )
    ranking = Shortlist.build(conditions.candidates, conditions.now, route).rank(load)
    allowed = [account for account in ranking.evaluated if not account.excluded]
    active = conditions.pauses
    paused = Obstacles(sending_pause=active.all_sending, queue_pause=active.get(facts.queue))
    return RoutePreview(
        queue=facts.queue,
        facts=facts,
        rule=rule,
        rules=tuple(_check(book, facts, rule)),
        accounts=tuple(_describe(account, ranking.total) for account in ranking.accounts),
        can_carry=not allowed or not all(account.cannot_carry for account in allowed),
        via=constraint.via,
        paused=" ".join(paused.sentences),
        tried=route.tried,
    )


def _check(book: RuleBook, facts: MailFacts, decides: Rule | None) -> list[RuleCheck]:
    checks = []
    is_decided = False
    for rule in book.rules:
        if decides is not None and rule.id == decides.id:
            checks.append(RuleCheck(rule=rule, decides=True))
            is_decided = True
        elif not rule.enabled:
            checks.append(RuleCheck(rule=rule, why_not="it is disabled"))
        elif is_decided and matches(rule.conditions, facts):
            checks.append(RuleCheck(rule=rule, why_not="it matches too, and a rule before it decides"))
        else:
            why = explain_mismatch(rule.conditions, facts) or "a person chose the account, which goes before every rule"
            checks.append(RuleCheck(rule=rule, why_not=why))
    return checks


def _describe(account: ComparedAccount, total: int) -> PreviewedAccount:
    evaluation = account.evaluation
    return PreviewedAccount(
        account=evaluation.account,
        eligible=evaluation.eligible,
        share=evaluation.weight / total if account.goes_first else 0.0,
        weight=evaluation.weight,
        priority=evaluation.priority,
        note=evaluation.note,
    )
