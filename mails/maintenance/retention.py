"""What is too old is removed: first the text of a mail, much later the mail itself. Nothing else deletes a mail.

Only mails that reached their end long enough ago; one that is held, or on its way, stays however old it is. Each batch
is a transaction of its own, so that a run which breaks off has lost nothing, and the next one goes on.
"""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from django.db import connection, models, transaction
from django.db.models import Q, Sum

from mails.maintenance import partitions
from mails.maintenance.partitions import Month
from mails.models import Attempt, Content, Event, Mail, Recipient, first_id
from mails.states import FINAL
from mercury.lib.database import database_clock, recordset

TASK = "retention"
EVERY = dt.timedelta(hours=1)
BATCH = 500  # mails in one transaction
# What was left of a month's mails ends within days; a month that waits for that is not copied again and again.
MONTH_RESTS = dt.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed, or would be. `rows`: those of the mails and of what belongs to them, without texts and months."""

    texts: int = 0
    text_bytes: int = 0  # of subject and text, as `Mail.size` counts
    mails: int = 0
    rows: int = 0
    months: int = 0
    month_bytes: int = 0  # on disk, with indexes

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def __bool__(self) -> bool:
        return self != Removed()


def outlook(bodies: dt.timedelta, mails: dt.timedelta) -> Removed:
    """What `run` would remove now. Reads all that is old enough, and changes nothing."""
    now = database_clock.now()
    of_mails = _old_enough(now - mails, "mail__")
    texts = Content.objects.filter(_old_enough(now - bodies, "mail__"), pk__lt=first_id(now - bodies))
    count = Mail.objects.filter(_old_enough(now - mails), pk__lt=first_id(now - mails)).count()
    parts: list[type[models.Model]] = [Recipient, Attempt, *([] if connection.vendor == "postgresql" else [Event])]
    rows = [part._default_manager.filter(of_mails, mail_id__lt=first_id(now - mails)).count() for part in parts]
    months = _ended(now - mails) if count else partitions.droppable(now - mails - MONTH_RESTS)
    return Removed(
        texts=texts.count(),
        text_bytes=texts.aggregate(size=Sum("mail__size"))["size"] or 0,
        mails=count,
        rows=count + sum(rows),
        months=len(months),
        month_bytes=partitions.size(months),
    )


def run(bodies: dt.timedelta, mails: dt.timedelta) -> Iterator[Removed]:
    """Remove texts, mails and months of events of these ages; yields after each transaction what it removed.

    Several processes may run it at once: a mail that another one has locked is passed over, not waited for. Raises
    OperationalError if the events' table is locked for 2 s; everything but months is done by then.
    """
    now = database_clock.now()
    yield from _remove_texts(now - bodies)
    yield from _remove_mails(now - mails)
    yield from _drop_months(now - mails)


def _remove_texts(cutoff: dt.datetime) -> Iterator[Removed]:
    for page in _pages(Content, cutoff):
        with transaction.atomic():
            sizes = _taken(page, cutoff)
            Content.objects.filter(pk__in=sizes).delete()
            Mail.objects.filter(pk__in=sizes).update(text_removed_at=database_clock.now())
        yield Removed(texts=len(sizes), text_bytes=sum(sizes.values()))


def _remove_mails(cutoff: dt.datetime) -> Iterator[Removed]:
    for page in _pages(Mail, cutoff):
        with transaction.atomic():
            taken = list(_taken(page, cutoff))
            Content.objects.filter(pk__in=taken).delete()
            rows, _ = Recipient.objects.filter(mail_id__in=taken).delete()
            attempts, _ = Attempt.objects.filter(mail_id__in=taken).delete()
            events = _remove_events(taken)
            _delete(taken)
        yield Removed(mails=len(taken), rows=len(taken) + rows + attempts + events)


def _drop_months(cutoff: dt.datetime) -> Iterator[Removed]:
    for month in partitions.droppable(cutoff - MONTH_RESTS):
        before = partitions.size([month])
        partitions.drop(month)
        kept = partitions.size([month]) if month in partitions.existing() else 0
        yield Removed(months=1, month_bytes=before - kept)


def _ended(cutoff: dt.datetime) -> list[Month]:
    return [month for month in partitions.existing() if month.next.begin <= cutoff - MONTH_RESTS]


def _old_enough(cutoff: dt.datetime, path: str = "") -> Q:
    return Q(**{f"{path}status__in": FINAL, f"{path}finished_at__lt": cutoff})


def _pages(model: type[Content] | type[Mail], cutoff: dt.datetime) -> Iterator[list[uuid.UUID]]:
    """Ids of mails that came in before, oldest first, along the primary key.

    Texts are found in their own table: it holds none of the mails, a year of them, whose text is gone already.
    """
    after = uuid.UUID(int=0)
    older = model._default_manager.order_by("pk").filter(pk__lt=first_id(cutoff)).values_list("pk", flat=True)
    while page := list(older.filter(pk__gt=after)[:BATCH]):
        yield page
        after = page[-1]


def _taken(page: Sequence[uuid.UUID], cutoff: dt.datetime) -> dict[uuid.UUID, int]:
    """Those of the mails that ended before, locked, with their sizes."""
    ended = Mail.objects.filter(_old_enough(cutoff), pk__in=page).order_by("pk")
    return dict(ended.select_for_update(skip_locked=True).values_list("pk", "size"))


def _remove_events(mail_ids: Sequence[uuid.UUID]) -> int:
    """On PostgreSQL none: they go with their month. On SQLite the guard is off within the transaction only."""
    if connection.vendor == "postgresql" or not mail_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'mails_event_no_delete'")
        (guard,) = (sql for (sql,) in cursor.fetchall())
        cursor.execute("DROP TRIGGER mails_event_no_delete")
        count, _ = Event.objects.filter(mail_id__in=mail_ids).delete()
        cursor.execute(guard)
    return count


def _delete(mail_ids: Sequence[uuid.UUID]) -> None:
    """Not by the ORM, which would look for the events that stay, and for idempotency keys, which the sweeper removes."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM mails_mail WHERE id IN (SELECT r.id FROM {recordset.source('r', {'id': 'uuid'})})",  # noqa: S608
            [recordset.encode({"id": mail_id} for mail_id in mail_ids)],
        )
