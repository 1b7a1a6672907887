"""A rule among the others, as it would be: what is odd about it, and the book with it. Reads, and writes nothing."""

from mails.models import ApiKey, RoutingRule
from mails.routing.advice import find_oddities
from mails.routing.book import Rule, RuleBook, load_rule
from mails.routing.changes import insert
from providers.accounts import registry


def list_rules(draft: RoutingRule | None = None, position: int | None = None) -> list[RoutingRule]:
    """Return all rules in order; with `draft`, as they would be with it, which replaces the one of its id or its name."""
    rows = list(RoutingRule.objects.all())
    if draft is None:
        return rows
    same = next((row for row in rows if row.pk == draft.pk), None) or next(
        (row for row in rows if row.name == draft.name), None
    )
    if same is not None:
        draft.pk = same.pk
    return insert(rows, draft, position)


def build_book(rows: list[RoutingRule]) -> RuleBook:
    """Return these rules as a book; a rule that is not stored has the id 0."""
    return RuleBook.build(_load(rows))


def find_warnings(rows: list[RoutingRule], row: RoutingRule) -> list[str]:
    """Return what is odd about this rule among all of them, each in a sentence with an example. Two queries."""
    rules = _load(rows)
    rule = next((rule for rule in rules if rule.name == row.name), None)
    if rule is None:
        return []
    key_names = set(ApiKey.objects.filter(revoked_at=None).values_list("name", flat=True))
    return find_oddities(rules, rule, candidates=registry.load_candidates(), key_names=key_names)


def find_all_warnings(rows: list[RoutingRule]) -> dict[str, list[str]]:
    """Return what is odd about each rule, by name. Two queries."""
    rules, candidates = _load(rows), registry.load_candidates()
    key_names = set(ApiKey.objects.filter(revoked_at=None).values_list("name", flat=True))
    return {rule.name: find_oddities(rules, rule, candidates=candidates, key_names=key_names) for rule in rules}


def _load(rows: list[RoutingRule]) -> list[Rule]:
    return [rule for row in rows if (rule := load_rule(row)) is not None]
