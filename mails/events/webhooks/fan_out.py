"""The fan-out: reads each group of events once and writes the deliveries of all webhooks that want them.

Webhooks that are equally far share one group: mostly all of them, so that the number of webhooks adds no reading. One that
was disabled, or is new, has groups of its own until it has caught up. In one transaction a group's deliveries are written
and the webhooks' positions move; whoever loses a race, or dies, has written nothing.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from django.db import connection, transaction

from mails.events import outbox
from mails.events.commit_horizon import CommitHorizon
from mails.events.webhooks.deliveries import build_active
from mails.maintenance import leadership
from mails.models import Webhook
from mercury.lib.database import database_clock, recordset
from mercury.lib.runtime import process_state

TASK = "webhook-fan-out"
GROUP = 2000  # events in one transaction: SQLite's other writers wait for it

# The events that a webhook has chosen: names in a JSON list, all if it is empty.
_CHOSEN = {
    "postgresql": "(w.events = '[]'::jsonb OR w.events @> to_jsonb(e.event::text))",
    "sqlite": "(w.events = '[]' OR EXISTS (SELECT 1 FROM json_each(w.events) AS chosen WHERE chosen.value = e.event))",
}
_WANTED = """
    FROM mails_event AS e
    JOIN mails_mail AS m ON m.id = e.mail_id
    JOIN mails_webhook AS w ON w.api_key_id = m.api_key_id
    JOIN {webhooks} ON r.id = w.id
    WHERE e.id > %s AND e.id <= %s AND {chosen}
"""
_INSERT = f"""
    INSERT INTO mails_webhookdelivery
        (webhook_id, event_id, mail_id, event, status, attempts, created_at, next_attempt_at, answer, error)
    SELECT w.id, e.id, e.mail_id, e.event, 'waiting', 0, %s, %s, '', '' {_WANTED}
    ORDER BY e.id
    ON CONFLICT (webhook_id, event_id) {{conflict}}
"""
_COUNT = f"SELECT count(*) {_WANTED}"
SKIP = "DO NOTHING"
SEND_AGAIN = """DO UPDATE SET status = 'waiting', attempts = 0, first_attempt_at = NULL, finished_at = NULL,
    next_attempt_at = excluded.next_attempt_at"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FannedOut:
    """Result of one pass. `has_webhooks`: there is a webhook that may get events; `is_behind`: there may be more at once."""

    deliveries: int = 0
    has_webhooks: bool = False
    is_behind: bool = False


def run_pass(process: str) -> FannedOut:
    """Write the deliveries of the next group for each position that a webhook has, if this process is the one that does.

    Reads nothing but an empty table where there is no webhook, and writes nothing where there is no event.
    """
    active = Webhook.objects.filter(build_active(database_clock.now()))
    if not active.exists():
        return FannedOut()
    until = process_state.get(CommitHorizon).advance()
    # After the horizon: a webhook that is created since begins beyond it.
    positions = sorted(set(active.order_by().values_list("position", flat=True)))
    behind = [position for position in positions if until is not None and position < until]
    if until is None or not behind or not leadership.acquire(TASK, process):
        return FannedOut(has_webhooks=True)
    written, moved = 0, set()
    for index, position in enumerate(behind):
        # Up to where the next ones are, so that they go on together.
        end = min(behind[index + 1], until) if index + 1 < len(behind) else until
        last = outbox.find_last_of_group(position, end, size=GROUP)
        written += _fan_out(position, last)
        moved.add(last)
    return FannedOut(deliveries=written, has_webhooks=True, is_behind=min(moved) < until)


def _fan_out(position: int, last: int) -> int:
    """Write the deliveries of the events in between for all webhooks at this position, and return their number."""
    now = database_clock.now()
    with transaction.atomic():
        # Moved first, and by the condition: what another process has moved is not ours, and none is enabled in between.
        ids = _move(position, last, now)
        return insert(ids, position, last, now=now, conflict=SKIP) if ids else 0


def _move(position: int, last: int, now: dt.datetime) -> list[uuid.UUID]:
    """Move all webhooks at this position, and return their ids."""
    there = Webhook.objects.filter(build_active(now), position=position).order_by("pk")
    ids = list(there.select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))
    Webhook.objects.filter(pk__in=ids).update(position=last)
    return ids


def insert(ids: list[uuid.UUID], after: int, until: int, *, now: dt.datetime, conflict: str) -> int:
    """Write a delivery for each of these events and each of these webhooks that has chosen it; return their number."""
    rows = _build_rows(ids)
    statement = _INSERT.format(webhooks=rows.source, chosen=_CHOSEN[connection.vendor], conflict=conflict)
    moment = recordset.format_time(now)
    with connection.cursor() as cursor:
        cursor.execute(statement, [moment, moment, *rows.parameters, after, until])
        return int(cursor.rowcount)


def count(ids: list[uuid.UUID], after: int, until: int) -> int:
    """Return how many deliveries `insert` would write."""
    rows = _build_rows(ids)
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT.format(webhooks=rows.source, chosen=_CHOSEN[connection.vendor]), [*rows.parameters, after, until]
        )
        return int(cursor.fetchone()[0])


def _build_rows(ids: list[uuid.UUID]) -> recordset.Recordset:
    return recordset.build("r", {"id": "uuid"}, [(webhook_id,) for webhook_id in ids])
