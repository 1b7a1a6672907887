"""Rules that pick the queue of an email, before the classes that Mercury knows by itself.

`bulk` that a client asks for is not changed by any rule: nobody else can know that an email may wait.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
from django.db import transaction

from mails import configuration
from mails.conditions.comparison import build_example, covers, describe_example
from mails.conditions.conditions import Conditions, MailFacts, matches
from mails.conditions.parsing import load_conditions, parse_conditions
from mails.conditions.wording import explain
from mails.configuration import Configuration
from mails.models import ApiKey, QueueRule
from mails.queues import QueueName
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)

NEVER_BULK = (
    "No email can match: an email is in the queue bulk only if its client asks for that, and then no rule changes it. "
    "Remove bulk from the condition."
)


class QueueRuleInvalid(ValueError):
    """No email can match the rule. The text says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as it applies. `conditions`: None if this version of Mercury does not understand them; then it matches nothing."""

    name: str
    conditions: Conditions | None
    queue: str


class QueueRules(Configuration[Sequence[Rule]]):
    """The enabled rules, in their order."""

    name = "queue rules"
    empty: Sequence[Rule] = ()

    def load(self) -> Sequence[Rule]:
        """Read them. One query."""
        return [build(row) for row in QueueRule.objects.filter(enabled=True)]


def build(row: QueueRule) -> Rule:
    """Return the rule of this row."""
    return Rule(name=row.name, conditions=load_conditions(row.conditions), queue=row.queue)


def describe_conditions(row: QueueRule) -> str:
    """Return which emails the rule matches, as a phrase."""
    conditions = load_conditions(row.conditions)
    return "nothing: its conditions cannot be read" if conditions is None else explain(conditions)


def read() -> Sequence[Rule]:
    """Return the enabled rules, in their order, as they are or were two seconds ago. From memory."""
    return process_state.get(QueueRules).read()


def find(rules: Iterable[Rule], facts: MailFacts) -> Rule | None:
    """Return the first rule that the email meets; None if it meets none, or if its client asked for `bulk`."""
    if facts.queue == QueueName.BULK:
        return None
    return next((rule for rule in rules if rule.conditions is not None and matches(rule.conditions, facts)), None)


def check(given: object) -> Conditions:
    """Return the conditions of a rule. Raises ConditionsInvalid or QueueRuleInvalid where no email can match."""
    conditions = parse_conditions(given)
    if conditions.queue == (QueueName.BULK,):
        raise QueueRuleInvalid(NEVER_BULK)
    return conditions


def list_warnings(rules: Sequence[Rule]) -> list[str]:
    """Return what is probably wrong with these rules, in their order: one that no email reaches, or a key that does not exist.

    One query, if a rule names API keys.
    """
    named = {key for rule in rules if rule.conditions for key in rule.conditions.api_key}
    known = set(ApiKey.objects.filter(name__in=named).values_list("name", flat=True)) if named else set()
    warnings = []
    for number, rule in enumerate(rules):
        if rule.conditions is None:
            warnings.append(f"Rule {rule.name} matches nothing: this version of Mercury cannot read its conditions.")
            continue
        if first := _find_covering(rules[:number], rule.conditions):
            example = describe_example(build_example(rule.conditions))
            warnings.append(
                f"Rule {rule.name} decides nothing: every email that it matches meets {first.name} first, for example {example}. "
                f"Put {rule.name} before {first.name}, or delete it."
            )
        warnings += [
            f"Rule {rule.name} names the API key '{key}', which does not exist. Correct the name, or create the key."
            for key in rule.conditions.api_key
            if key not in known
        ]
    return warnings


def _find_covering(earlier: Iterable[Rule], conditions: Conditions) -> Rule | None:
    return next(
        (rule for rule in earlier if rule.conditions is not None and covers(rule.conditions, conditions)),
        None,
    )


def save(row: QueueRule, *, by: str) -> None:
    """Store a rule. Processes follow within two seconds."""
    row.changed_by = by
    with transaction.atomic():
        row.save()
        configuration.mark_changed(QueueRules)
    log.warning("queue_rule_changed", rule=row.name, queue=row.queue, enabled=row.enabled, by=by)


def delete(rows: Iterable[QueueRule], *, by: str) -> None:
    """Delete rules. Processes follow within two seconds."""
    with transaction.atomic():
        for row in rows:
            log.warning("queue_rule_deleted", rule=row.name, by=by)
            row.delete()
        configuration.mark_changed(QueueRules)
