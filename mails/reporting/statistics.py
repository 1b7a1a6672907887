"""Statistics of a period: rates, durations, failures, shares. Read from roll-ups only, never from emails or events.

`load_statistics` queries the database; the functions that summarize its result are pure.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from mails.lifecycle import counters
from mails.lifecycle.counters import CounterKey, CounterSum
from mails.models import ApiKey, Rollup
from mails.reporting import rollups
from mails.states import AttemptState, Counted, Ending, Level
from mails.timeline.facts import Usual
from mercury.lib import histogram
from providers.models import BreakerChange
from providers.outcomes import FailureClass

SENT = frozenset({Ending.DONE, Ending.FAILOVER})
LEVELS = tuple(rollups.LENGTHS)  # the intervals of a period
# The finest level for periods up to this length: some two hundred points, read in a few milliseconds.
_FINEST = (
    (dt.timedelta(hours=3), Level.MINUTE),
    (dt.timedelta(days=1, hours=6), Level.TEN_MINUTES),
    (dt.timedelta(days=8), Level.HOUR),
)
LATE = dt.timedelta(minutes=3)  # arrivals not counted for longer are left to an alert
MOST_POINTS = 3000
HISTORY_SHOWN = 200
USUAL_OF = dt.timedelta(hours=1)  # the period that one email is compared with
USERS_AND_CLI = "Users and CLI"  # submitted without an API key
Matches = Callable[[CounterKey], bool]


class PeriodTooLong(ValueError):
    """The period has too many intervals of this level; the text says what to request."""


# Refusals that are not the account's fault.
_BLAMELESS = frozenset({FailureClass.MESSAGE, FailureClass.RECIPIENT, FailureClass.LOCAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The roll-ups of a period, from the beginning of an interval of `level` to `until`."""

    since: dt.datetime
    until: dt.datetime
    level: Level
    rows: Sequence[tuple[dt.datetime, CounterKey, CounterSum]]
    sums: Mapping[CounterKey, CounterSum]  # of the whole period

    def select(self, kind: Counted, matches: Matches = lambda key: True) -> Iterable[tuple[CounterKey, CounterSum]]:
        """Return the sums of one kind whose key matches."""
        return ((key, total) for key, total in self.sums.items() if key.kind == kind and matches(key))

    @property
    def minutes(self) -> float:
        """The length of the period in minutes."""
        return max(1 / 60, (self.until - self.since).total_seconds() / 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Durations in seconds: how many, and how long. Percentiles are at most 9.1 % off, the mean is exact."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailStatistics:
    """Results of emails: of a queue, of an application, or of all."""

    name: str
    arrived: int  # accepted by the API, the form or a command
    rejected: int  # failed validation
    arrived_per_minute: float
    sent: int  # with those after a failover
    failover: int  # sent, after an earlier attempt had failed
    discarded: int
    expired: int
    cancelled: int
    held: int
    suppressed: int  # recipients that got no email, since they are on the suppression list
    queue_time: Durations  # from acceptance to the first attempt
    processing: Durations  # from acceptance to the final status
    acceptance: Durations  # from acceptance by Mercury to acceptance by a provider


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatistics:
    """Results of the attempts with one account."""

    name: str
    attempts: int
    accepted: int
    refused: Mapping[str, int]  # by failure class
    unknown: int
    failure_rate: float  # share of the attempts that failed because of the account or the provider, or are unknown
    sent: int  # emails that it accepted
    share: float  # of all emails that were sent
    latency: Durations  # of the accepted attempts
    fastest: bool  # the smallest median

    @property
    def success(self) -> float:
        """The share of its calls, in percent, that did not fail because of the account, its rate, or the provider."""
        return 100 * (1 - self.failure_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One interval of a chart; counts are emails, durations seconds."""

    start: dt.datetime
    arrived: int
    done: int
    failover: int
    discarded: int
    expired: int
    held: int
    unknown: int  # attempts
    suppressed: int  # recipients
    queue_time: Durations
    acceptance: Durations
    latency: Mapping[str, Durations]  # by account


def choose_intervals(since: dt.datetime, until: dt.datetime, level: Level | None = None) -> tuple[dt.datetime, Level]:
    """Return when the first interval of this period begins, and the level of its intervals. Raises PeriodTooLong."""
    length = until - since
    chosen = level or next((finest for longest, finest in _FINEST if length <= longest), Level.DAY)
    if length / rollups.LENGTHS[chosen] > MOST_POINTS:
        raise PeriodTooLong(f"That is more than {MOST_POINTS} intervals. Use a shorter period, or longer intervals.")
    return rollups.floor_to_level(since, chosen), chosen


def load_statistics(
    since: dt.datetime, until: dt.datetime, level: Level | None = None, *, account: str = ""
) -> Statistics:
    """Load the statistics of a period, with the arrivals of the last seconds, which no roll-up holds yet. Four short queries.

    `account`: only the attempts with this one, and the emails that it had last. Raises PeriodTooLong.
    """
    begin, chosen = choose_intervals(since, until, level)
    rows = Rollup.objects.filter(Q(level=chosen) | Q(level=Level.FRESH), start__gte=begin, start__lt=until)
    if account:
        rows = rows.filter(account=account)
    listed = list(_read_rows(rows)) if account else _read_with_last_arrivals(rows, until)
    return Statistics(
        since=begin, until=until, level=chosen, rows=listed, sums=_sum_by_key((key, total) for _, key, total in listed)
    )


def _read_with_last_arrivals(
    rows: QuerySet[Rollup], until: dt.datetime
) -> list[tuple[dt.datetime, CounterKey, CounterSum]]:
    """Read roll-ups and the arrivals since; again if arrivals were counted in between, so that nothing counts twice."""
    for _ in range(3):
        counted_until = rollups.read_counted_until()
        listed = list(_read_rows(rows))
        if rollups.read_counted_until() == counted_until:
            break
    if counted_until is not None and dt.timedelta() < until - counted_until < LATE:
        listed += rollups.count_last_arrivals(counted_until, until)
    return listed


def load_totals() -> list[tuple[CounterKey, CounterSum]]:
    """Load the totals of all time. They never shrink. One query."""
    rows = Rollup.objects.filter(level__in=(Level.EVER, Level.FRESH))
    return sorted(_sum_by_key((key, total) for _, key, total in _read_rows(rows)).items())


def _sum_by_key(rows: Iterable[tuple[CounterKey, CounterSum]]) -> dict[CounterKey, CounterSum]:
    """Add up the rows of each key."""
    rows_of: dict[CounterKey, list[CounterSum]] = defaultdict(list)
    for key, total in rows:
        rows_of[key].append(total)
    return {key: _add_up(listed) for key, listed in rows_of.items()}


def _add_up(sums: Sequence[CounterSum]) -> CounterSum:
    if len(sums) == 1:
        return sums[0]
    whole = CounterSum()
    for total in sums:
        whole.add(total.count, total.total_us, total.buckets)
    return whole


def _read_rows(rows: QuerySet[Rollup]) -> Iterable[tuple[dt.datetime, CounterKey, CounterSum]]:
    """Read roll-ups. Buckets come as text: orjson reads them in a third of the time of the field's own decoder."""
    columns = [name for name in counters.COLUMNS if name not in ("level", "buckets")]
    listed = rows.values_list(*columns, Cast("buckets", TextField()))
    for start, kind, *key, count, total_us, buckets in listed:
        yield start, CounterKey(Counted(kind), *key), CounterSum(count, total_us, orjson.loads(buckets))


def summarize_all(statistics: Statistics) -> MailStatistics:
    """Summarize all emails."""
    return _summarize_mails("all", statistics, _match())


def summarize_queues(statistics: Statistics) -> list[MailStatistics]:
    """Summarize the emails of each queue that has any."""
    return [
        _summarize_mails(queue, statistics, _match(queue=queue))
        for queue in sorted({key.queue for key in statistics.sums if key.queue})
    ]


def summarize_applications(statistics: Statistics, names: Mapping[int, str]) -> list[MailStatistics]:
    """Summarize the emails of each application. `names`: of the API keys, by number (`load_application_names`)."""
    numbers = {key.application for key in statistics.sums if key.kind != Counted.CALL}
    listed = [
        _summarize_mails(names.get(number, f"key {number}"), statistics, _match(application=number))
        for number in sorted(numbers)
    ]
    return sorted(listed, key=lambda row: (-row.sent, row.name))


def load_usual_times(queue: str, now: dt.datetime) -> Usual:
    """Load the medians of a queue over the last hour. One query of some hundred rows."""
    rows = Rollup.objects.filter(
        Q(level=Level.MINUTE) | Q(level=Level.FRESH),
        Q(kind=Counted.FIRST_SEND) | Q(kind=Counted.END, outcome__in=SENT),
        queue=queue,
        start__gte=now - USUAL_OF,
    )
    sums: dict[Counted, list[CounterSum]] = defaultdict(list)
    for _, key, total in _read_rows(rows):
        sums[key.kind].append(total)
    return Usual(wait=_measure_sums(sums[Counted.FIRST_SEND]).p50, acceptance=_measure_sums(sums[Counted.END]).p50)


def load_application_names() -> dict[int, str]:
    """Load the names of the applications by number. One query."""
    return {0: USERS_AND_CLI} | dict(ApiKey.objects.values_list("id", "name"))


def summarize_accounts(statistics: Statistics) -> list[AccountStatistics]:
    """Summarize the attempts of each account, the one with most emails first."""
    names = {key.account for key, _ in statistics.select(Counted.CALL)}
    all_sent = _count_all(statistics.select(Counted.END, _is_sent))
    listed = [_summarize_account(name, statistics, all_sent) for name in names]
    best = min((row.latency.p50 for row in listed if row.latency.p50 is not None), default=None)
    marked = [replace(row, fastest=best is not None and row.latency.p50 == best) for row in listed]
    return sorted(marked, key=lambda row: (-row.sent, row.name))


def build_series(statistics: Statistics) -> list[Point]:
    """Build the points of the period, also for intervals in which nothing happened."""
    length = rollups.LENGTHS[statistics.level]
    parts: dict[dt.datetime, list[tuple[CounterKey, CounterSum]]] = defaultdict(list)
    for start, key, total in statistics.rows:
        parts[rollups.floor_to_level(start, statistics.level)].append((key, total))
    count = -(-(statistics.until - statistics.since) // length)
    starts = [statistics.since + number * length for number in range(count)]
    return [_build_point(start, _sum_by_key(parts[start])) for start in starts]


def load_breaker_history(since: dt.datetime, until: dt.datetime) -> list[BreakerChange]:
    """Load the last 200 changes of breakers, newest first. One query."""
    changes = BreakerChange.objects.filter(created_at__gte=since, created_at__lt=until)
    return list(changes.order_by("-id")[:HISTORY_SHOWN])


def _build_point(start: dt.datetime, sums: Mapping[CounterKey, CounterSum]) -> Point:
    """Build a point in one pass over the sums: a chart has some two hundred points."""
    counts: dict[str, int] = defaultdict(int)
    queue_times: list[CounterSum] = []
    acceptance: list[CounterSum] = []
    latency: dict[str, list[CounterSum]] = defaultdict(list)
    for key, total in sums.items():
        counts[key.outcome] += total.count if key.kind == Counted.END else 0
        match key.kind, key.outcome:
            case Counted.ARRIVAL, "accepted":
                counts["arrived"] += total.count
            case Counted.FIRST_SEND, _:
                queue_times.append(total)
            case Counted.END, Ending.DONE | Ending.FAILOVER:
                acceptance.append(total)
            case Counted.SUPPRESSED, _:
                counts["suppressed"] += total.count
            case Counted.CALL, AttemptState.UNKNOWN:
                counts["unknown"] += total.count
            case Counted.CALL, AttemptState.ACCEPTED:
                latency[key.account].append(total)
    return Point(
        start=start,
        arrived=counts["arrived"],
        done=counts[Ending.DONE],
        failover=counts[Ending.FAILOVER],
        discarded=counts[Ending.DISCARDED],
        expired=counts[Ending.EXPIRED],
        held=counts[Ending.HELD],
        unknown=counts["unknown"],
        suppressed=counts["suppressed"],
        queue_time=_measure_sums(queue_times),
        acceptance=_measure_sums(acceptance),
        latency={name: _measure_sums(latency[name]) for name in sorted(latency)},
    )


def _summarize_mails(name: str, statistics: Statistics, chosen: Matches) -> MailStatistics:
    arrivals: dict[str, int] = defaultdict(int)
    for key, total in statistics.select(Counted.ARRIVAL, chosen):
        arrivals[key.outcome] += total.count
    ends: dict[str, int] = defaultdict(int)
    for key, total in statistics.select(Counted.END, chosen):
        ends[key.outcome] += total.count
    return MailStatistics(
        name=name,
        arrived=arrivals["accepted"],
        rejected=arrivals["rejected"],
        arrived_per_minute=arrivals["accepted"] / statistics.minutes,
        sent=ends[Ending.DONE] + ends[Ending.FAILOVER],
        failover=ends[Ending.FAILOVER],
        discarded=ends[Ending.DISCARDED],
        expired=ends[Ending.EXPIRED],
        cancelled=ends[Ending.CANCELLED],
        held=ends[Ending.HELD],
        suppressed=_count_all(statistics.select(Counted.SUPPRESSED, chosen)),
        queue_time=_measure(statistics.select(Counted.FIRST_SEND, chosen)),
        processing=_measure(statistics.select(Counted.END, chosen)),
        acceptance=_measure(statistics.select(Counted.END, lambda key: chosen(key) and _is_sent(key))),
    )


def _summarize_account(name: str, statistics: Statistics, all_sent: int) -> AccountStatistics:
    accepted = _count_all(_select_attempts(statistics, name, AttemptState.ACCEPTED))
    unknown = _count_all(_select_attempts(statistics, name, AttemptState.UNKNOWN))
    refused = {failure_class.value: 0 for failure_class in FailureClass}
    for key, total in _select_attempts(statistics, name, AttemptState.REFUSED):
        refused[key.failure_class] += total.count
    calls = accepted + unknown + sum(refused.values())
    failed = unknown + sum(count for failure_class, count in refused.items() if failure_class not in _BLAMELESS)
    sent = _count_all(statistics.select(Counted.END, lambda key: key.account == name and _is_sent(key)))
    return AccountStatistics(
        name=name,
        attempts=calls,
        accepted=accepted,
        refused=refused,
        unknown=unknown,
        failure_rate=failed / calls if calls else 0.0,
        sent=sent,
        share=sent / all_sent if all_sent else 0.0,
        latency=_measure(_select_attempts(statistics, name, AttemptState.ACCEPTED)),
        fastest=False,
    )


def _select_attempts(
    statistics: Statistics, account: str, state: AttemptState
) -> Iterable[tuple[CounterKey, CounterSum]]:
    return statistics.select(Counted.CALL, _match(account=account, outcome=state))


def _match(**wanted: object) -> Matches:
    """Return a condition that a key has these values."""
    return lambda key: all(getattr(key, name) == value for name, value in wanted.items())


def _is_sent(key: CounterKey) -> bool:
    return key.outcome in SENT


def _count_all(sums: Iterable[tuple[CounterKey, CounterSum]]) -> int:
    return sum(total.count for _, total in sums)


def _measure(sums: Iterable[tuple[CounterKey, CounterSum]]) -> Durations:
    return _measure_sums([total for _, total in sums])


def _measure_sums(sums: Sequence[CounterSum]) -> Durations:
    whole = _add_up(sums)
    timed = sum(whole.buckets.values())
    p50, p95, p99 = histogram.compute_percentiles(whole.buckets, (0.5, 0.95, 0.99))
    return Durations(count=timed, mean=whole.total_us / timed / 1_000_000 if timed else None, p50=p50, p95=p95, p99=p99)
