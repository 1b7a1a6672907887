"""Conditions over what is known of an email at intake, and whether one meets them. Pure.

All conditions that are given must be met; a list is met by any of its entries. A recipient domain is met if any recipient
has it: an email is sent as a whole, so one recipient in a domain decides for all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mercury.lib.value import value

BELOW = "*."  # in front of a domain: any domain below it, and not the domain itself


@value
class MailFacts:
    """What conditions ask of an email. Domains are in lower case and ASCII."""

    sender_domain: str
    recipient_domains: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    queue: str = ""
    api_key: str = ""  # the name of the application's key; empty for a person and the command line
    size: int = 0  # bytes of subject, bodies, other fields and attachments
    recipients: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Whole numbers from `least` to `most`, both included; None is open."""

    least: int | None = None
    most: int | None = None

    def includes(self, number: int) -> bool:
        """Return True if the number is in the range."""
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)

    @property
    def is_open(self) -> bool:
        """Return True if every number is in the range."""
        return self.least is None and self.most is None

    @property
    def is_empty(self) -> bool:
        """Return True if no number is in the range."""
        return self.least is not None and self.most is not None and self.least > self.most


ANY_NUMBER = Range()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions of a rule. An empty list and an open range ask for nothing."""

    sender_domain: tuple[str, ...] = ()  # a domain, or `*.` and a domain for those below it
    recipient_domain: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    api_key: tuple[str, ...] = ()  # names of keys
    size: Range = ANY_NUMBER  # bytes
    recipients: Range = ANY_NUMBER


ALL_MAIL = Conditions()


def matches(conditions: Conditions, facts: MailFacts) -> bool:
    """Return True if the email meets all conditions."""
    return (
        (not conditions.queue or facts.queue in conditions.queue)
        and (not conditions.api_key or facts.api_key in conditions.api_key)
        and (not conditions.tag or not facts.tags.isdisjoint(conditions.tag))
        and (not conditions.sender_domain or is_in_domains(facts.sender_domain, conditions.sender_domain))
        and (
            not conditions.recipient_domain
            or any(is_in_domains(domain, conditions.recipient_domain) for domain in facts.recipient_domains)
        )
        and conditions.size.includes(facts.size)
        and conditions.recipients.includes(facts.recipients)
    )


def is_in_domains(domain: str, patterns: Iterable[str]) -> bool:
    """Return True if the domain is one of these, or below one that begins with `*.`."""
    return any(
        domain.endswith(pattern[1:]) and len(domain) >= len(pattern) if pattern.startswith(BELOW) else domain == pattern
        for pattern in patterns
    )
