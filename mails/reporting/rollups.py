"""Roll-ups: counters and durations by minute, hour and day. `lifecycle` writes fresh rows with the results.

Each group of results appends a few fresh rows, so that no dispatcher waits for another. A periodic task adds them to the
rows of their minute, hour and day some seconds later. A key may have several rows: only their sum counts, and every
replacement of rows keeps it, so two processes may fold at once.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import TruncMinute

from mails.lifecycle.counters import COLUMNS, CounterKey, CounterSum, build_row
from mails.models import Mail, PeriodicTask, Rollup, first_id, moment_of
from mails.states import Counted, Level, Status
from mercury.lib.database import database_clock

TASK = "rollups"
FOLDED_AT_ONCE = 5000  # fresh rows in a run
# Ids carry the clock of the machine that accepted the email, and its commit comes later: arrivals are counted after this time.
ARRIVALS_LAG = dt.timedelta(seconds=20)
ARRIVALS_AT_ONCE = dt.timedelta(minutes=2)  # of arrivals in a run, while it catches up
ARRIVALS_BEFORE = dt.timedelta(hours=1)  # the first run begins this long ago

LENGTHS = {
    Level.MINUTE: dt.timedelta(minutes=1),
    Level.TEN_MINUTES: dt.timedelta(minutes=10),
    Level.HOUR: dt.timedelta(hours=1),
    Level.DAY: dt.timedelta(days=1),
}
KEPT = {
    Level.MINUTE: dt.timedelta(days=2),
    Level.TEN_MINUTES: dt.timedelta(days=14),
    Level.HOUR: dt.timedelta(days=90),
    Level.DAY: dt.timedelta(days=1100),
}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def floor_to_level(moment: dt.datetime, level: Level) -> dt.datetime:
    """Return when the interval of this level that holds `moment` began."""
    if level == Level.EVER:
        return EPOCH
    return moment - (moment - EPOCH) % LENGTHS[level]


def run() -> None:
    """Count arrivals, fold fresh rows and remove old ones. Cheap, but not for a request."""
    now = database_clock.now()
    count_arrivals(now)
    fold(now)


def count_arrivals(now: dt.datetime) -> None:
    """Count the emails received since the last count that are at least 20 s old, by a range of the primary key.

    Two processes that count at once count nothing twice.
    """
    with transaction.atomic():
        done_until = read_counted_until()
        begin = done_until or now - ARRIVALS_BEFORE
        until = min(now - ARRIVALS_LAG, _find_next_arrival(begin, now) + ARRIVALS_AT_ONCE)
        if until > begin and PeriodicTask.objects.filter(name=TASK, done_until=done_until).update(done_until=until):
            Rollup.objects.bulk_create([Rollup(**row) for row in _count_arrivals(begin, until)])


def _find_next_arrival(begin: dt.datetime, now: dt.datetime) -> dt.datetime:
    """Return when the first email since then was received, to skip quiet times at once; `now` if there is none."""
    following = Mail.objects.filter(pk__gte=first_id(begin)).order_by("pk").values_list("pk", flat=True).first()
    return now if following is None else max(begin, moment_of(following))


def fold(now: dt.datetime) -> int:
    """Add up to 5,000 fresh rows to those of their minute, ten minutes, hour, day, and of all time; return how many."""
    with transaction.atomic():
        fresh = _take_rows(Rollup.objects.filter(level=Level.FRESH).order_by("id")[:FOLDED_AT_ONCE])
        sums: dict[tuple[Level, dt.datetime], dict[CounterKey, CounterSum]] = defaultdict(
            lambda: defaultdict(CounterSum)
        )
        for _, start, key, total in fresh:
            for level in (*LENGTHS, Level.EVER):
                sums[level, floor_to_level(start, level)][key].add(total.count, total.total_us, total.buckets)
        touched = Q(pk__in=())
        for level in (*LENGTHS, Level.EVER):
            touched |= Q(level=level, start__in=[start for other, start in sums if other == level])
        for level, start, key, total in _take_rows(Rollup.objects.filter(touched).order_by("id")):
            sums[level, start][key].add(total.count, total.total_us, total.buckets)
        Rollup.objects.bulk_create(
            [
                Rollup(**build_row(level, start, key, total))
                for (level, start), keys in sums.items()
                for key, total in keys.items()
            ]
        )
        over = Q(pk__in=())
        for level, kept in KEPT.items():
            over |= Q(level=level, start__lt=now - kept)
        Rollup.objects.filter(over).delete()
    return len(fresh)


def read_counted_until() -> dt.datetime | None:
    """Return until when arrivals are counted; None before the first count."""
    return PeriodicTask.objects.filter(name=TASK).values_list("done_until", flat=True).first()


def count_last_arrivals(begin: dt.datetime, until: dt.datetime) -> list[tuple[dt.datetime, CounterKey, CounterSum]]:
    """Return the arrivals of a short time that no roll-up holds yet, by a range of the primary key."""
    return [
        (row["start"], CounterKey(**{name: row[name] for name in CounterKey._fields}), CounterSum(row["count"]))
        for row in _count_arrivals(begin, until)
    ]


def _count_arrivals(begin: dt.datetime, until: dt.datetime) -> Iterable[dict[str, Any]]:
    counted = (
        Mail.objects.filter(pk__gte=first_id(begin), pk__lt=first_id(until))
        .order_by()
        .annotate(minute=TruncMinute("created_at"))
        .values_list("minute", "queue", "api_key_id")
        .annotate(count=Count("pk"), rejected=Count("pk", filter=Q(status=Status.REJECTED)))
    )
    for minute, queue, application, count, rejected in counted:
        for outcome, number in (("accepted", count - rejected), ("rejected", rejected)):
            if number:
                key = CounterKey(Counted.ARRIVAL, queue, application=application or 0, outcome=outcome)
                yield build_row(Level.FRESH, minute, key, CounterSum(number))


RollupRow = tuple[Level, dt.datetime, CounterKey, CounterSum]


def _take_rows(rows: QuerySet[Rollup]) -> list[RollupRow]:
    """Delete the rows and return them. Rows that another process deletes at the same time are its own."""
    listed = list(rows.select_for_update().values_list("id", *COLUMNS))
    Rollup.objects.filter(id__in=[row[0] for row in listed]).delete()
    return [
        (Level(level), start, CounterKey(Counted(kind), *key), CounterSum(count, total_us, buckets))
        for _, level, start, kind, *key, count, total_us, buckets in listed
    ]
