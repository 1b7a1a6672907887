"""Retention: deletes first the body of an email, much later the email itself. Nothing else deletes an email.

Only emails that ended long enough ago; one that is held or in progress is kept, however old it is. Each batch is a
transaction of its own, so that a run which breaks off has lost nothing, and the next one continues.
"""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from django.db import connection, models, transaction
from django.db.models import Q, Sum

from mails.maintenance import partitions
from mails.maintenance.partitions import Month
from mails.models import Attempt, Content, DownloadLink, Event, Mail, MailFile, MailLabel, Recipient, first_id
from mails.states import FINAL
from mercury.lib.database import database_clock, recordset

TASK = "retention"
EVERY = dt.timedelta(hours=1)
BATCH = 500  # emails in one transaction: 20 to 63 ms on SQLite, whose other writers wait for it
# The last emails of a month end within days; a partition that waits for them is not copied again and again.
MONTH_RESTS = dt.timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedCounts:
    """Counts of what was deleted, or would be. `rows`: those of the emails and of what belongs to them, without bodies."""

    texts: int = 0
    text_bytes: int = 0  # of subject and body, as `Mail.size` counts
    mails: int = 0
    rows: int = 0
    months: int = 0
    month_bytes: int = 0  # on disk, with indexes

    def __add__(self, other: "RemovedCounts") -> "RemovedCounts":
        return RemovedCounts(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )

    def __bool__(self) -> bool:
        return self != RemovedCounts()


def forecast(bodies: dt.timedelta, mails: dt.timedelta) -> RemovedCounts:
    """Return what `run` would delete now. Reads all that is old enough, and changes nothing."""
    now = database_clock.now()
    of_mails = _build_old_enough(now - mails, "mail__")
    texts = Content.objects.filter(_build_old_enough(now - bodies, "mail__"), pk__lt=first_id(now - bodies))
    count = Mail.objects.filter(_build_old_enough(now - mails), pk__lt=first_id(now - mails)).count()
    parts: list[type[models.Model]] = [
        Recipient,
        Attempt,
        MailLabel,
        DownloadLink,
        MailFile,
        *([] if connection.vendor == "postgresql" else [Event]),
    ]
    rows = [part._default_manager.filter(of_mails, mail_id__lt=first_id(now - mails)).count() for part in parts]
    months = _list_ended_months(now - mails) if count else partitions.list_droppable(now - mails - MONTH_RESTS)
    return RemovedCounts(
        texts=texts.count(),
        text_bytes=texts.aggregate(size=Sum("mail__size"))["size"] or 0,
        mails=count,
        rows=count + sum(rows),
        months=len(months),
        month_bytes=partitions.measure_size(months),
    )


def run(bodies: dt.timedelta, mails: dt.timedelta) -> Iterator[RemovedCounts]:
    """Delete bodies, emails and partitions of events of these ages; yield after each transaction what it deleted.

    Several processes may run it at once: an email that another one has locked is skipped, not waited for. Raises
    OperationalError if the event table is locked for 2 s; everything but the partitions is done by then.
    """
    now = database_clock.now()
    yield from _remove_texts(now - bodies)
    yield from _remove_mails(now - mails)
    yield from _drop_months(now - mails)


def _remove_texts(cutoff: dt.datetime) -> Iterator[RemovedCounts]:
    for page in _read_pages(Content, cutoff):
        with transaction.atomic():
            sizes = _lock_old(page, cutoff)
            Content.objects.filter(pk__in=sizes).delete()
            MailFile.objects.filter(mail__in=sizes, content__isnull=False).update(content=None)
            Mail.objects.filter(pk__in=sizes).update(text_removed_at=database_clock.now())
        yield RemovedCounts(texts=len(sizes), text_bytes=sum(sizes.values()))


def _remove_mails(cutoff: dt.datetime) -> Iterator[RemovedCounts]:
    for page in _read_pages(Mail, cutoff):
        with transaction.atomic():
            mail_ids = list(_lock_old(page, cutoff))
            Content.objects.filter(pk__in=mail_ids).delete()
            rows, _ = Recipient.objects.filter(mail_id__in=mail_ids).delete()
            attempts, _ = Attempt.objects.filter(mail_id__in=mail_ids).delete()
            labels, _ = MailLabel.objects.filter(mail_id__in=mail_ids).delete()
            files, _ = MailFile.objects.filter(mail_id__in=mail_ids).delete()
            links, _ = DownloadLink.objects.filter(mail_id__in=mail_ids).delete()
            events = _remove_events(mail_ids)
            _delete(mail_ids)
        yield RemovedCounts(mails=len(mail_ids), rows=len(mail_ids) + rows + attempts + labels + files + links + events)


def _drop_months(cutoff: dt.datetime) -> Iterator[RemovedCounts]:
    for month in partitions.list_droppable(cutoff - MONTH_RESTS):
        before = partitions.measure_size([month])
        partitions.drop(month)
        kept = partitions.measure_size([month]) if month in partitions.list_existing() else 0
        yield RemovedCounts(months=1, month_bytes=before - kept)


def _list_ended_months(cutoff: dt.datetime) -> list[Month]:
    return [month for month in partitions.list_existing() if month.next.begin <= cutoff - MONTH_RESTS]


def _build_old_enough(cutoff: dt.datetime, path: str = "") -> Q:
    return Q(**{f"{path}status__in": FINAL, f"{path}finished_at__lt": cutoff})


def _read_pages(model: type[Content] | type[Mail], cutoff: dt.datetime) -> Iterator[list[uuid.UUID]]:
    """Yield ids of emails submitted before, oldest first, along the primary key.

    Bodies are found in their own table: it holds none of the emails, a year of them, whose body is deleted already.
    """
    after = uuid.UUID(int=0)
    older = model._default_manager.order_by("pk").filter(pk__lt=first_id(cutoff)).values_list("pk", flat=True)
    while page := list(older.filter(pk__gt=after)[:BATCH]):
        yield page
        after = page[-1]


def _lock_old(page: Sequence[uuid.UUID], cutoff: dt.datetime) -> dict[uuid.UUID, int]:
    """Lock those of the emails that ended before, and return their sizes."""
    ended = Mail.objects.filter(_build_old_enough(cutoff), pk__in=page).order_by("pk")
    return dict(ended.select_for_update(skip_locked=True).values_list("pk", "size"))


def _remove_events(mail_ids: Sequence[uuid.UUID]) -> int:
    """Delete events, except on PostgreSQL: there they go with their partition. On SQLite the guard is off for the transaction."""
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
