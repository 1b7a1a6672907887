"""What happened over a period: rates, times, faults, shares. From the roll-ups alone, never from mails or events.

`load_statistics` asks one question of the database; everything else here is pure and takes what it returned.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from mails import counters
from mails.counters import CounterKey, CounterSum
from mails.models import ApiKey, Rollup
from mails.reporting import rollups
from mails.states import AttemptState, Counted, Ending, Level
from mails.timeline.facts import Usual
from mercury.lib import histogram
from providers.models import BreakerChange
from providers.outcomes import FailureClass

SENT = frozenset({Ending.DONE, Ending.FAILOVER})
LEVELS = tuple(rollups.LENGTHS)  # what a period may be told in
# The finest level for periods up to so long: some two hundred points, read in a few milliseconds.
_FINEST = (
    (dt.timedelta(hours=3), Level.MINUTE),
    (dt.timedelta(days=1, hours=6), Level.TEN_MINUTES),
    (dt.timedelta(days=8), Level.HOUR),
)
LATE = dt.timedelta(minutes=3)  # arrivals not counted for longer are not counted here: an alert tells of it
MOST_POINTS = 3000
HISTORY_SHOWN = 200
USUAL_OF = dt.timedelta(hours=1)  # what a single mail is compared with
USERS_AND_CLI = "Users and CLI"  # submitted without an API key
Matches = Callable[[CounterKey], bool]


class PeriodTooLong(ValueError):
    """So long a period has too many stretches of the level that was asked for; the text says what to ask for."""


# Refusals that say nothing against the account.
_BLAMELESS = frozenset({FailureClass.MESSAGE, FailureClass.RECIPIENT, FailureClass.LOCAL})


@dataclass(frozen=True, slots=True)
class Statistics:
    """The roll-ups of a period, from the beginning of a stretch of `level` to `until`."""

    since: dt.datetime
    until: dt.datetime
    level: Level
    rows: Sequence[tuple[dt.datetime, CounterKey, CounterSum]]
    sums: Mapping[CounterKey, CounterSum]  # of the whole period

    def of(self, kind: Counted, matches: Matches = lambda key: True) -> Iterable[tuple[CounterKey, CounterSum]]:
        """The sums of one kind whose key matches."""
        return ((key, one) for key, one in self.sums.items() if key.kind == kind and matches(key))

    @property
    def minutes(self) -> float:
        """The length of the period in minutes."""
        return max(1 / 60, (self.until - self.since).total_seconds() / 60)


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations in seconds: how many, and how long. Percentiles are at most 9.1 % off, the mean is exact."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class MailStatistics:
    """What became of mails: all of a queue, of an application, or of the house."""

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
    queue_time: Durations  # accepted to first handed to a provider
    processing: Durations  # accepted to the end, whatever it was
    acceptance: Durations  # accepted to taken by a provider


@dataclass(frozen=True, slots=True)
class AccountStatistics:
    """How the calls of an account ended."""

    name: str
    attempts: int
    accepted: int
    refused: Mapping[str, int]  # by kind of fault
    unknown: int
    failure_rate: float  # share of the calls that failed for the account's or the provider's sake, or are unknown
    sent: int  # mails that it took
    share: float  # of all mails that were sent
    latency: Durations  # of the calls that were accepted
    fastest: bool  # the smallest median

    @property
    def success(self) -> float:
        """The share of its calls, in percent, that did not fail because of the account, its rate, or the provider."""
        return 100 * (1 - self.failure_rate)


@dataclass(frozen=True, slots=True)
class Point:
    """One stretch of a chart; counts are mails, durations seconds."""

    start: dt.datetime
    arrived: int
    done: int
    failover: int
    discarded: int
    expired: int
    held: int
    unknown: int  # calls
    queue_time: Durations
    acceptance: Durations
    latency: Mapping[str, Durations]  # by account


def choose_intervals(since: dt.datetime, until: dt.datetime, level: Level | None = None) -> tuple[dt.datetime, Level]:
    """The level to tell this period in, and where its first stretch begins. Raises PeriodTooLong."""
    length = until - since
    chosen = level or next((finest for longest, finest in _FINEST if length <= longest), Level.DAY)
    if length / rollups.LENGTHS[chosen] > MOST_POINTS:
        raise PeriodTooLong(f"That is more than {MOST_POINTS} intervals. Use a shorter period, or longer intervals.")
    return rollups.floor_to_level(since, chosen), chosen


def load_statistics(
    since: dt.datetime, until: dt.datetime, level: Level | None = None, *, account: str = ""
) -> Statistics:
    """The figures of a period, with the arrivals of the last seconds, which no roll-up holds yet. Some four short queries.

    `account`: only the calls of this one, and the mails that it had last. Raises PeriodTooLong.
    """
    begin, chosen = choose_intervals(since, until, level)
    rows = Rollup.objects.filter(Q(level=chosen) | Q(level=Level.FRESH), start__gte=begin, start__lt=until)
    if account:
        rows = rows.filter(account=account)
    listed = list(_read_rows(rows)) if account else _read_with_last_arrivals(rows, until)
    return Statistics(begin, until, chosen, listed, _sum_by_key((key, one) for _, key, one in listed))


def _read_with_last_arrivals(
    rows: QuerySet[Rollup], until: dt.datetime
) -> list[tuple[dt.datetime, CounterKey, CounterSum]]:
    """Read roll-ups and what came in since they were counted; again if they were counted meanwhile, so nothing counts twice."""
    for _ in range(3):
        counted_until = rollups.read_counted_until()
        listed = list(_read_rows(rows))
        if rollups.read_counted_until() == counted_until:
            break
    if counted_until is not None and dt.timedelta() < until - counted_until < LATE:
        listed += rollups.count_last_arrivals(counted_until, until)
    return listed


def load_totals() -> list[tuple[CounterKey, CounterSum]]:
    """The figures of all time. They never shrink, whatever is folded or removed. One query."""
    rows = Rollup.objects.filter(level__in=(Level.EVER, Level.FRESH))
    return sorted(_sum_by_key((key, one) for _, key, one in _read_rows(rows)).items())


def _sum_by_key(rows: Iterable[tuple[CounterKey, CounterSum]]) -> dict[CounterKey, CounterSum]:
    """The sums by key. A row that is alone with its key, as after a fold, is taken as it is."""
    rows_of: dict[CounterKey, list[CounterSum]] = defaultdict(list)
    for key, one in rows:
        rows_of[key].append(one)
    return {key: _add_up(listed) for key, listed in rows_of.items()}


def _add_up(sums: Sequence[CounterSum]) -> CounterSum:
    if len(sums) == 1:
        return sums[0]
    whole = CounterSum()
    for one in sums:
        whole.add(one.count, one.total_us, one.buckets)
    return whole


def _read_rows(rows: QuerySet[Rollup]) -> Iterable[tuple[dt.datetime, CounterKey, CounterSum]]:
    """Buckets come as text: orjson reads them in a third of the time that the field's own decoder takes."""
    columns = [name for name in counters.COLUMNS if name not in ("level", "buckets")]
    listed = rows.values_list(*columns, Cast("buckets", TextField()))
    for start, kind, *key, count, total_us, buckets in listed:
        yield start, CounterKey(Counted(kind), *key), CounterSum(count, total_us, orjson.loads(buckets))


