"""The rule that picks the queue of an email."""

from collections.abc import Sequence

from mails import queue_rules
from mails.conditions.conditions import MailFacts
from mails.intake.client import Client
from mails.intake.submission import ValidSubmission
from mails.message import addresses
from mails.queue_rules import Rule


def find_rule(rules: Sequence[Rule], valid: ValidSubmission, client: Client) -> Rule | None:
    """Return the first rule that the email meets; None for the queue that follows from its message, or its client's `bulk`."""
    if not rules:
        return None
    message = valid.message
    facts = MailFacts(
        sender_domain=addresses.extract_domain(addresses.extract_address(message.sender)),
        recipient_domains=frozenset(addresses.extract_domain(to.address) for to in message.recipients),
        tags=frozenset(message.tags),
        queue=valid.queue,
        api_key=client.api_key.name if client.api_key else "",
        size=message.size,
        recipients=len(message.recipients),
    )
    return queue_rules.find(rules, facts)
