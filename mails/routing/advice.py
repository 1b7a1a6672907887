"""What is odd about a routing rule, though it can be stored: it may never decide, or leave emails without an account. Pure."""

from collections.abc import Collection, Iterator, Sequence

from django.conf import settings

from mails.conditions.comparison import build_example, covers, describe_example, find_overlap
from mails.routing.book import Rule
from providers.accounts.registry import Candidate


def find_oddities(
    rules: Sequence[Rule], rule: Rule, *, candidates: Sequence[Candidate], key_names: Collection[str]
) -> list[str]:
    """Return what is odd about this rule among all of them, in their order; each in a sentence with an example.

    `candidates`: all accounts; `key_names`: of all API keys.
    """
    if not rule.enabled:
        return []
    return [
        *_find_useless_accounts(rule, candidates),
        *_find_unknown_keys(rule, key_names),
        *_find_limits(rule),
        *_find_earlier(rules, rule),
        *_find_later(rules, rule),
    ]


def explain_useless(candidate: Candidate | None) -> str:
    """Return why no email can go through an account until a person changes it; empty if it can. None: no such account."""
    if candidate is None:
        return "no such account"
    if not candidate.enabled:
        return "disabled"
    if not candidate.configured:
        return "without options in this process"
    return "weight 0" if candidate.config.weight == 0 else ""


def _find_useless_accounts(rule: Rule, candidates: Sequence[Candidate]) -> Iterator[str]:
    known = {candidate.config.name: candidate for candidate in candidates}
    problems = {name: explain_useless(known.get(name)) for name in rule.policy.accounts}
    useless = {name: problem for name, problem in problems.items() if problem}
    named = ", ".join(f"{name} ({problem})" for name, problem in useless.items())
    if len(useless) == len(problems):
        example = describe_example(build_example(rule.conditions))
        yield f"None of its accounts can be used: {named}. Every email it matches waits, such as {example}."
    elif useless:
        yield f"It names accounts that are not used now: {named}."


def _find_unknown_keys(rule: Rule, key_names: Collection[str]) -> Iterator[str]:
    if unknown := [name for name in rule.conditions.api_key if name not in key_names]:
        yield f"No API key is named {' or '.join(unknown)}: until there is one, no email matches by it."


def _find_limits(rule: Rule) -> Iterator[str]:
    most = settings.MERCURY_MAX_RECIPIENTS
    least = rule.conditions.recipients.least
    if least is not None and least > most:
        yield f"No email can match: it asks for {least} recipients, and MERCURY_MAX_RECIPIENTS allows {most}."


def _find_earlier(rules: Sequence[Rule], rule: Rule) -> Iterator[str]:
    """Yield what rules before it do to it: one that covers it leaves it nothing."""
    for earlier in rules:
        if earlier.id == rule.id:
            return
        if not earlier.enabled:
            continue
        if covers(earlier.conditions, rule.conditions):
            example = describe_example(build_example(rule.conditions))
            yield f"It never decides: every email it matches, such as {example}, matches '{earlier.name}' first."
            return
        overlap = find_overlap(rule.conditions, earlier.conditions)
        if overlap is not None and _contradict(rule, earlier):
            yield (
                f"It contradicts '{earlier.name}', which goes first: {describe_example(overlap)} matches both, and they "
                "allow no account in common."
            )


def _find_later(rules: Sequence[Rule], rule: Rule) -> Iterator[str]:
    """Yield the rules behind it that it leaves nothing."""
    behind = iter(rules)
    for other in behind:
        if other.id == rule.id:
            break
    for later in behind:
        if later.enabled and covers(rule.conditions, later.conditions):
            example = describe_example(build_example(later.conditions))
            yield f"'{later.name}' behind it never decides: {example} matches this rule first."


def _contradict(rule: Rule, other: Rule) -> bool:
    return set(rule.policy.accounts).isdisjoint(other.policy.accounts)