def summarize_all(figures: Statistics) -> MailStatistics:
    """All mails."""
    return _summarize_mails("all", figures, _match())


def summarize_queues(figures: Statistics) -> list[MailStatistics]:
    """Mails by queue, those with figures."""
    return [
        _summarize_mails(queue, figures, _match(queue=queue))
        for queue in sorted({key.queue for key in figures.sums if key.queue})
    ]


def summarize_applications(figures: Statistics, names: Mapping[int, str]) -> list[MailStatistics]:
    """Mails by application; `names`: of the API keys, by number (`load_application_names`)."""
    told = {key.application for key in figures.sums if key.kind != Counted.CALL}
    listed = [
        _summarize_mails(names.get(number, f"key {number}"), figures, _match(application=number))
        for number in sorted(told)
    ]
    return sorted(listed, key=lambda one: (-one.sent, one.name))


def load_usual_times(queue: str, now: dt.datetime) -> Usual:
    """The medians of a queue over the last hour. One query of some hundred rows."""
    rows = Rollup.objects.filter(
        Q(level=Level.MINUTE) | Q(level=Level.FRESH),
        Q(kind=Counted.FIRST_SEND) | Q(kind=Counted.END, outcome__in=SENT),
        queue=queue,
        start__gte=now - USUAL_OF,
    )
    sums: dict[Counted, list[CounterSum]] = defaultdict(list)
    for _, key, one in _read_rows(rows):
        sums[key.kind].append(one)
    return Usual(wait=_measure_sums(sums[Counted.FIRST_SEND]).p50, acceptance=_measure_sums(sums[Counted.END]).p50)


