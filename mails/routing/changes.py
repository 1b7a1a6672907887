"""Add, change, order and remove routing rules: each with an entry of the audit log and a new version for every process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import transaction

from mails.configuration import mark_changed
from mails.models import RoutingRule
from mails.routing.book import RoutingRules, load_rule
from mails.routing.drafts import RuleDraft, RuleInvalid, shorten
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from providers.accounts import registry

AUDIT_KIND = "routing rule"
MAX_RULES = 200


class RuleNotFound(LookupError):
    """There is no rule of this name or id."""


def list_known_accounts() -> list[str]:
    """Return the names of all accounts. One query."""
    return [candidate.config.name for candidate in registry.load_candidates()]


def find_row(name_or_id: str) -> RoutingRule:
    """Return the rule of this name, or this id. Raises RuleNotFound, which lists the names."""
    rows = {row.name: row for row in RoutingRule.objects.all()}
    by_id = {str(row.pk): row for row in rows.values()}
    found = rows.get(name_or_id) or by_id.get(name_or_id)
    if found is None:
        known = ", ".join(rows) or "none"
        raise RuleNotFound(f"There is no routing rule '{shorten(name_or_id)}'. Known: {known}.")
    return found


def add(draft: RuleDraft, *, by: str, position: int | None = None) -> RoutingRule:
    """Store a new rule at this place of the list, counted from 1; at its end without one. Raises RuleInvalid."""
    with _change() as rows:
        _check_new(rows, draft)
        row = draft.to_row(position=len(rows) + 1, by=by)
        row.save()
        _audit(Act.REGISTER, row, by=by)
        _place(rows, row, position)
    return row


def check_new(draft: RuleDraft) -> None:
    """Raise RuleInvalid if a rule has this name already, or there are as many as there may be. One query."""
    _check_new(list(RoutingRule.objects.all()), draft)


def change(row: RoutingRule, draft: RuleDraft, *, by: str, position: int | None = None) -> RoutingRule:
    """Replace what the rule says, and its place if one is given. Raises RuleInvalid, and RuleNotFound if it is gone."""
    with _change() as rows:
        stored = _find(rows, row)
        _check_name([other for other in rows if other.pk != row.pk], draft)
        new = draft.to_row(position=stored.position, by=by)
        changed = [
            name
            for name in ("name", "enabled", "conditions", "accounts", "note")
            if getattr(new, name) != getattr(stored, name)
        ]
        if changed:
            new.pk = stored.pk
            new.save(force_update=True)
            _audit(Act.CHANGE, new, by=by, what=f"{', '.join(changed)} changed; ")
        _place(rows, new if changed else stored, position)
    return new if changed else stored


def set_enabled(row: RoutingRule, *, enabled: bool, by: str) -> bool:
    """Enable or disable a rule; return False if it was so before."""
    with _change() as rows:
        stored = _find(rows, row)
        if stored.enabled == enabled:
            return False
        stored.enabled, stored.changed_by, stored.changed_at = enabled, by[:160], database_clock.now()
        stored.save(force_update=True)
        _audit(Act.CHANGE, stored, by=by, what="enabled; " if enabled else "disabled; ")
    return True


def move(row: RoutingRule, position: int, *, by: str) -> None:
    """Put the rule at this place of the list, counted from 1; beyond the end means the end."""
    with _change() as rows:
        stored = _find(rows, row)
        before = stored.position
        _place(rows, stored, position)
        _audit(Act.CHANGE, stored, by=by, what=f"place {before} → {stored.position}; ")


def remove(row: RoutingRule, *, by: str) -> None:
    """Delete a rule. Emails that wait under it are matched with the others again."""
    with _change() as rows:
        stored = _find(rows, row)
        _audit(Act.DELETE, stored, by=by)
        RoutingRule.objects.filter(pk=stored.pk).delete()
        _number([other for other in rows if other.pk != stored.pk])


def insert(rows: Sequence[RoutingRule], row: RoutingRule, position: int | None) -> list[RoutingRule]:
    """Return the rules with this one at its place, counted from 1: where it was, or at the end, without one."""
    others = [other for other in rows if other.pk is None or other.pk != row.pk]
    if position is None:
        position = next((number for number, other in enumerate(rows, 1) if other.pk == row.pk), len(rows) + 1)
    place = max(0, min(position - 1, len(others)))
    return [*others[:place], row, *others[place:]]


@contextmanager
def _change() -> Iterator[list[RoutingRule]]:
    """Lock all rules for a change, and make a new version of them: one change at a time, so that places stay in order."""
    with transaction.atomic():
        mark_changed(RoutingRules)  # its row is the lock of all rules
        yield list(RoutingRule.objects.all())


def _check_new(rows: Sequence[RoutingRule], draft: RuleDraft) -> None:
    if len(rows) >= MAX_RULES:
        raise RuleInvalid({"": f"There are {MAX_RULES} rules already: remove one, or join some."})
    _check_name(rows, draft)


def _check_name(others: Sequence[RoutingRule], draft: RuleDraft) -> None:
    if any(other.name == draft.name for other in others):
        raise RuleInvalid({"name": f"A rule '{draft.name}' exists already. Choose another name."})


def _find(rows: Sequence[RoutingRule], row: RoutingRule) -> RoutingRule:
    found = next((stored for stored in rows if stored.pk == row.pk), None)
    if found is None:
        raise RuleNotFound(f"The routing rule '{row.name}' was removed by someone else just now.")
    return found


def _place(rows: Sequence[RoutingRule], row: RoutingRule, position: int | None) -> None:
    _number(insert(rows, row, position))


def _number(rows: Sequence[RoutingRule]) -> None:
    for number, row in enumerate(rows, 1):
        if row.position != number:
            row.position = number
            RoutingRule.objects.filter(pk=row.pk).update(position=number)


def _audit(act: Act, row: RoutingRule, *, by: str, what: str = "") -> None:
    rule = load_rule(row)
    detail = f"{what}{rule.sentence}" if rule else what
    audit.record(act, by=by, kind=AUDIT_KIND, name=row.name, object_id=row.pk, detail=detail)
