"""What the operators' overview shows, put together: the state in a sentence, tiles, charts, accounts, failures, lanes.

Reads roll-ups and what is not at its end; never the events, and never all mails.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.urls import reverse

from mails import alerts, situation, stats
from mails.alerts import Alert
from mails.lanes import Lane
from mails.models import Mail
from mails.situation import Situation, Standing, Waiting, Working
from mails.states import Status
from mails.stats import Figures, MailFigures, Point, ProviderFigures
from mercury.lib import charts, durations
from mercury.lib.charts import Spark
from mercury.pictures import Legend, Picture, picture
from providers.outcomes import Fault

PERIODS: Mapping[str, tuple[str, dt.timedelta]] = {
    "1h": ("last hour", dt.timedelta(hours=1)),
    "24h": ("last 24 hours", dt.timedelta(hours=24)),
    "7d": ("last 7 days", dt.timedelta(days=7)),
}
LATEST = 8  # failures and unknown outcomes that are shown
# Series -> words and tone, in the order in which columns are heaped.
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "done": ("sent", "ok"),
    "failover": ("sent after a failover", "waiting"),
    "discarded": ("discarded or expired", "bad"),
    "unknown": ("outcome unknown", "unknown"),
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
class AccountRow:
    """An account: how it stands, and what it did."""

    standing: Standing
    figures: ProviderFigures | None
    spark: Spark

    @property
    def success(self) -> float:
        """The share of its calls that came to a good end, in percent."""
        return 100 * (1 - self.figures.failure_rate) if self.figures else 0.0

    @property
    def tone(self) -> str:
        """Of the bar that shows it."""
        return "ok" if self.success >= 97 else "waiting" if self.success >= 90 else "bad"


@dataclass(frozen=True, slots=True)
class Cause:
    """Calls that failed for one reason at one account."""

    account: str
    fault: str  # `Fault`, or `unknown`
    words: str
    calls: int
    url: str


@dataclass(frozen=True, slots=True)
class LaneRow:
    """What waits in a lane, and what it did."""

    waiting: Waiting
    figures: MailFigures | None
    per_minute: float


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows."""

    period: str
    period_words: str
    at: dt.datetime
    verdict: str
    alerts: Sequence[Alert]
    tiles: Sequence[Tile]
    pictures: Sequence[Picture]
    accounts: Sequence[AccountRow]
    causes: Sequence[Cause]
    latest: Sequence[Mail]
    lanes: Sequence[LaneRow]
    workers: Sequence[Working]
    digest: str  # changes when a figure does, and not with the clock alone

    @property
    def tone(self) -> str:
        """Of the sentence on top."""
        return self.alerts[0].tone if self.alerts else "ok"


def read(period: str, now: dt.datetime | None = None) -> Overview:
    """The overview of a period, a key of PERIODS. Some thirty short queries, whatever the number of mails."""
    here = situation.read(now)
    words, length = PERIODS[period]
    figures = stats.load(here.at - length, here.at)
    whole, points = stats.house(figures), stats.series(figures)
    found = alerts.of(here)
    of_accounts = {one.name: one for one in stats.providers(figures)}
    accounts = _accounts(here, of_accounts, points)
    tiles = _tiles(here, whole, points)
    causes = _causes(of_accounts.values())
    lanes = _lanes(here, stats.lanes(figures), figures)
    latest = _latest()
    told = (
        found,
        [(one.figure, one.note) for one in tiles],
        [(one.name, one.enabled, one.state, one.mode, one.weight, one.rate) for one in here.accounts],
        causes,
        [one.pk for one in latest],
        figures.sums,
    )
    return Overview(
        period=period,
        period_words=words,
        at=here.at,
        verdict=alerts.verdict(here, found),
        alerts=found,
        tiles=tiles,
        pictures=_pictures(points, figures, words),
        accounts=accounts,
        causes=causes,
        latest=latest,
        lanes=lanes,
        workers=here.workers,
        digest=hashlib.sha256(repr(told).encode()).hexdigest()[:16],
    )


def _tiles(here: Situation, whole: MailFigures, points: Sequence[Point]) -> list[Tile]:
    due = sum(one.due for one in here.waiting)
    later = sum(one.later for one in here.waiting)
    oldest = max((one.oldest for one in here.waiting if one.oldest is not None), default=0.0)
    mails, unknown = reverse("admin:mails_mail_changelist"), here.held.unknown
    late = oldest > alerts.LONG_DUE
    sent = whole.acceptance
    return [
        Tile(
            "Arriving",
            _rate(whole.arrived_per_minute),
            "a minute",
            f"{whole.arrived:,} accepted, {whole.rejected:,} rejected",
            "neutral",
            mails,
            charts.spark([one.arrived for one in points]),
        ),
        Tile(
            "Waiting",
            f"{due:,}",
            "mails due",
            f"{later:,} in back-off, {here.in_hand:,} being sent",
            "neutral",
            f"{mails}?state=queued",
            charts.spark([]),
        ),
        Tile(
            "Oldest waiting",
            *_figure(oldest),
            f"target under {durations.words(alerts.LONG_DUE)}",
            "bad" if late else "neutral",
            f"{mails}?state=queued",
            charts.spark([one.queue.p95 for one in points]),
        ),
        Tile(
            "Accepted to sent, p95",
            *_figure(sent.p95),
            f"median {durations.words(sent.p50)}" if sent.p50 is not None else "nothing sent yet",
            "neutral",
            f"{mails}?state=done",
            charts.spark([one.acceptance.p95 for one in points]),
        ),
        Tile(
            "Outcome unknown",
            f"{unknown:,}",
            "mails held",
            "wait for evidence" if unknown else "none waits for evidence",
            "unknown" if unknown else "neutral",
            f"{mails}?state=unknown",
            charts.spark([one.unknown for one in points]),
        ),
        Tile(
            "Discarded",
            f"{whole.discarded + whole.expired:,}",
            "mails",
            f"{whole.expired:,} of them expired",
            "bad" if whole.discarded + whole.expired else "neutral",
            f"{mails}?state=discarded",
            charts.spark([one.discarded + one.expired for one in points]),
        ),
    ]


