"""Match stored emails with the routing rules again: after a change of the rules, and when a person lets an email go on.

An email keeps the id of its rule, and each claim asks what that rule says now: a change of a rule's accounts needs nothing here.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection

from django.db import connection, transaction

from mails.models import Mail
from mails.routing.book import NO_RULES, get_book
from mails.routing.facts import load_facts


def match_again(mail_ids: Collection[uuid.UUID]) -> int:
    """Match these emails with the rules as they are now, and return how many have another rule than before.

    Writes nothing but that, and to those alone. Waits for whoever is about to write to one of them. Four queries, and a
    few for each rule that is new to some; none where no rule was ever made.
    """
    book = get_book()
    if not mail_ids or book is NO_RULES:
        return 0
    before = dict(Mail.objects.filter(pk__in=mail_ids).values_list("pk", "routing_rule"))
    changed: dict[int | None, list[uuid.UUID]] = defaultdict(list)
    for mail_id, facts in load_facts(before).items():
        rule = book.match(facts)
        found = rule.id if rule else None
        if found != before[mail_id]:
            changed[found].append(mail_id)
    return sum(_set_rule(sorted(group), rule) for rule, group in changed.items())


def _set_rule(mail_ids: Collection[uuid.UUID], rule: int | None) -> int:
    """Write the rule of these emails: those that nobody has locked at once, the others one by one, so that no two wait in a circle."""
    free = _lock_and_set(mail_ids, rule)
    locked = [mail_id for mail_id in mail_ids if mail_id not in free]
    return len(free) + sum(Mail.objects.filter(pk=mail_id).update(routing_rule=rule) for mail_id in locked)


def _lock_and_set(mail_ids: Collection[uuid.UUID], rule: int | None) -> set[uuid.UUID]:
    rows = Mail.objects.filter(pk__in=mail_ids)
    with transaction.atomic():
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True, no_key=True)
        free = set(rows.order_by("pk").values_list("pk", flat=True))
        Mail.objects.filter(pk__in=free).update(routing_rule=rule)
    return free
