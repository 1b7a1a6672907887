"""Rules that pick the queue of an email, before the classes that Mercury knows by itself.

`bulk` that a client asks for is not changed by any rule: nobody else can know that an email may wait.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction

from mails import configuration
from mails.conditions.comparison import build_example, covers, describe_example
from mails.conditions.conditions import Conditions, MailFacts, matches
from mails.conditions.parsing import ConditionsInvalid, dump_conditions, load_conditions, parse_conditions
from mails.conditions.wording import explain
from mails.configuration import Configuration
from mails.models import ApiKey, QueueRule
from mails.queues import QueueName
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from mercury.lib.mail.printable import find_unprintable
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)

NEVER_BULK = (
    "No email can match: an email is in the queue bulk only if its client asks for that, and then no rule changes it. "
    "Remove bulk from the condition."
)


FIELDS = ("name", "conditions", "queue", "enabled", "position")
MAX_RULES = 200
AUDIT_KIND = "queue rule"
_MAX_NAME, _MAX_POSITION = 64, 2**31 - 1


class QueueRuleInvalid(ValueError):
    """The rule cannot be stored; `errors` says why, by place, such as `conditions.size`."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{place}: {problem}" if place else problem for place, problem in errors.items()))


class QueueRuleNotFound(LookupError):
    """There is no rule of this name."""


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


def describe(row: QueueRule) -> str:
    """Return the rule in one sentence."""
    who = describe_conditions(row)
    return f"{who[0].upper()}{who[1:]}{',' if ',' in who else ''} goes to the queue {row.queue}."


def check(given: object) -> Conditions:
    """Return the conditions of a rule. Raises ConditionsInvalid, also where no email can match."""
    conditions = parse_conditions(given)
    if conditions.queue == (QueueName.BULK,):
        raise ConditionsInvalid({"queue": NEVER_BULK})
    return conditions


def read_rule(given: Mapping[str, Any], before: QueueRule | None = None) -> QueueRule:
    """Return the rule that this JSON object describes, not stored: a new one, or `before` with what the object changes.

    Raises QueueRuleInvalid with each error and its place.
    """
    row = copy(before) if before else QueueRule()
    for field in FIELDS:
        if field in given:
            setattr(row, field, given[field])
    errors = {field: problem for field, problem in _find_errors(row).items() if problem}
    try:
        row.conditions = dump_conditions(check(row.conditions))
    except ConditionsInvalid as refused:
        errors |= {f"conditions.{place}" if place else "conditions": text for place, text in refused.errors.items()}
    if errors:
        raise QueueRuleInvalid(errors)
    return row


def _find_errors(row: QueueRule) -> dict[str, str]:
    """Return what is wrong with each field but the conditions; empty for nothing."""
    name, position = row.name, row.position
    has_name = isinstance(name, str) and name.strip() and len(name) <= _MAX_NAME and not find_unprintable(name)
    is_number = isinstance(position, int) and not isinstance(position, bool) and 0 <= position <= _MAX_POSITION
    return {
        "name": "" if has_name else f"A name is a line of 1 to {_MAX_NAME} characters, such as news.",
        "queue": "" if row.queue in QueueName.values else f"It must be one of: {', '.join(QueueName.values)}.",
        "enabled": "" if isinstance(row.enabled, bool) else "It must be true or false.",
        "position": ""
        if is_number
        else f"It must be a whole number from 0 to {_MAX_POSITION}; the smallest goes first.",
    }


def find_row(name: str) -> QueueRule:
    """Return the rule of this name. Raises QueueRuleNotFound, which lists the names."""
    rows = {row.name: row for row in QueueRule.objects.all()}
    if name not in rows:
        raise QueueRuleNotFound(f"There is no queue rule '{name}'. Known: {', '.join(rows) or 'none'}.")
    return rows[name]


def list_warnings(rows: Iterable[QueueRule], *, about: str = "") -> list[str]:
    """Return what is probably wrong with these rules, in their order: one that no email reaches, or a key that does not exist.

    `about`: only what has to do with the rule of this name. One query, if a rule names API keys.
    """
    rules = [build(row) for row in sorted(rows, key=lambda row: (row.position, row.pk or 0)) if row.enabled]
    named = {key for rule in rules if rule.conditions for key in rule.conditions.api_key}
    known = set(ApiKey.objects.filter(name__in=named).values_list("name", flat=True)) if named else set()
    return [
        text
        for number, rule in enumerate(rules)
        for names, text in _warn(rule, rules[:number], known)
        if not about or about in names
    ]


def _warn(rule: Rule, earlier: Sequence[Rule], known_keys: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is probably wrong with a rule, each with the names of the rules that it is about."""
    if rule.conditions is None:
        yield (rule.name,), f"Rule {rule.name} matches nothing: this version of Mercury cannot read its conditions."
        return
    if first := _find_covering(earlier, rule.conditions):
        example = describe_example(build_example(rule.conditions))
        text = (
            f"Rule {rule.name} decides nothing: every email that it matches meets {first.name} first, for example {example}. "
            f"Put {rule.name} before {first.name}, or delete it."
        )
        yield (rule.name, first.name), text
    for key in rule.conditions.api_key:
        if key not in known_keys:
            text = f"Rule {rule.name} names the API key '{key}', which does not exist. Correct the name, or create the key."
            yield (rule.name,), text


def _find_covering(earlier: Iterable[Rule], conditions: Conditions) -> Rule | None:
    return next(
        (rule for rule in earlier if rule.conditions is not None and covers(rule.conditions, conditions)),
        None,
    )


def check_place(row: QueueRule) -> None:
    """Raise QueueRuleInvalid if another rule has its name, or there are too many for a new one. One query."""
    others = set(QueueRule.objects.exclude(pk=row.pk).values_list("name", flat=True))
    if row.name in others:
        raise QueueRuleInvalid({"name": f"A rule '{row.name}' exists already. Choose another name."})
    if row._state.adding and len(others) >= MAX_RULES:
        raise QueueRuleInvalid({"": f"There are {MAX_RULES} rules already: delete one, or join some."})


def save(row: QueueRule, *, by: str) -> None:
    """Store a rule, new or changed. Processes follow within two seconds.

    Raises QueueRuleInvalid if another one has its name or there are too many, and QueueRuleNotFound if it was deleted.
    """
    is_new = row._state.adding
    row.changed_by, row.changed_at = by[:160], database_clock.now()
    with transaction.atomic():
        configuration.mark_changed(QueueRules)  # its row is the lock of all rules
        check_place(row)
        if not is_new and not QueueRule.objects.filter(pk=row.pk).exists():
            raise QueueRuleNotFound(f"The queue rule '{row.name}' was deleted by someone else just now.")
        row.save(force_insert=is_new, force_update=not is_new)
        state = "" if row.enabled else "disabled; "
        _audit(Act.REGISTER if is_new else Act.CHANGE, row, by=by, detail=f"{state}{describe(row)}")
    log.warning("queue_rule_changed", rule=row.name, queue=row.queue, enabled=row.enabled, by=by)


def delete(rows: Iterable[QueueRule], *, by: str) -> None:
    """Delete rules. Processes follow within two seconds."""
    with transaction.atomic():
        configuration.mark_changed(QueueRules)
        for row in rows:
            _audit(Act.DELETE, row, by=by, detail=describe(row))
            QueueRule.objects.filter(pk=row.pk).delete()
            log.warning("queue_rule_deleted", rule=row.name, by=by)


def _audit(act: Act, row: QueueRule, *, by: str, detail: str) -> None:
    audit.record(act, by=by, kind=AUDIT_KIND, name=row.name, object_id=row.pk, detail=detail)
