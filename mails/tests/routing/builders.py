"""Routing rules and queue rules of the tests, and what the dispatcher evaluated."""

import json

from mails import queue_rules
from mails.models import Mail, QueueRule, RoutingRule
from mails.routing import changes
from mails.routing.drafts import read_draft


def a_rule(name: str, *accounts, position=None, enabled=True, **conditions) -> RoutingRule:
    """A rule that lets emails of these conditions use these accounts only."""
    given = {"name": name, "accounts": list(accounts), "conditions": conditions, "enabled": enabled}
    draft = read_draft(given, known_accounts=changes.list_known_accounts())
    return changes.add(draft, by="user:hermes", position=position)


def a_queue_rule(name="news", queue="bulk", *, position=100, enabled=True, **conditions) -> QueueRule:
    """A rule that puts emails of these conditions into a queue."""
    row = QueueRule(name=name, queue=queue, position=position, enabled=enabled, conditions=conditions)
    queue_rules.save(row, by="user:hermes")
    return row


def blob_of(mail: Mail, event="READY TO SEND") -> dict:
    return json.loads(mail.events.filter(event=event).latest("id").blob)


def evaluation_of(mail: Mail) -> dict[str, tuple]:
    """What the dispatcher evaluated of each account, without the result of the draw."""
    return {
        line["account"]: (
            line["eligible"],
            line["weight"],
            line.get("priority", 1),
            "" if line["note"].startswith("selected (drew ") and ": " not in line["note"] else line["note"],
        )
        for line in blob_of(mail)["evaluated"]
    }