def load_application_names() -> dict[int, str]:
    """The names of the applications by number. One query."""
    return {0: USERS_AND_CLI} | dict(ApiKey.objects.values_list("id", "name"))


def summarize_accounts(figures: Statistics) -> list[AccountStatistics]:
    """Calls by account, the one with most mail first."""
    names = {key.account for key, _ in figures.of(Counted.CALL)}
    all_sent = _count_all(figures.of(Counted.END, _is_sent))
    listed = [_summarize_account(name, figures, all_sent) for name in names]
    best = min((one.latency.p50 for one in listed if one.latency.p50 is not None), default=None)
    marked = [replace(one, fastest=best is not None and one.latency.p50 == best) for one in listed]
    return sorted(marked, key=lambda one: (-one.sent, one.name))


def build_series(figures: Statistics) -> list[Point]:
    """The period stretch by stretch, also those in which nothing happened."""
    length = rollups.LENGTHS[figures.level]
    parts: dict[dt.datetime, list[tuple[CounterKey, CounterSum]]] = defaultdict(list)
    for start, key, one in figures.rows:
        parts[rollups.floor_to_level(start, figures.level)].append((key, one))
    count = -(-(figures.until - figures.since) // length)
    starts = [figures.since + number * length for number in range(count)]
    return [_build_point(start, _sum_by_key(parts[start])) for start in starts]


def load_breaker_history(since: dt.datetime, until: dt.datetime) -> list[BreakerChange]:
    """What breakers did and people set, newest first, the last 200. One query."""
    changes = BreakerChange.objects.filter(created_at__gte=since, created_at__lt=until)
    return list(changes.order_by("-id")[:HISTORY_SHOWN])


def _build_point(start: dt.datetime, sums: Mapping[CounterKey, CounterSum]) -> Point:
    """One pass over the sums, for a chart has some two hundred points."""
    counts: dict[str, int] = defaultdict(int)
    queue_times: list[CounterSum] = []
    acceptance: list[CounterSum] = []
    latency: dict[str, list[CounterSum]] = defaultdict(list)
    for key, one in sums.items():
        counts[key.outcome] += one.count if key.kind == Counted.END else 0
        match key.kind, key.outcome:
            case Counted.ARRIVAL, "accepted":
                counts["arrived"] += one.count
            case Counted.FIRST_SEND, _:
                queue_times.append(one)
            case Counted.END, Ending.DONE | Ending.FAILOVER:
                acceptance.append(one)
            case Counted.CALL, AttemptState.UNKNOWN:
                counts["unknown"] += one.count
            case Counted.CALL, AttemptState.ACCEPTED:
                latency[key.account].append(one)
    return Point(
        start=start,
        arrived=counts["arrived"],
        done=counts[Ending.DONE],
        failover=counts[Ending.FAILOVER],
        discarded=counts[Ending.DISCARDED],
        expired=counts[Ending.EXPIRED],
        held=counts[Ending.HELD],
        unknown=counts["unknown"],
        queue_time=_measure_sums(queue_times),
        acceptance=_measure_sums(acceptance),
        latency={name: _measure_sums(latency[name]) for name in sorted(latency)},
    )


def _summarize_mails(name: str, figures: Statistics, chosen: Matches) -> MailStatistics:
    arrivals: dict[str, int] = defaultdict(int)
    for key, one in figures.of(Counted.ARRIVAL, chosen):
        arrivals[key.outcome] += one.count
    ends: dict[str, int] = defaultdict(int)
    for key, one in figures.of(Counted.END, chosen):
        ends[key.outcome] += one.count
    return MailStatistics(
        name=name,
        arrived=arrivals["accepted"],
        rejected=arrivals["rejected"],
        arrived_per_minute=arrivals["accepted"] / figures.minutes,
        sent=ends[Ending.DONE] + ends[Ending.FAILOVER],
        failover=ends[Ending.FAILOVER],
        discarded=ends[Ending.DISCARDED],
        expired=ends[Ending.EXPIRED],
        cancelled=ends[Ending.CANCELLED],
        held=ends[Ending.HELD],
        queue_time=_measure(figures.of(Counted.FIRST_SEND, chosen)),
        processing=_measure(figures.of(Counted.END, chosen)),
        acceptance=_measure(figures.of(Counted.END, lambda key: chosen(key) and _is_sent(key))),
    )


def _summarize_account(name: str, figures: Statistics, all_sent: int) -> AccountStatistics:
    accepted = _count_all(_select_attempts(figures, name, AttemptState.ACCEPTED))
    unknown = _count_all(_select_attempts(figures, name, AttemptState.UNKNOWN))
    refused = {failure_class.value: 0 for failure_class in FailureClass}
    for key, one in _select_attempts(figures, name, AttemptState.REFUSED):
        refused[key.failure_class] += one.count
    calls = accepted + unknown + sum(refused.values())
    failed = unknown + sum(count for failure_class, count in refused.items() if failure_class not in _BLAMELESS)
    sent = _count_all(figures.of(Counted.END, lambda key: key.account == name and _is_sent(key)))
    return AccountStatistics(
        name=name,
        attempts=calls,
        accepted=accepted,
        refused=refused,
        unknown=unknown,
        failure_rate=failed / calls if calls else 0.0,
        sent=sent,
        share=sent / all_sent if all_sent else 0.0,
        latency=_measure(_select_attempts(figures, name, AttemptState.ACCEPTED)),
        fastest=False,
    )


def _select_attempts(figures: Statistics, account: str, state: AttemptState) -> Iterable[tuple[CounterKey, CounterSum]]:
    return figures.of(Counted.CALL, _match(account=account, outcome=state))


def _match(**wanted: object) -> Matches:
    """Whether a key has these values in its fields."""
    return lambda key: all(getattr(key, name) == value for name, value in wanted.items())


def _is_sent(key: CounterKey) -> bool:
    return key.outcome in SENT


def _count_all(sums: Iterable[tuple[CounterKey, CounterSum]]) -> int:
    return sum(one.count for _, one in sums)


def _measure(sums: Iterable[tuple[CounterKey, CounterSum]]) -> Durations:
    return _measure_sums([one for _, one in sums])


def _measure_sums(sums: Sequence[CounterSum]) -> Durations:
    whole = _add_up(sums)
    timed = sum(whole.buckets.values())
    p50, p95, p99 = histogram.percentiles(whole.buckets, (0.5, 0.95, 0.99))
    return Durations(timed, whole.total_us / timed / 1_000_000 if timed else None, p50, p95, p99)
