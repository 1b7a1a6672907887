"""What routing rules ask of an email: from its message at intake, or from what is stored of it."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable

from mails.conditions.conditions import MailFacts
from mails.models import Mail, MailLabel, Recipient
from mercury.lib.mail.name_address import extract_address


def build_facts(
    *, sender: str, addresses: Collection[str], tags: Iterable[str], queue: str, api_key: str, size: int
) -> MailFacts:
    """Return the facts of an email. `sender`: with or without a display name; `api_key`: the name of the key."""
    return MailFacts(
        sender_domain=_extract_domain(extract_address(sender)),
        recipient_domains=frozenset(map(_extract_domain, addresses)),
        tags=frozenset(tags),
        queue=queue,
        api_key=api_key,
        size=size,
        recipients=len(addresses),
    )


def load_facts(mail_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, MailFacts]:
    """Return the facts of stored emails. Three queries."""
    rows = Mail.objects.filter(pk__in=mail_ids).order_by()
    addresses: dict[uuid.UUID, list[str]] = defaultdict(list)
    for mail_id, address in Recipient.objects.filter(mail__in=mail_ids).order_by().values_list("mail_id", "address"):
        addresses[mail_id].append(address)
    tags: dict[uuid.UUID, list[str]] = defaultdict(list)
    for mail_id, tag in MailLabel.objects.filter(mail__in=mail_ids, name="").values_list("mail_id", "value"):
        tags[mail_id].append(tag)
    return {
        mail_id: build_facts(
            sender=sender, addresses=addresses[mail_id], tags=tags[mail_id], queue=queue, api_key=key or "", size=size
        )
        for mail_id, sender, queue, size, key in rows.values_list("pk", "sender", "queue", "size", "api_key__name")
    }


def _extract_domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
