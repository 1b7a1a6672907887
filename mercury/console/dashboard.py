"""What the operators' overview shows, put together: the state in a sentence, tiles, charts, accounts, failures, queues.

Reads roll-ups and what is not at its end; never the events, and never all mails.
"""

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from mails.models import Mail, first_id
from mails.queues import QueueName
from mails.reporting import alerts, recent_attempts, rollups, statistics, system_status
from mails.reporting.account_alerts import Alert
from mails.reporting.statistics import AccountStatistics, MailStatistics, Point, Statistics
from mails.reporting.system_status import AccountStatus, QueueStatus, SystemStatus, WorkerStatus
from mails.states import AttemptState, Counted, Status
from mercury.console.charts import Legend, Picture, picture
from mercury.lib import chart_geometry, durations
from mercury.lib.chart_geometry import Spark
from providers.outcomes import FailureClass

PERIODS: Mapping[str, tuple[str, dt.timedelta]] = {
    "1h": ("last hour", dt.timedelta(hours=1)),
    "24h": ("last 24 hours", dt.timedelta(hours=24)),
    "7d": ("last 7 days", dt.timedelta(days=7)),
}
MINUTE = dt.timedelta(minutes=1)
CODES_SHOWN = 3  # of a cause
LATEST = 8  # failures and unknown outcomes that are shown
# Series -> words and tone, in the order in which columns are heaped.
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "done": ("sent", "ok"),
    "failover": ("sent after a failover", "waiting"),
    "discarded": ("discarded or expired", "bad"),
    "held": ("held", "unknown"),
}
_TONES = ("active", "waiting", "unknown", "ok", "bad", "neutral")
_UNITS = {"minute": "minute", "ten-minutes": "ten minutes", "hour": "hour", "day": "day"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure, what it means, and the list behind it."""

    label: str
    figure: str
    unit: str
    note: str
    tone: str
    url: str
    spark: Spark


@dataclass(frozen=True, slots=True)
class Period:
    """A period as the URL and as people name it."""

    key: str
    words: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account: how it stands, and what it did."""

    status: AccountStatus
    figures: AccountStatistics | None
    spark: Spark

    @property
    def success(self) -> float:
        """The share of its calls that did not fail, in percent; see `ProviderFigures.success`."""
        return self.figures.success if self.figures else 0.0

    @property
    def tone(self) -> str:
        """Of the bar that shows it."""
        return "ok" if self.success >= 97 else "waiting" if self.success >= 90 else "bad"


@dataclass(frozen=True, slots=True)
class Cause:
    """Calls that failed for one reason at one account, with their trend."""

    account: str
    failure_class: str  # `Fault`, or `unknown`
    words: str
    codes: str  # the most frequent reason codes, such as "smtp-550 (12), smtp-554 (3)"
    calls: int
    spark: Spark
    url: str  # where to look at the emails or the calls


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What waits in a queue, and what it did."""

    waiting: QueueStatus
    figures: MailStatistics | None
    per_minute: float


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows."""

    period: str
    period_words: str
    at: dt.datetime
    summary: str
    alerts: Sequence[Alert]
    tiles: Sequence[Tile]
    pictures: Sequence[Picture]
    accounts: Sequence[AccountRow]
    causes: Sequence[Cause]
    latest: Sequence[Mail]
    queues: Sequence[QueueRow]
    workers: Sequence[WorkerStatus]
    digest: str  # changes when a figure does, and not with the clock alone

    @property
    def tone(self) -> str:
        """Of the sentence on top."""
        return self.alerts[0].tone if self.alerts else "ok"


def read(period: str, now: dt.datetime | None = None) -> Overview:
    """The overview of a period, a key of PERIODS. Some thirty short queries, whatever the number of mails."""
    here = system_status.read_system_status(now)
    words, length = PERIODS[period]
    figures = statistics.load_statistics(here.at - length, here.at)
    whole, points = statistics.summarize_all(figures), statistics.build_series(figures)
    found = alerts.find_alerts(here)
    of_accounts = {one.name: one for one in statistics.summarize_accounts(figures)}
    accounts = _accounts(here, of_accounts, points)
    now_in = _arrived_lately(here.at)
    lost = _lost(here.at - length)
    tiles = _tiles(here, whole, points, Period(period, words), now_in, lost)
    causes = _causes(of_accounts.values(), here, figures, period)
    queues = _queues(here, statistics.summarize_queues(figures), figures)
    latest = _latest()
    told = (
        found,
        [(one.figure, one.note) for one in tiles],
        [(one.name, one.enabled, one.state, one.mode, one.weight, one.rate) for one in here.accounts],
        [(one.account, one.words, one.codes, one.calls) for one in causes],
        [one.pk for one in latest],
        figures.sums,
    )
    return Overview(
        period=period,
        period_words=words,
        at=here.at,
        summary=alerts.summarize(here, found),
        alerts=found,
        tiles=tiles,
        pictures=_pictures(points, figures, words),
        accounts=accounts,
        causes=causes,
        latest=latest,
        queues=queues,
        workers=here.workers,
        digest=hashlib.sha256(repr(told).encode()).hexdigest()[:16],
    )


def _arrived_lately(now: dt.datetime) -> int:
    """Return how many emails were accepted in the last minute."""
    lately = Mail.objects.filter(pk__gte=first_id(now - MINUTE)).exclude(status=Status.REJECTED)
    return lately.order_by()[: system_status.COUNTED_AT_MOST].count()


def _lost(since: dt.datetime) -> tuple[int, int]:
    """Return how many of the emails accepted since then are discarded now, and how many have expired."""
    mails = Mail.objects.filter(pk__gte=first_id(since)).order_by()
    discarded, expired = (
        mails.filter(status=status)[: system_status.COUNTED_AT_MOST].count()
        for status in (Status.DISCARDED, Status.EXPIRED)
    )
    return discarded, expired


def _tiles(
    here: SystemStatus,
    whole: MailStatistics,
    points: Sequence[Point],
    period: Period,
    now_in: int,
    lost: tuple[int, int],
) -> list[Tile]:
    due = sum(one.due for one in here.waiting)
    later = sum(one.later for one in here.waiting)
    oldest = max((one.oldest for one in here.waiting if one.oldest is not None), default=0.0)
    mails, unknown = reverse("admin:mails_mail_changelist"), here.held.unknown
    late = oldest > alerts.LONG_DUE
    sent, (discarded, expired) = whole.acceptance, lost
    return [
        Tile(
            "Arriving now",
            f"{now_in:,}",
            "in the last minute",
            f"{whole.arrived:,} accepted, {whole.rejected:,} rejected in the {period.words}",
            "neutral",
            mails,
            chart_geometry.spark([one.arrived for one in points]),
        ),
        Tile(
            "Waiting",
            f"{due:,}",
            "emails due",
            f"and {later:,} deferred; {here.in_hand:,} being sent",
            "neutral",
            f"{mails}?state=queued",
            chart_geometry.spark([]),
        ),
        Tile(
            "Oldest waiting",
            *_figure(oldest),
            f"target under {durations.format_duration(alerts.LONG_DUE)}",
            "bad" if late else "neutral",
            f"{mails}?state=queued",
            chart_geometry.spark([one.queue_time.p95 for one in points]),
        ),
        Tile(
            "Time to send (p95)",
            *_figure(sent.p95),
            f"median {durations.format_duration(sent.p50)}; of {sent.count:,} sent in the {period.words}"
            if sent.p50 is not None
            else f"nothing sent in the {period.words}",
            "neutral",
            f"{mails}?state=done",
            chart_geometry.spark([one.acceptance.p95 for one in points]),
        ),
        Tile(
            "Outcome unknown",
            f"{unknown:,}",
            "emails held",
            "now, until someone confirms what happened" if unknown else "none waits for confirmation",
            "unknown" if unknown else "neutral",
            f"{mails}?state=unknown",
            chart_geometry.spark([one.unknown for one in points]),
        ),
        Tile(
            "Discarded",
            f"{discarded:,}",
            "emails",
            f"of those accepted in the {period.words}, as they are now; {expired:,} more expired",
            "bad" if discarded or expired else "neutral",
            f"{mails}?state=discarded&age={period.key}",
            chart_geometry.spark([one.discarded + one.expired for one in points]),
        ),
    ]


def _pictures(points: Sequence[Point], figures: Statistics, period: str) -> list[Picture]:
    unit = _UNITS[figures.level]
    outcomes = {
        "done": [one.done for one in points],
        "failover": [one.failover for one in points],
        "discarded": [one.discarded + one.expired for one in points],
        "held": [one.held for one in points],
    }
    arrived = sum(one.arrived for one in points)
    sent = sum(outcomes["done"]) + sum(outcomes["failover"])
    queue = {"p50": [one.queue_time.p50 for one in points], "p95": [one.queue_time.p95 for one in points]}
    names = sorted({name for one in points for name in one.latency})
    latency = {name: [one.latency[name].p95 if name in one.latency else None for one in points] for name in names}
    return [
        picture(
            "outcomes",
            f"Emails per {unit}",
            period,
            f"In the {period} {arrived:,} {'email' if arrived == 1 else 'emails'} came in and {sent:,} {'was' if sent == 1 else 'were'} "
            f"sent, {sum(outcomes['failover']):,} of them after a failover. Each counts in the {unit} in which it happened: what was "
            "sent may have come in earlier, and an email that is discarded, reprocessed and sent counts twice.",
            chart_geometry.stacked(outcomes),
            [Legend(key, words, tone) for key, (words, tone) in OUTCOMES.items()],
            points,
            {"came in": [one.arrived for one in points]}
            | {OUTCOMES[key][0]: values for key, values in outcomes.items()},
            lambda value: f"{value:,g}",
        ),
        picture(
            "queue",
            "Time in the queue",
            period,
            "Time from acceptance to the first attempt: median (p50) and p95.",
            chart_geometry.lines(queue),
            [Legend("p50", "p50", "ok"), Legend("p95", "p95", "waiting")],
            points,
            queue,
            durations.format_duration,
        ),
        picture(
            "latency",
            "Provider response time (p95)",
            period,
            "95 % of accepted requests were answered within this time.",
            chart_geometry.lines(latency),
            [Legend(name, name, _TONES[number % len(_TONES)]) for number, name in enumerate(names)],
            points,
            latency,
            durations.format_duration,
        ),
    ]


def _accounts(
    here: SystemStatus, figures: Mapping[str, AccountStatistics], points: Sequence[Point]
) -> list[AccountRow]:
    """Every account, those in trouble first, then those with most mail."""
    rows = [
        AccountRow(
            status=one,
            figures=figures.get(one.name),
            spark=chart_geometry.spark(
                [point.latency[one.name].p95 if one.name in point.latency else None for point in points]
            ),
        )
        for one in here.accounts
    ]
    return sorted(rows, key=_trouble_first)


def _trouble_first(row: AccountRow) -> tuple[bool, bool, int, str]:
    well = row.status.effective == "closed" and row.status.configured
    sent = row.figures.sent if row.figures else 0
    return not row.status.enabled, well, -sent, row.status.name


def _causes(
    providers: Iterable[AccountStatistics], here: SystemStatus, figures: Statistics, period: str
) -> list[Cause]:
    """Why calls failed, the most frequent first, each with its codes and its trend."""
    kinds = [
        (one.name, failure_class, words, count)
        for one in providers
        for failure_class, (words, count) in (
            {failure_class: (FailureClass(failure_class).label, count) for failure_class, count in one.refused.items()}
            | {"unknown": ("Outcome unknown", one.unknown)}
        ).items()
        if count
    ]
    if not kinds:
        return []
    codes, trends = recent_attempts.count_failure_codes(figures.since), _trends(figures)
    pages = {one.name: reverse("admin:providers_account_change", args=[one.id]) for one in here.accounts}
    found = [
        Cause(
            account=name,
            failure_class=failure_class,
            words=words,
            codes=", ".join(f"{code} ({many:,})" for code, many in codes.get((name, failure_class), [])[:CODES_SHOWN]),
            calls=count,
            spark=chart_geometry.spark(trends[name, failure_class]),
            url=_behind(name, failure_class, codes.get((name, failure_class), []), pages, period),
        )
        for name, failure_class, words, count in kinds
    ]
    return sorted(found, key=lambda one: (-one.calls, one.account, one.failure_class))


def _behind(
    name: str, failure_class: str, codes: Sequence[tuple[str, int]], pages: Mapping[str, str], period: str
) -> str:
    """The emails that were refused because of themselves; for other causes the account's last calls, each with its email."""
    if failure_class == FailureClass.MESSAGE and codes:
        query = {"account": name, "q": f"reason:{codes[0][0]}", "age": period}
        return f"{reverse('admin:mails_mail_changelist')}?{urlencode(query)}"
    if failure_class == "unknown":
        return f"{reverse('admin:mails_mail_changelist')}?{urlencode({'account': name, 'state': 'unknown'})}"
    return f"{pages[name]}#last-calls-table" if name in pages else ""


def _trends(figures: Statistics) -> Mapping[tuple[str, str], Sequence[float]]:
    """Failed calls by account and fault, stretch by stretch."""
    length = rollups.LENGTHS[figures.level]
    stretches = -(-(figures.until - figures.since) // length)
    trends: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * stretches)
    for start, key, one in figures.rows:
        if key.kind == Counted.CALL and key.outcome in (AttemptState.REFUSED, AttemptState.UNKNOWN):
            failure_class = "unknown" if key.outcome == AttemptState.UNKNOWN else key.failure_class
            number = (rollups.floor_to_level(start, figures.level) - figures.since) // length
            trends[key.account, failure_class][min(max(number, 0), stretches - 1)] += one.count
    return trends


def _queues(here: SystemStatus, figures: Sequence[MailStatistics], period: Statistics) -> list[QueueRow]:
    known = {one.name: one for one in figures}
    rows = [QueueRow(one, known.get(one.queue), _sent_per_minute(known.get(one.queue), period)) for one in here.waiting]
    order = list(QueueName.values)
    return sorted(rows, key=lambda row: order.index(row.waiting.queue))


def _sent_per_minute(one: MailStatistics | None, period: Statistics) -> float:
    return one.sent / period.minutes if one else 0.0


def _latest() -> list[Mail]:
    """The last mails that went wrong or are held, by the index of such, which is ordered within each state only."""
    each = [
        Mail.objects.filter(status=status).order_by("-id")[:LATEST]
        for status in (Status.HELD, Status.DISCARDED, Status.EXPIRED)
    ]
    return sorted((mail for some in each for mail in some), key=lambda mail: mail.pk, reverse=True)[:LATEST]


def _figure(seconds: float | None) -> tuple[str, str]:
    """A duration as figure and unit."""
    if seconds is None:
        return "–", ""
    figure, _, unit = durations.format_duration(seconds).partition(" ")
    return figure, unit
