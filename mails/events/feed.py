"""The feed: the events of the emails that a client may see, in the order of their ids, read page by page from a cursor.

A page ends at the commit horizon, so that a client that goes on from its cursor misses no event that commits late. It looks
at a bounded number of ids, whoever asks: a client with few emails among those of others gets an empty page, and a cursor
that is further on.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Length

from mails.events import outbox
from mails.events.commit_horizon import CommitHorizon
from mails.models import Event
from mails.models.querysets import MailQuerySet
from mercury.lib.runtime import process_state

LOOKED_AT = 20_000  # ids that one page looks at
WAIT = 0.05  # seconds that a page waits for transactions in progress
MOST_TEXT = 1_000_000  # characters of blobs in one page; an event by itself has its whole blob


class CursorAhead(Exception):
    """The cursor is that of an event which does not exist yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPage:
    """Events after a cursor. `cursor`: the one to go on with. `more`: there is more to read at once."""

    events: Sequence[Event]
    cursor: int
    more: bool


def read_page(
    visible: MailQuerySet, *, after: int, limit: int, names: Sequence[str] = (), mail_id: uuid.UUID | None = None
) -> FeedPage:
    """Return up to `limit` events of these emails, in order: those after this id, with one of these names if there are any.

    `mail_id`: only those of this one of them. Call it in no transaction. Raises CursorAhead.
    """
    horizon = process_state.get(CommitHorizon)
    last = horizon.read_last_id()
    if after > last:
        raise CursorAhead
    reached = horizon.advance_to(last, within=WAIT) if last > after else last
    if reached is None or reached <= after:  # another process may have known of a later horizon
        return FeedPage(events=(), cursor=after, more=False)
    until = reached if mail_id else min(reached, after + LOOKED_AT)
    events, is_cut = _read(_select(visible, names, mail_id).filter(pk__gt=after, pk__lte=until), limit)
    cursor = events[-1].pk if is_cut else until
    return FeedPage(events=events, cursor=cursor, more=cursor < reached)


def find_start(moment: dt.datetime) -> int:
    """Return an id after which all events are that were recorded at or after this moment, and those of a minute before.

    So that none is missed whose transaction has not committed, while one with a later id and time has.
    """
    return outbox.find_position(moment - outbox.JITTER)


def _select(visible: MailQuerySet, names: Sequence[str], mail_id: uuid.UUID | None) -> QuerySet[Event]:
    """Return the events of these emails. As a value of each row, not a join: so that both databases read events by id.

    A planner that knows little of a client may begin with all its emails instead, which are millions.
    """
    owned = Subquery(visible.filter(pk=OuterRef("mail_id")).order_by().values("pk")[:1])
    rows = Event.objects.of(mail_id) if mail_id else Event.objects.all()
    rows = rows.filter(event__in=names) if names else rows
    return rows.alias(owned=owned).filter(owned__isnull=False)


def _read(rows: QuerySet[Event], limit: int) -> tuple[list[Event], bool]:
    """Return the first rows, as many as `limit` and MOST_TEXT allow but at least one, and whether there may be more."""
    sizes = list(rows.order_by("pk").values_list("pk", Length("blob"))[:limit])
    kept: list[int] = []
    text = 0
    for pk, size in sizes:
        text += size
        if kept and text > MOST_TEXT:
            break
        kept.append(pk)
    if not kept:
        return [], False
    events = Event.objects.filter(pk__in=kept, pk__gte=kept[0], pk__lte=kept[-1]).order_by("pk")
    return list(events), len(kept) == limit or len(kept) < len(sizes)