def _pictures(points: Sequence[Point], figures: Figures, period: str) -> list[Picture]:
    unit = _UNITS[figures.level]
    outcomes = {
        "done": [one.done for one in points],
        "failover": [one.failover for one in points],
        "discarded": [one.discarded + one.expired for one in points],
        "unknown": [one.unknown for one in points],
    }
    arrived = sum(one.arrived for one in points)
    sent = sum(outcomes["done"]) + sum(outcomes["failover"])
    queue = {"p50": [one.queue.p50 for one in points], "p95": [one.queue.p95 for one in points]}
    names = sorted({name for one in points for name in one.latency})
    latency = {name: [one.latency[name].p95 if name in one.latency else None for one in points] for name in names}
    return [
        picture(
            "outcomes",
            f"Mails per {unit}",
            period,
            f"{arrived:,} mails came in, {sent:,} were sent, {sum(outcomes['failover']):,} of them after a failover."
            " Arrivals are counted 20 s late.",
            charts.stacked(outcomes),
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
            "How long mails waited from their 202 until a provider was first called.",
            charts.lines(queue),
            [Legend("p50", "half of the mails, at most", "ok"), Legend("p95", "95 of 100, at most", "waiting")],
            points,
            queue,
            durations.words,
        ),
        picture(
            "latency",
            "Answers of the providers, p95",
            period,
            "95 of 100 calls that a provider accepted were answered within this time.",
            charts.lines(latency),
            [Legend(name, name, _TONES[number % len(_TONES)]) for number, name in enumerate(names)],
            points,
            latency,
            durations.words,
        ),
    ]


def _accounts(here: Situation, figures: Mapping[str, ProviderFigures], points: Sequence[Point]) -> list[AccountRow]:
    """Every account, those in trouble first, then those with most mail."""
    rows = [
        AccountRow(
            standing=one,
            figures=figures.get(one.name),
            spark=charts.spark(
                [point.latency[one.name].p95 if one.name in point.latency else None for point in points]
            ),
        )
        for one in here.accounts
    ]
    return sorted(rows, key=_trouble_first)


def _trouble_first(row: AccountRow) -> tuple[bool, bool, int, str]:
    well = row.standing.effective == "closed" and row.standing.configured
    sent = row.figures.sent if row.figures else 0
    return not row.standing.enabled, well, -sent, row.standing.name


def _causes(providers: Iterable[ProviderFigures]) -> list[Cause]:
    """Why calls failed, the commonest first."""
    mails = reverse("admin:mails_mail_changelist")
    found = []
    for one in providers:
        kinds = {fault: (Fault(fault).label, count) for fault, count in one.refused.items()}
        for fault, (words, count) in (kinds | {"unknown": ("Outcome unknown", one.unknown)}).items():
            if count:
                found.append(Cause(one.name, fault, words, count, f"{mails}?q=provider:{one.name}"))
    return sorted(found, key=lambda one: (-one.calls, one.account, one.fault))


def _lanes(here: Situation, figures: Sequence[MailFigures], period: Figures) -> list[LaneRow]:
    known = {one.name: one for one in figures}
    rows = [LaneRow(one, known.get(one.lane), _sent_per_minute(known.get(one.lane), period)) for one in here.waiting]
    order = list(Lane.values)
    return sorted(rows, key=lambda row: order.index(row.waiting.lane))


def _sent_per_minute(one: MailFigures | None, period: Figures) -> float:
    return one.sent / period.minutes if one else 0.0


def _latest() -> list[Mail]:
    """The last mails that went wrong or are held, by the index of such, which is ordered within each state only."""
    each = [
        Mail.objects.filter(status=status).order_by("-id")[:LATEST]
        for status in (Status.HELD, Status.DISCARDED, Status.EXPIRED)
    ]
    return sorted((mail for some in each for mail in some), key=lambda mail: mail.pk, reverse=True)[:LATEST]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _figure(seconds: float | None) -> tuple[str, str]:
    """A duration as figure and unit."""
    if seconds is None:
        return "–", ""
    figure, _, unit = durations.words(seconds).partition(" ")
    return figure, unit
