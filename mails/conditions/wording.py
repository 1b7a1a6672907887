"""Conditions as sentences, and why an email does not meet them. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from mails.conditions.conditions import Conditions, MailFacts, Range, is_in_domains
from mercury.lib.durations import format_size

NAMED_AT_MOST = 5  # entries of a list in a sentence


def explain(conditions: Conditions) -> str:
    """Return the conditions as one phrase: "email from olimpus.com to hera.gr or zeus.gr, tagged invoice"."""
    parts = [
        _join(" from ", conditions.sender_domain),
        _join(" to ", conditions.recipient_domain),
        _join(", tagged ", conditions.tag),
        _join(", in the queue ", conditions.queue),
        _join(", submitted with the API key ", conditions.api_key),
        _explain_range(", of ", _explain_size(conditions.size)),
        _explain_range(", with ", _explain_recipients(conditions.recipients)),
    ]
    text = "".join(parts).removeprefix(",")
    return f"email{text}" if text else "every email"


def explain_mismatch(conditions: Conditions, facts: MailFacts) -> str:
    """Return the first condition that the email does not meet, and what it has instead; empty if it meets all."""
    return next(_list_mismatches(conditions, facts), "")


def _list_mismatches(conditions: Conditions, facts: MailFacts) -> Iterator[str]:
    """Yield each condition that the email does not meet."""
    senders, recipients = conditions.sender_domain, conditions.recipient_domain
    if senders and not is_in_domains(facts.sender_domain, senders):
        yield f"the sender's domain is {facts.sender_domain or 'empty'}, not {_list(senders)}"
    if recipients and not any(is_in_domains(domain, recipients) for domain in facts.recipient_domains):
        yield f"no recipient is at {_list(recipients)}"
    if conditions.tag and facts.tags.isdisjoint(conditions.tag):
        yield f"it has no tag {_list(conditions.tag)}"
    if conditions.queue and facts.queue not in conditions.queue:
        yield f"its queue is {facts.queue or 'not known'}, not {_list(conditions.queue)}"
    if conditions.api_key and facts.api_key not in conditions.api_key:
        how = f"with the API key {facts.api_key}" if facts.api_key else "without an API key"
        yield f"it was submitted {how}, not with {_list(conditions.api_key)}"
    if not conditions.size.includes(facts.size):
        yield f"it has {format_size(facts.size)}, not {_explain_size(conditions.size)}"
    if not conditions.recipients.includes(facts.recipients):
        yield f"its number of recipients is {facts.recipients}, not {_explain_recipients(conditions.recipients, '')}"


def _join(before: str, entries: Sequence[str]) -> str:
    return f"{before}{_list(entries)}" if entries else ""


def _list(entries: Iterable[str]) -> str:
    *some, last = entries
    if len(some) >= NAMED_AT_MOST:
        return f"{', '.join(some[:NAMED_AT_MOST])} or one of {len(some) + 1 - NAMED_AT_MOST} more"
    return f"{', '.join(some)} or {last}" if some else last


def _explain_range(before: str, words: str) -> str:
    return f"{before}{words}" if words else ""


def _explain_size(size: Range) -> str:
    return _explain_numbers(*(None if bound is None else format_size(bound) for bound in (size.least, size.most)))


def _explain_recipients(recipients: Range, unit: str = " recipients") -> str:
    words = _explain_numbers(*(None if bound is None else str(bound) for bound in (recipients.least, recipients.most)))
    return f"{words}{unit}" if words else ""


def _explain_numbers(least: str | None, most: str | None) -> str:
    if least is not None and most is not None:
        return least if least == most else f"{least} to {most}"
    if least is not None:
        return f"at least {least}"
    return "" if most is None else f"at most {most}"
