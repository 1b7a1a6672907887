"""The operators' overview: the status in a sentence, tiles, charts, accounts, failures, queues.

Reads roll-ups and unfinished emails; never the events, and never all emails.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mails.models import Mail
from mails.queues import QueueName
from mails.reporting import alerts, statistics, system_status
from mails.reporting.account_alerts import Alert
from mails.reporting.statistics import AccountStatistics, MailStatistics, Point, Statistics
from mails.reporting.system_status import AccountStatus, QueueStatus, SystemStatus, WorkerStatus
from mails.states import Status
from mercury.console import dashboard_charts, dashboard_tiles, failure_causes
from mercury.console.charts import Picture
from mercury.console.dashboard_tiles import Period, Tile
from mercury.console.failure_causes import FailureCause
from mercury.lib import chart_geometry
from mercury.lib.chart_geometry import Spark

PERIODS: Mapping[str, tuple[str, dt.timedelta]] = {
    "1h": ("last hour", dt.timedelta(hours=1)),
    "24h": ("last 24 hours", dt.timedelta(hours=24)),
    "7d": ("last 7 days", dt.timedelta(days=7)),
}
LATEST = 8  # failures and unknown outcomes shown


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """An account: its status, and what it did in the period."""

    status: AccountStatus
    figures: AccountStatistics | None
    spark: Spark

    @property
    def success(self) -> float:
        """The share of its requests that did not fail, in percent; see `AccountStatistics.success`."""
        return self.figures.success if self.figures else 0.0

    @property
    def tone(self) -> str:
        """The tone of the bar that shows it."""
        return "ok" if self.success >= 97 else "waiting" if self.success >= 90 else "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A queue: what waits in it, and what it did in the period."""

    waiting: QueueStatus
    figures: MailStatistics | None
    per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All content of the page."""

    period: str
    period_words: str
    at: dt.datetime
    summary: str
    alerts: Sequence[Alert]
    tiles: Sequence[Tile]
    pictures: Sequence[Picture]
    accounts: Sequence[AccountRow]
    causes: Sequence[FailureCause]
    latest: Sequence[Mail]
    queues: Sequence[QueueRow]
    workers: Sequence[WorkerStatus]
    digest: str  # changes when a figure does, and not with the clock alone

    @property
    def tone(self) -> str:
        """The tone of the sentence on top."""
        return self.alerts[0].tone if self.alerts else "ok"


def build_overview(key: str, now: dt.datetime | None = None) -> Overview:
    """Return the overview of a period, a key of PERIODS. Some thirty short queries, whatever the number of emails."""
    status = system_status.read_system_status(now)
    words, length = PERIODS[key]
    period = Period(key=key, words=words, since=status.at - length)
    figures = statistics.load_statistics(period.since, status.at)
    points, found = statistics.build_series(figures), alerts.find_alerts(status)
    by_account = {account.name: account for account in statistics.summarize_accounts(figures)}
    tiles = dashboard_tiles.build_tiles(status, statistics.summarize_all(figures), points, period)
    causes = failure_causes.find_causes(by_account.values(), status.accounts, figures, key)
    latest = _load_latest()
    return Overview(
        period=key,
        period_words=words,
        at=status.at,
        summary=alerts.summarize(status, found),
        alerts=found,
        tiles=tiles,
        pictures=dashboard_charts.build_charts(points, figures, words),
        accounts=_build_account_rows(status, by_account, points),
        causes=causes,
        latest=latest,
        queues=_build_queue_rows(status, figures),
        workers=status.workers,
        digest=_compute_digest(status, figures, found, tiles, causes, latest),
    )


def _compute_digest(
    status: SystemStatus,
    figures: Statistics,
    found: Sequence[Alert],
    tiles: Sequence[Tile],
    causes: Sequence[FailureCause],
    latest: Sequence[Mail],
) -> str:
    """Return a digest of all that the page shows except times, which the page updates itself."""
    shown = (
        found,
        [(tile.figure, tile.note) for tile in tiles],
        [
            (
                account.name,
                account.enabled,
                account.state,
                account.mode,
                account.weight,
                account.rate,
                account.refuses_requests,
            )
            for account in status.accounts
        ],
        [(queue.queue, queue.in_progress, queue.share, queue.rate) for queue in status.queues],
        [(cause.account, cause.words, cause.codes, cause.calls) for cause in causes],
        [mail.pk for mail in latest],
        figures.sums,
    )
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def _build_account_rows(
    status: SystemStatus, figures: Mapping[str, AccountStatistics], points: Sequence[Point]
) -> list[AccountRow]:
    """Return a row per account, failing accounts first, then the busiest."""
    rows = []
    for account in status.accounts:
        p95s = [point.latency[account.name].p95 if account.name in point.latency else None for point in points]
        spark = chart_geometry.draw_spark(p95s)
        rows.append(AccountRow(status=account, figures=figures.get(account.name), spark=spark))
    return sorted(rows, key=_rank_account)


def _rank_account(row: AccountRow) -> tuple[bool, bool, int, str]:
    is_well = row.status.effective == "closed" and row.status.configured and not row.status.refuses_requests
    sent = row.figures.sent if row.figures else 0
    return not row.status.enabled, is_well, -sent, row.status.name


def _build_queue_rows(status: SystemStatus, figures: Statistics) -> list[QueueRow]:
    by_queue = {queue.name: queue for queue in statistics.summarize_queues(figures)}
    rows = []
    for waiting in status.queues:
        queue = by_queue.get(waiting.queue)
        per_minute = queue.sent / figures.minutes if queue else 0.0
        rows.append(QueueRow(waiting=waiting, figures=queue, per_minute=per_minute))
    order = list(QueueName.values)
    return sorted(rows, key=lambda row: order.index(row.waiting.queue))


def _load_latest() -> list[Mail]:
    """Return the last emails held, discarded or expired. Their index is ordered within each state only."""
    states = (Status.HELD, Status.DISCARDED, Status.EXPIRED)
    found = [mail for state in states for mail in Mail.objects.filter(status=state).order_by("-id")[:LATEST]]
    return sorted(found, key=lambda mail: mail.pk, reverse=True)[:LATEST]
