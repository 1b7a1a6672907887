"""Conditions compared: which of two is wider, and an email that meets some. Pure."""

from mails.conditions.conditions import BELOW, Conditions, MailFacts, Range, is_in_domains, matches
from mails.queues import QueueName

_USUAL_SIZE = 2000  # bytes of an example


def covers(wide: Conditions, narrow: Conditions) -> bool:
    """Return True if every email that meets `narrow` meets `wide` too. May be False where that takes more than one look."""
    return (
        _covers_words(wide.queue, narrow.queue)
        and _covers_words(wide.api_key, narrow.api_key)
        and _covers_words(wide.tag, narrow.tag)
        and _covers_domains(wide.sender_domain, narrow.sender_domain)
        and _covers_domains(wide.recipient_domain, narrow.recipient_domain)
        and _covers_range(wide.size, narrow.size)
        and _covers_range(wide.recipients, narrow.recipients)
    )


def build_example(conditions: Conditions) -> MailFacts:
    """Return the facts of an email that meets these conditions."""
    sender = _make_domain(conditions.sender_domain, "olimpus.com")
    recipient = _make_domain(conditions.recipient_domain, "example.com")
    return MailFacts(
        sender_domain=sender,
        recipient_domains=frozenset({recipient}),
        tags=frozenset(conditions.tag[:1]),
        queue=conditions.queue[0] if conditions.queue else QueueName.TEXT,
        api_key=conditions.api_key[0] if conditions.api_key else "",
        size=_choose_size(conditions.size),
        recipients=max(conditions.recipients.least or 1, 1),
    )


def find_overlap(first: Conditions, second: Conditions) -> MailFacts | None:
    """Return the facts of an email that meets both; None if there is none, or none as simple as an example."""
    for one, other in ((first, second), (second, first)):
        example = build_example(one)
        if matches(other, example):
            return example
    return None


def describe_example(facts: MailFacts) -> str:
    """Return an example as a person would describe it: "an email from zeus@olimpus.com to hera@example.com"."""
    recipients = ", ".join(f"hera@{domain}" for domain in sorted(facts.recipient_domains))
    more = [
        f"tagged {', '.join(sorted(facts.tags))}" if facts.tags else "",
        f"with the API key {facts.api_key}" if facts.api_key else "",
        f"in the queue {facts.queue}" if facts.queue != QueueName.TEXT else "",
        f"of {facts.size} bytes" if facts.size != _USUAL_SIZE else "",
        f"with {facts.recipients} recipients" if facts.recipients > 1 else "",
    ]
    return ", ".join(filter(None, [f"an email from zeus@{facts.sender_domain} to {recipients}", *more]))


def _covers_words(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


def _covers_domains(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return not wide or (bool(narrow) and all(_is_covered(domain, wide) for domain in narrow))


def _is_covered(pattern: str, wide: tuple[str, ...]) -> bool:
    if not pattern.startswith(BELOW):
        return is_in_domains(pattern, wide)
    return pattern in wide or is_in_domains(pattern.removeprefix(BELOW), [p for p in wide if p.startswith(BELOW)])


def _covers_range(wide: Range, narrow: Range) -> bool:
    least = wide.least is None or (narrow.least is not None and narrow.least >= wide.least)
    most = wide.most is None or (narrow.most is not None and narrow.most <= wide.most)
    return least and most


def _choose_size(size: Range) -> int:
    if size.includes(_USUAL_SIZE):
        return _USUAL_SIZE
    return size.least if size.least is not None else size.most or 0


def _make_domain(patterns: tuple[str, ...], usual: str) -> str:
    return (
        f"mail.{patterns[0].removeprefix(BELOW)}"
        if patterns and patterns[0].startswith(BELOW)
        else (patterns or (usual,))[0]
    )
